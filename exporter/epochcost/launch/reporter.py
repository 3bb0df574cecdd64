"""One command's run, written to event files."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path

from epochcost.launch.moment import Moment
from epochcost.launch.other_writers import EXEC, WRITER, OtherWriter
from epochcost.launch.reading.progress_snapshot import ProgressSnapshot
from epochcost.training.reported import ReportedValues
from epochcost.training.run_metadata import RunMetadata
from epochcost.training.writer import EventWriter

INTERVAL_SECONDS = 1.0
INSTANT_SECONDS = 1e-6


class Reporter:
    """Writes start, progress, ends of epochs and the end. Silent, and harmless, where nothing can be written.

    Where a training run of this command reports by itself, it leads: see `step_back`.

    Args:
        facts: of the run.
        directory: of the events.
        now: the clocks.
    """

    def __init__(self, facts: RunMetadata, directory: Path, now: Callable[[], Moment] = Moment.now) -> None:
        self._facts = facts
        self._directory = directory
        self._now = now
        self._writer: EventWriter | None = None
        self._phase = "startup"
        self._due = 0.0
        self._waiting: ProgressSnapshot | None = None
        self._last = ProgressSnapshot()
        self._written = Moment(0.0, 0.0)
        self._planned = facts.epochs
        self._reported = ReportedValues()
        self.leads = True
        self.epochs = 0
        self.lines = 0
        self.begun: Moment | None = None

    def start(self) -> None:
        """The command begins."""
        self.begun = self._now()
        self._open(self.begun)

    def report(self, news: ProgressSnapshot) -> None:
        """The training is here. Ends of epochs are written at once, the rest once a second.

        What is known only later is written with the moment at which it was: nothing that came after it was written yet.
        """
        if not self.leads:
            return
        at = self._clamped(news.at or self._now())
        if news.retract:
            self._retract(at)
            return
        self._last = _onwards(self._last, news)
        self._facts = dataclasses.replace(
            self._facts,
            epochs=news.epochs or self._facts.epochs,
            batch_size=news.batch_size or self._facts.batch_size,
        )
        if self._phase == "startup":
            self._begin(news, at)
        if news.ended is not None:
            self._boundary("epoch_end", at)
            self.epochs += 1
        else:
            self._waiting = self._last
            self.tick()

    def note(self, metrics: Mapping[str, float]) -> None:
        """Numbers printed beside the progress; they are sent with the next event about it."""
        if metrics:
            self._reported.take(metrics)

    def _begin(self, news: ProgressSnapshot, at: Moment) -> None:
        """The start-up is over, as a line of the training shows, or else since the first end of an epoch."""
        if news.since is not None and news.since.mono <= at.mono:
            self._phase = "train"
            where = "" if news.began is None else f',"epoch":{round(news.began, 6)}'
            self._put("phase", self._clamped(news.since), where)
            self._due = at.mono + INTERVAL_SECONDS
        elif news.ended is None:
            self._boundary("phase", at)

    def _retract(self, at: Moment) -> None:
        """Whatever was reported of the progress was wrong; the run itself and its time stay."""
        self._last, self._waiting, self.epochs = ProgressSnapshot(), None, 0
        self._reported.clear()
        self._phase = "startup"
        self._facts = dataclasses.replace(self._facts, epochs=self._planned)
        self._put("retract", at, "")

    def tick(self) -> None:
        """Write what waits, if its time has come."""
        at = self._now()
        if self._waiting is not None and at.mono >= self._due:
            self._due, self._waiting = at.mono + INTERVAL_SECONDS, None
            self._put("progress", self._clamped(at), _position(self._last))

    def step_back(self, other: OtherWriter) -> None:
        """Another writer of this command has begun, at a known moment: from then on it reports the run's progress.

        The agent follows the run's first writer. So a second file of ours, begun a moment after the other's, keeps the
        run open to the command's end, and the first one ends. Where the training has named a run of its own, ours is
        over: one command on the same devices is charged once.
        """
        self.leads, self._waiting = False, None
        if self._writer is None:
            return
        before, at = self._writer, Moment(other.ts, other.mono)
        self._writer = None
        if other.run == self._facts.run:
            self._open(at.later(INSTANT_SECONDS))
        self._write(before, "end", at.later(2 * INSTANT_SECONDS), ',"status":"finished"')
        before.close()

    def end(self, status: str, exit_status: int, stopped: str = "") -> None:
        """The command has ended: ``finished``, ``failed`` or ``preempted``; ``exit_status`` as a shell shows it.

        ``stopped``: the policy of the guard that requested it.
        """
        if self._writer is None:
            return
        at = self._clamped(self._now())
        if self._waiting is not None:
            self._put("progress", at, _position(self._last))
        by = f',"stopped":{json.dumps(stopped)}' if stopped else ""
        self._put("end", at, f'{_position(self._last)},"status":"{status}","exit_status":{exit_status}{by}')
        self._writer.close()

    @property
    def done(self) -> bool:
        """All planned epochs are finished."""
        planned = self._facts.epochs
        return planned is not None and (self._last.epoch or 0.0) >= planned

    @property
    def last(self) -> ProgressSnapshot:
        """What was reported last."""
        return self._last

    @property
    def seconds(self) -> float:
        """Since the command began."""
        return 0.0 if self.begun is None else self._now().mono - self.begun.mono

    def _clamped(self, at: Moment) -> Moment:
        return at if at.mono >= self._written.mono else self._written

    def _boundary(self, kind: str, at: Moment) -> None:
        began = self._phase == "startup"
        self._phase = "train"
        self._put(kind, at, _position(self._last))
        if began and kind != "phase":  # after the epoch: it began at some time before
            self._put("phase", at, _position(self._last))
        self._due, self._waiting = self._now().mono + INTERVAL_SECONDS, None

    def _open(self, at: Moment) -> None:
        self._writer = EventWriter(lambda: self._directory, self._facts.run)
        self._put("start", at, "")

    def _put(self, kind: str, at: Moment, more: str) -> None:
        if self._writer is not None:
            self._written = at
            self._write(self._writer, kind, at, more)

    def _write(self, writer: EventWriter, kind: str, at: Moment, more: str) -> None:
        opened = writer.attach()
        if writer.dead:
            return
        if writer.replaces and opened:  # the file was deleted: this one continues it
            more += f',"continues":{json.dumps(writer.replaces)}'
        head = f'{{"v":1,"ev":"{kind}","ts":{at.ts:.6f},"mono":{at.mono:.6f},"run":{json.dumps(self._facts.run)}'
        facts = "" if kind == "progress" and not opened else self._facts.fragment(locked=writer.locked)
        if self._phase != "startup":
            more += self._reported.fragment(complete=kind != "progress" or opened)
        line = f'{head}{more},"phase":"{self._phase}","{WRITER}":"{EXEC}"{facts}}}\n'
        self.lines += writer.put(line.encode())


def _onwards(before: ProgressSnapshot, now: ProgressSnapshot) -> ProgressSnapshot:
    """What ``now`` does not contain stays as it was; steps and samples of a bar that restarted never go back."""
    return ProgressSnapshot(
        ended=now.ended,
        epoch=before.epoch if now.epoch is None else now.epoch,
        epochs=now.epochs or before.epochs,
        step=_most(before.step, now.step),
        steps=now.steps or before.steps,
        samples=_most(before.samples, now.samples),
        batch_size=now.batch_size or before.batch_size,
    )


def _most(before: int | None, now: int | None) -> int | None:
    return max(before, now) if before is not None and now is not None else now if before is None else before


def _position(last: ProgressSnapshot) -> str:
    figures = {
        "epoch": last.epoch,
        "step": last.step,
        "steps": last.steps,
        "samples": last.samples,
    }
    known = {name: value for name, value in figures.items() if value is not None}
    return f",{json.dumps(known, separators=(',', ':'))[1:-1]}" if known else ""
