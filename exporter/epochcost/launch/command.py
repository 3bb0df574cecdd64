"""``epochcost exec``: a command as one run."""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from epochcost.launch.circuit_breaker import CallUntilFailure
from epochcost.launch.flags import Flags, read
from epochcost.launch.moment import Moment
from epochcost.launch.other_writers import EXEC, OtherWriters
from epochcost.launch.process import NOT_EXECUTABLE, NOT_FOUND, Command, StartError, leave_as
from epochcost.launch.reading.explanation import explain, nothing_understood
from epochcost.launch.reading.file_tailer import FileTailer
from epochcost.launch.reading.line_reader import LineReader
from epochcost.launch.reading.lines import Lines
from epochcost.launch.reading.named_metrics import named_metrics
from epochcost.launch.reading.patterns import OwnPatterns
from epochcost.launch.reading.progress import Form
from epochcost.launch.reading.progress_snapshot import ProgressSnapshot
from epochcost.launch.reading.progress_tracker import ProgressTracker
from epochcost.launch.relay import Relay, Stream
from epochcost.launch.reporter import Reporter
from epochcost.launch.stop_signals import StopSignals
from epochcost.launch.terminal import OutputTerminal, same_terminal
from epochcost.training.cost import CostFile
from epochcost.training.directory import disabled, events_dir
from epochcost.training.job import Job, job_run_id, launched_job
from epochcost.training.run_metadata import RunMetadata
from epochcost.training.run_name import LaunchContext, RunName
from epochcost.training.summary import RunTotals, summary

