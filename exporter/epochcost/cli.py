"""The command line: flags -> settings -> application; exit codes.

0: done. 1: it ran and failed, or ``check`` found that the main job could not run. 2: wrong flags or settings. 3: the
agent ends so that its supervisor starts another, since only a new process can continue (the NVIDIA driver was updated
under it).
"""

from __future__ import annotations

import logging
import os
import platform
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from epochcost._version import __version__
from epochcost.cli_parser import (
    EXTRA,
    LAUNCH,
    REPORTS,
    is_installed,
    make_parser,
    missing_package,
    report_settings,
    settings_of,
)
from epochcost.commit import version_line
from epochcost.settings import SettingsError, load
from epochcost.shipped import KINDS, ShippedError, write

if TYPE_CHECKING:
    from epochcost.poller.poller_settings import PollerSettings
    from epochcost.rule_waits import Waits

WRITER_VARIABLES = (
    "EPOCHCOST_DIR",
    "EPOCHCOST_RUN",
    "EPOCHCOST_DISABLE",
    "EPOCHCOST_URL",
    "EPOCHCOST_TOKEN_FILE",
    "EPOCHCOST_PATTERN",
)
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``epochcost`` with ``argv`` (default: the process's own); the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] and arguments[0] in LAUNCH:  # what follows is another program's, flags included
        return _launch(arguments[0], arguments[1:])
    command = next((a for a in arguments if not a.startswith("-")), "")
    if command in EXTRA and (missing := missing_package(EXTRA[command])):
        print(
            f"epochcost {command}: {missing} is not installed: pip install 'epochcost[{EXTRA[command]}]'",
            file=sys.stderr,
        )
        return 2
    parsed = vars(make_parser(command).parse_args(arguments))
    if command == "version":
        print(f"{version_line(__version__)}, Python {platform.python_version()}")
        return 0
    if command in KINDS:
        return _shipped(command, parsed)
    try:
        return _COMMANDS[command](parsed, os.environ)
    except SettingsError as err:
        print(f"epochcost {command}: {err}", file=sys.stderr)
        return 2


def _launch(name: str, arguments: Sequence[str]) -> int:
    if name == "exec":
        from epochcost.launch.command import main as launch

        return launch(arguments, os.environ)
    if name == "keep":
        return _keep(arguments)
    from epochcost.launch.event import main as event

    return event(arguments, os.environ)


def _keep(arguments: Sequence[str]) -> int:
    from epochcost.guard.keep_command import main as keep
    from epochcost.guard.keep_command import parser
    from epochcost.training.directory import events_dir

    if not arguments or {"-h", "--help"} & set(arguments):
        parser().parse_args(["--help"])
    try:
        directory = events_dir(os.environ)
    except OSError as err:
        print(f"epochcost keep: no events directory: {err}", file=sys.stderr)
        return 1
    return keep(arguments, directory)


def _guard(flags: Mapping[str, str | None], environ: Mapping[str, str]) -> int:
    from epochcost.guard.guard_command import GuardSettings, check, play

    settings = load(GuardSettings, "guard", flags, environ)
    return check(settings) if flags["what"] == "check" else play(settings)


def _report(flags: Mapping[str, str | None], environ: Mapping[str, str]) -> int:
    from epochcost.reports.app import run
    from epochcost.reports.report_settings import ReportSettings

    return run(load(ReportSettings, "report", flags, environ))


def _compare(flags: Mapping[str, str | None], environ: Mapping[str, str]) -> int:
    from epochcost.reports.compare import run
    from epochcost.reports.report_settings import CompareSettings

    if flags["what"] != ["rent", "own"]:  # type: ignore[comparison-overlap]
        raise SettingsError("unknown comparison; supported: rent own")
    return run(load(CompareSettings, "compare", flags, environ))


def _agent(flags: Mapping[str, str | None], environ: Mapping[str, str]) -> int:
    from epochcost.agent.agent_settings import AgentSettings

    settings = load(AgentSettings, "agent", flags, environ)
    _log_to_stderr(settings.log_level, environ)
    from epochcost.agent.app import main as run

    return _run("agent", lambda: run(settings, environ))


def _prices(flags: Mapping[str, str | None], environ: Mapping[str, str]) -> int:
    from epochcost.poller.poller_settings import PollerSettings

    settings = load(PollerSettings, "prices", flags, environ)
    if flags["once"]:
        _log_to_stderr("warning", environ)
        return _prices_once(settings, flags)
    for name in ("format", "gpu", "provider"):
        if flags[name]:
            raise SettingsError(f"--{name} requires --once; the poller itself requests all that is in use or watched")
    _log_to_stderr(settings.log_level, environ)
    from epochcost.poller.app import run

    return _run("prices", lambda: run(settings))


def _prices_once(settings: PollerSettings, flags: Mapping[str, str | None]) -> int:
    """Print the market; 1 where there is nothing to print, or a request failed."""
    import time

    from epochcost.poller.app import made_and_skipped, quiet
    from epochcost.poller.once import Filter, Printout, run_once

    quiet()
    sources, skipped = made_and_skipped(settings)
    selected = Filter(flags["gpu"] or "", flags["provider"] or "")
    printout = Printout(selected, flags["format"] or "table", _columns(sys.stdout))
    look = run_once(settings, sources, time.time, printout, skipped)
    for line in look.messages:
        print(_wrapped(line), file=sys.stderr)
    try:
        print(look.text, flush=True)
    except BrokenPipeError:  # the reader has closed the pipe (`| head -1`); Python would write to it once more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0 if look.complete else 1


def _columns(stream: TextIO) -> int:
    """Width of the terminal of ``stream``, or the variable COLUMNS; 0 if it is not a terminal."""
    if (columns := os.environ.get("COLUMNS", "")).isdecimal():
        return min(int(columns[:9]), 1000)
    try:
        return os.get_terminal_size(stream.fileno()).columns if stream.isatty() else 0
    except (OSError, ValueError):
        return 0


def _wrapped(line: str) -> str:
    width = _columns(sys.stderr)
    return "\n".join(textwrap.wrap(line, width, subsequent_indent="  ", break_on_hyphens=False)) if width else line


def _check(flags: Mapping[str, str | None], environ: Mapping[str, str]) -> int:
    from epochcost.agent.agent_settings import AgentSettings
    from epochcost.agent.check import check

    settings = load(AgentSettings, "agent", flags, environ)
    _log_to_stderr("error", environ)
    lines, reason = check(settings, environ)
    print("\n".join(lines))
    if reason:
        print(f"\nNot ready: the agent cannot compute costs: {reason}", file=sys.stderr)
        return 1
    print("\nReady: the agent can run here.")
    return 0


def _demo(flags: Mapping[str, str | None], environ: Mapping[str, str]) -> int:
    from epochcost.demo.demo_settings import DemoSettings

    settings = load(DemoSettings, "demo", flags, environ)
    _log_to_stderr("error", environ)
    from epochcost.demo.app import run

    return run(settings)


def _shipped(kind: str, flags: Mapping[str, str | None]) -> int:
    try:
        waits = _waits(kind, flags.get("wait") or "")
        for file in write(kind, Path(str(flags["out"])), waits.written if waits is not None else None):
            print(file)
    except SettingsError as err:
        print(f"epochcost {kind}: {err}", file=sys.stderr)
        return 2
    except ShippedError as err:
        print(f"epochcost {kind}: {err}", file=sys.stderr)
        return 1
    return 0


def _waits(kind: str, text: str) -> Waits | None:
    if not text:
        return None
    from epochcost.rule_waits import alerts_in, parse_waits

    names = (alerts_in(file.read_text(encoding="utf-8")) for file in KINDS[kind].files())
    return parse_waits(text, frozenset().union(*names))


def _job(flags: Mapping[str, str | None], environ: Mapping[str, str]) -> int:
    from epochcost.job_summary import JobError, lines_of, runs_of
    from epochcost.training.job import launcher_and_id

    job = flags["job"] or launcher_and_id(environ)[1]
    if not job:
        raise SettingsError("a job ID is required: the environment contains no launcher's job ID")
    try:
        runs = runs_of(str(flags["agent.url"]), job)
    except JobError as err:
        print(f"epochcost job: {err}", file=sys.stderr)
        return 1
    if not runs:
        print(f"epochcost job: the agent knows no run of job {job}", file=sys.stderr)
        return 1
    print("\n".join(lines_of(job, runs)))
    return 0


def _run(command: str, run: Callable[[], int]) -> int:
    """What makes a start impossible is one line, not a traceback."""
    from epochcost.serve import WebConfigError

    refusals: tuple[type[Exception], ...] = (WebConfigError, OSError)
    if command == "agent":
        from epochcost.agent.agent_state_file import StateError
        from epochcost.gpus.gpu_source import GpuError
        from epochcost.nodes.node_source import NodeError

        refusals = (*refusals, StateError, GpuError, NodeError)
    try:
        return run()
    except refusals as err:
        print(f"epochcost {command}: {err}", file=sys.stderr)
        return 1


def _log_to_stderr(level: str, environ: Mapping[str, str]) -> None:
    logging.basicConfig(level=level.upper(), format=LOG_FORMAT, stream=sys.stderr)
    _warn_of_unknown_variables(environ)


def _warn_of_unknown_variables(environ: Mapping[str, str]) -> None:
    """A misspelt variable is otherwise a setting that silently does nothing."""
    from epochcost.settings import unknown_environment

    if not unknown_environment([settings_of("agent")] if is_installed("agent") else [], environ, WRITER_VARIABLES):
        return  # and nothing of the other programs is loaded
    known = [*(settings_of(name) for name in EXTRA if is_installed(name)), *map(report_settings, REPORTS)]
    for name in unknown_environment(known, environ, WRITER_VARIABLES):
        logging.getLogger("epochcost").warning("environment variable %s is not one that epochcost knows", name)


_COMMANDS: Mapping[str, Callable[[Mapping[str, str | None], Mapping[str, str]], int]] = {
    "agent": _agent,
    "prices": _prices,
    "check": _check,
    "demo": _demo,
    "report": _report,
    "compare": _compare,
    "job": _job,
    "guard": _guard,
}
