"""The flags of ``epochcost exec``."""

from __future__ import annotations

import argparse
import math
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from epochcost.launch.reading.patterns import own_rows
from epochcost.launch.reading.program_rows import MAX_FILE_BYTES, Row, RowError
from epochcost.launch.reading.progress_snapshot import Plan

STOP_SIGNALS = (signal.SIGTERM, signal.SIGKILL)
STOP_WAIT_SECONDS = 120.0
BARS = ("auto", "epoch", "run", "nothing")


@dataclass(frozen=True, slots=True)
class Flags:
    """What to run, and what is known about it.

    Attributes:
        command: and its arguments.
        experiment, id, framework, budget_usd, batch_size: as for ``epochcost.run``.
        plan: what helps to read its progress.
        rows: the user's own patterns.
        read: a log to read instead of running a command; empty for none, ``-`` for the standard input.
        watch: files to read.
        find: whether to look for files.
        verbose: print at the end what was read.
        stop_signals: sent one after another if the guard of this machine asks the run to stop; empty for none.
        stop_wait: seconds between two of them.
    """

    command: tuple[str, ...]
    experiment: str
    id: str
    framework: str
    budget_usd: float | None
    batch_size: int | None
    plan: Plan
    rows: tuple[Row, ...]
    read: str
    watch: tuple[str, ...]
    find: bool
    verbose: bool
    stop_signals: tuple[signal.Signals, ...] = STOP_SIGNALS
    stop_wait: float = STOP_WAIT_SECONDS


def parser() -> argparse.ArgumentParser:
    """Of ``epochcost exec``."""
    made = argparse.ArgumentParser(
        prog="epochcost exec",
        usage="epochcost exec [options] -- COMMAND [ARGUMENT ...]",
        description="Run a command as one run: its output passes through unchanged, and progress is read from it.",
        epilog="Exits as the command does. See docs/exec.md for what is recognised, and what cannot be detected.",
        allow_abbrev=False,
    )
    _add_run(made.add_argument)
    _add_reading(made.add_argument)
    _add_ending(made.add_argument)
    made.add_argument("command", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return made


def _add_run(add: Callable[..., object]) -> None:
    """What is known about the run."""
    add("--experiment", default="", metavar="NAME", help="name that groups runs of the same model and data")
    add("--id", default="", help="run id, the same across restarts [default: from the launcher's job id, else random]")
    add("--epochs", type=_number, metavar="N", help="planned epochs, if the command does not print them")
    add("--batch-size", type=_whole, metavar="N", help="samples per step, over all ranks")
    add("--steps-per-epoch", type=_whole, metavar="N", help="steps per epoch, for commands that print only steps")
    add("--samples-per-epoch", type=_whole, metavar="N", help="samples per epoch, for commands that print only samples")
    add("--framework", default="", help="framework: torch, jax, ...")
    add("--budget-usd", type=_number, metavar="USD", help="budget with which dashboards and alerts compare the cost")


def _add_reading(add: Callable[..., object]) -> None:
    """How its progress is read."""
    add("--bar", choices=BARS, default="auto", help="meaning of a progress bar without a description [auto]")
    add(
        "--pattern",
        action="append",
        default=[],
        metavar="REGEX",
        help="regular expression with groups named epoch, position, finished, epochs, last, step, steps, run_step, "
        "run_steps, samples, batch_size, percent; may be repeated [EPOCHCOST_PATTERN, one per line]",
    )
    add(
        "--pattern-file",
        action="append",
        default=[],
        metavar="FILE",
        help="file of patterns, in the format of docs/exec.md; may be repeated [EPOCHCOST_PATTERN_FILE]",
    )
    add(
        "--read",
        default="",
        metavar="FILE",
        help="do not run a command; read a log (- for standard input) and print what would be reported",
    )
    add("--first-epoch", type=int, choices=(0, 1), help="number of the first epoch as matched by --pattern")
    add("--watch", action="append", default=[], metavar="FILE", help="file to read progress from, or a glob: "
        "results.csv, metrics.csv, trainer_state.json, TensorBoard events, runs/*/results.csv; repeatable")  # fmt: skip
    add("--no-find", action="store_true", help="do not look for such files below the working directory")


def _add_ending(add: Callable[..., object]) -> None:
    """How it is stopped, and what is printed at its end."""
    add("--stop-signals", type=_signals, default=STOP_SIGNALS, metavar="LIST", help="signals sent one after another "
        "when a policy of this machine's guard asks the run to stop; none to ignore it [TERM,KILL]")  # fmt: skip
    add("--stop-wait", type=_number, default=STOP_WAIT_SECONDS, metavar="SECONDS", help="time between signals [120]")
    add("--verbose", action="store_true", help="print to stderr at the end what was recognised and what the run cost")


def read(argv: Sequence[str], environ: Mapping[str, str]) -> Flags:
    """The flags. Exits with 2 and one line where they are wrong, as argparse does."""
    made = parser()
    args = made.parse_args(list(argv))
    command = args.command[1:] if args.command[:1] == ["--"] else args.command
    if not command and not args.read:
        made.error("no command: epochcost exec [options] -- COMMAND [ARGUMENT ...]")
    if command and args.read:
        made.error("--read reads a log and cannot be combined with a command")
    patterns = args.pattern or [one for one in environ.get("EPOCHCOST_PATTERN", "").splitlines() if one.strip()]
    files = args.pattern_file or list(filter(None, [environ.get("EPOCHCOST_PATTERN_FILE", "")]))
    try:
        rows = own_rows(patterns, [_pattern_file(name) for name in files], args.first_epoch)
    except (RowError, OSError, UnicodeDecodeError) as err:
        made.error(f"--pattern: {err}")
    return Flags(
        command=tuple(command),
        experiment=args.experiment,
        id=args.id,
        framework=args.framework,
        budget_usd=args.budget_usd,
        batch_size=args.batch_size,
        plan=Plan(args.epochs, args.steps_per_epoch, args.samples_per_epoch, args.bar),
        rows=rows,
        read=args.read,
        watch=tuple(args.watch),
        find=not args.no_find,
        verbose=args.verbose,
        stop_signals=args.stop_signals,
        stop_wait=args.stop_wait,
    )


def _pattern_file(name: str) -> str:
    path = Path(name)
    if not path.is_file():
        raise OSError(f"{name}: not a file")
    with path.open("rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise OSError(f"{name}: longer than {MAX_FILE_BYTES} bytes")
    return data.decode()


def _signals(text: str) -> tuple[signal.Signals, ...]:
    if text.strip().lower() == "none":
        return ()
    try:
        return tuple(signal.Signals[f"SIG{name.strip().upper().removeprefix('SIG')}"] for name in text.split(","))
    except KeyError as err:
        raise argparse.ArgumentTypeError(f"{str(err)[1:-1]} is not a signal") from None


def _whole(text: str) -> int:
    return int(_checked(text, int, 1, 2**63 - 1, "a whole number of 1 or more"))


def _number(text: str) -> float:
    return _checked(text, float, 0, 1e12, "a number above 0")


def _checked(text: str, make: Callable[[str], float], least: float, most: float, expected: str) -> float:
    try:
        number = make(text)
    except ValueError:
        number = math.nan
    if not least <= number <= most or number == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not {expected}")
    return number