OUT, ERR = 1, 2
LOOK_SECONDS = 2.0
REPORTED_FROM_SECONDS = 1.0
"""After a shorter command nothing about its progress is printed on a terminal."""


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run the command of ``argv``; returns the exit code, unless the command died by a signal: then so do we."""
    flags = read(argv, environ)
    if flags.read:
        from epochcost.launch.read_log import main as read_log

        return read_log(flags)
    closed = _hold_closed()
    job_info = launched_job(environ)
    find_directory = functools.cache(lambda: events_dir(environ))  # an error is not cached: it is tried again
    name = RunName(
        LaunchContext(environ, job_info, job_run_id(environ), sys.argv), flags.id, flags.experiment, find_directory
    )
    run = name.first()
    reason = _reason_not_to_report(environ, job_info, find_directory)
    if reason:
        if flags.verbose:
            _say(f"run {run} is not reported: {reason}")
        return _become(flags.command, {**environ, "EPOCHCOST_RUN": run})
    with name.claim(run) as claimed:
        facts = RunMetadata(
            run=claimed,
            job=job_info if job_info.launcher else dataclasses.replace(job_info, launcher=EXEC),
            experiment=flags.experiment,
            framework=flags.framework,
            epochs=flags.plan.epochs,
            batch_size=flags.batch_size,
            samples_per_epoch=flags.plan.samples_per_epoch,
            budget_usd=flags.budget_usd,
        )
        launch = Launch(flags, facts, find_directory())
        launch.begin()
    return launch.run({**environ, "EPOCHCOST_RUN": claimed}, frozenset({OUT, ERR}) - closed)


def _reason_not_to_report(environ: Mapping[str, str], job_info: Job, find_directory: Callable[[], Path]) -> str:
    if disabled(environ):
        return "EPOCHCOST_DISABLE is set"
    if not job_info.writes:
        return "another process on this node reports the run"
    try:
        find_directory()
    except OSError as err:
        return f"no events directory: {err}"
    return ""


class Launch:
    """One command, from its start to its end."""

    def __init__(self, flags: Flags, facts: RunMetadata, directory: Path) -> None:
        self._flags = flags
        self._facts = facts
        self._directory = directory
        self._tracker = ProgressTracker(flags.plan, Moment.now())
        self._user_patterns = OwnPatterns(flags.rows)
        self._reader = LineReader(self._user_patterns)
        self._reporter = Reporter(facts, directory)
        self._costs = CostFile(lambda: self._directory, facts.run)
        self._warnings = _CollectedWarnings()
        self._lines: list[Lines] = []
        self._look_due = 0.0
        self._begun_ns = 0
        self._safely, self._stops = CallUntilFailure(), CallUntilFailure()
        logger = logging.getLogger("epochcost")
        logger.addHandler(self._warnings)
        logger.propagate = False  # nothing of ours between two lines of the command's

    def begin(self) -> None:
        """Report the start: from now on the run's id is in use."""
        self._begun_ns = time.time_ns()
        self._reporter.start()

    def run(self, environ: Mapping[str, str], open_outputs: frozenset[int]) -> int:
        """To its end. The exit code, where the command did not die by a signal."""
        outputs, streams = self._streams(open_outputs)
        try:
            command = Command(self._flags.command, environ, outputs)
        except StartError as err:
            self._reporter.end("failed", err.code)
            return _not_started(err)
        self._neighbours = OtherWriters(self._directory, self._facts.run, command.pid)
        self._stopping = StopSignals(self._flags.stop_signals, self._flags.stop_wait, command.ask_to_end)
        self._watch = FileTailer(Path() if self._flags.find else None, self._flags.watch, self._begun_ns)
        terminals = [stream.terminal for stream in streams if stream.terminal is not None]
        thread = command.watch(functools.partial(_resize, terminals) if terminals else None)
        relay = Relay(streams, command.ended, lambda lines, at: self._safely(self._hear, lines, at), self._follow)
        relay.run()
        thread.join()
        self._end(command)
        command.release_signals()
        if relay.open:
            _leave_behind(relay)
        return leave_as(command.wait_status or 0)

    def _streams(self, open_outputs: frozenset[int]) -> tuple[dict[int, int], list[Stream]]:
        """What the command writes to: a terminal where we have one, else a pipe; nothing where it is closed."""
        outputs: dict[int, int] = {}
        streams: list[Stream] = []
        for number in sorted(open_outputs):
            if number == ERR and OUT in outputs and same_terminal(OUT, ERR):
                outputs[ERR] = outputs[OUT]
                continue
            terminal = OutputTerminal(number) if os.isatty(number) else None
            source, target = (terminal.master, terminal.slave) if terminal else os.pipe()
            outputs[number] = target
            self._lines.append(Lines(every=self._reader.wants_all))
            streams.append(Stream(source, number, self._lines[-1], terminal))
        return outputs, streams

    def _hear(self, lines: list[bytes], at: Moment) -> None:
        for line in lines:
            if (progress := self._reader.parse(line)) is not None:
                self._tracker.take(progress, at, line)
                if progress.form is not Form.SETTING and self._tracker.tracks:
                    self._reporter.note(named_metrics(line))
        self._report(self._tracker.news(at))
        every = self._reader.wants_all
        for stream in self._lines:
            stream.every = every

    def _report(self, news: list[ProgressSnapshot]) -> None:
        for one in news:
            self._reporter.report(one)

    def _follow(self) -> None:
        self._safely(self._tick)
        self._stops(self._obey)

    def _obey(self) -> None:
        self._stopping.look(self._costs.stop(), time.monotonic(), reports_itself=not self._reporter.leads)

    def _tick(self) -> None:
        for other in self._neighbours.look():
            self._reporter.step_back(other)
        now = time.monotonic()
        if now >= self._look_due:
            self._look_due = now + LOOK_SECONDS
            at = Moment.now()
            for progress in self._watch.look():
                self._tracker.take(progress, at)
            self._report(self._tracker.news(at))
        self._reporter.tick()

    def _end(self, command: Command) -> None:
        self._look_due = 0.0
        self._follow()
        status = command.wait_status or 0
        code = os.waitstatus_to_exitcode(status)
        if code == 0 and not command.was_terminated:
            self._safely(self._finish)
        stopped = self._stopping.policy if not self._reporter.done else ""
        interrupted = command.was_terminated or code == -signal.SIGTERM or stopped
        preempted = bool(interrupted) and not self._reporter.done
        ended = "preempted" if preempted else "finished" if code == 0 else "failed"
        self._reporter.end(ended, code if code >= 0 else 128 - code, stopped)
        words = CallUntilFailure()
        words(self._summary_lines, ended)
        if words.broken and self._flags.verbose:
            _say(f"run {self._facts.run} {ended}: {words.broken}")

    def _summary_lines(self, ended: str) -> None:
        if self._flags.verbose:
            self._say_what_was_read(ended)
        elif self._speechless():
            _say(nothing_understood())

    def _finish(self) -> None:
        self._report(self._tracker.finish(Moment.now()))

    def _speechless(self) -> bool:
        """Whether a user at a terminal should know that nothing was recognised."""
        reporter = self._reporter
        known = reporter.epochs or reporter.last.epoch is not None or reporter.last.step is not None
        known = known or not any(lines.seen for lines in self._lines)
        looks_on = sys.stderr is not None and _is_terminal(ERR) and _is_terminal(OUT)
        return bool(not known and reporter.leads and looks_on and reporter.seconds >= REPORTED_FROM_SECONDS)

    def _say_what_was_read(self, ended: str) -> None:
        reporter = self._reporter
        words = explain(self._tracker, reporter.last, reporter.epochs)
        hint = "" if reporter.leads else "; the training process reports on its own"
        lines = [f"run {self._facts.run} {ended}: {words[0]}, {reporter.lines} events{hint}", *words[1:]]
        dropped = self._user_patterns.dropped
        lines += [f"pattern {pattern!r} took too long and was not used any more" for pattern in dropped]
        lines += self._warnings.messages
        if self._safely.broken:
            lines.append(f"progress reporting stopped early: {self._safely.broken}")
        costs = self._costs
        costs.refresh()
        last = reporter.last
        totals = RunTotals(self._facts.run, last.epoch, last.step or 0, reporter.seconds)
        lines.append(summary(totals, costs))
        _say("\n  ".join(lines))


class _CollectedWarnings(logging.Handler):
    """Keeps what would otherwise come between the command's own lines."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if len(self.messages) < 10:  # noqa: PLR2004 - enough to see what is wrong
            self.messages.append(record.getMessage().removeprefix("epochcost: "))


def _is_terminal(number: int) -> bool:
    try:
        return os.isatty(number)
    except OSError:
        return False


def _resize(terminals: Sequence[OutputTerminal]) -> bool:
    changed = [one.resize() for one in terminals]
    return any(changed)


def _become(command: Sequence[str], environ: Mapping[str, str]) -> int:
    """Nothing to report: there need be no process of ours."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores both, programs expect neither
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvpe(command[0], list(command), dict(environ))  # noqa: S606 - what the user asked for
    except OSError as err:
        return _not_started(StartError(err.errno or 0, err.strerror, command[0]))


def _not_started(err: StartError) -> int:
    _say(f"{err.filename}: {err.strerror}")
    return NOT_FOUND if err.code == NOT_FOUND else NOT_EXECUTABLE


def _leave_behind(relay: Relay) -> None:
    """A process that the command left behind still holds its output: a copy of this process keeps forwarding it."""
    if os.fork() == 0:
        try:
            os.setsid()
            relay.forward()
        finally:
            os._exit(0)


def _hold_closed() -> frozenset[int]:
    """Standard descriptors that are closed. We keep their numbers, so that no file of ours is taken for one."""
    closed = []
    for number in (0, OUT, ERR):
        try:
            os.fstat(number)
        except OSError:  # noqa: PERF203 - there are three
            closed.append(number)
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free; not passed on to the command
    return frozenset(closed)


def _say(text: str) -> None:
    if sys.stderr is not None:  # closed when we were started
        sys.stderr.write(f"epochcost exec: {text}\n")
        sys.stderr.flush()
