"""``epochcost keep``: put the guard's actions off, for what is yours on this machine."""

from __future__ import annotations

import argparse
import os
import stat
import sys
from collections.abc import Sequence
from pathlib import Path

from epochcost.guard.conditions import MACHINE
from epochcost.guard.keep_files import MAX_BYTES, OWN_NAMES, KeepFileError, Wish, names_of, text_of, wish_of
from epochcost.guard.keeps import MAX_WHY
from epochcost.settings import between, spelled
from epochcost.shown_text import printable
from epochcost.untrusted_files import UntrustedFileError, open_regular, read_regular, replaced

_duration = between("1m", "30d")


def main(argv: Sequence[str], directory: Path) -> int:
    """Write, or take back, this user's keep file; the exit code."""
    args = parser().parse_args(list(argv))
    if args.end:
        return _end(directory)
    if not args.duration:
        parser().error("duration required, as in: epochcost keep 4h")
    why = printable(" ".join(args.why.split())[:MAX_WHY])
    wish = Wish(args.duration, args.run or MACHINE, why)
    number = _number(directory, wish.subject)
    if number is None:
        sys.stderr.write(f"epochcost keep: {directory}: all of this user's names are taken by others\n")
        return 1
    if fault := _written(directory, number, wish):
        sys.stderr.write(f"epochcost keep: {fault}\n")
        return 1
    what = f"run {args.run}" if args.run else "what is yours on this machine"
    sys.stdout.write(f"{what} is kept for {spelled(args.duration)}, if an agent with a guard reads {directory}\n")
    return 0


def parser() -> argparse.ArgumentParser:
    """Of ``epochcost keep``."""
    arg_parser = argparse.ArgumentParser(
        prog="epochcost keep",
        description="Postpone the guard's actions for your runs and GPUs on this machine; as root, for the machine.",
        allow_abbrev=False,
    )
    arg_parser.add_argument(
        "duration", nargs="?", type=_seconds, metavar="DURATION", help="how long, such as 4h, 90m or 2d"
    )
    arg_parser.add_argument("--run", default="", metavar="ID", help="only this run")
    arg_parser.add_argument("--why", default="", metavar="TEXT", help="reason, shown to others and exported")
    arg_parser.add_argument("--end", action="store_true", help="cancel all that you postponed")
    return arg_parser


def _seconds(text: str) -> float:
    try:
        return _duration(text)
    except ValueError as err:
        raise argparse.ArgumentTypeError(str(err)) from None


def _is_own(directory: Path, name: str) -> bool | None:
    """Whether the file is this user's; None if there is none."""
    try:
        fd, _ = open_regular(directory / name, owners={os.geteuid()})
    except FileNotFoundError:
        return None
    except UntrustedFileError:
        return False
    os.close(fd)
    return True


def _can_be_used(directory: Path) -> bool:
    """Whether ``directory`` may be one user's own: a shared one is sticky, for users to keep their files."""
    try:
        return not directory.stat().st_mode & stat.S_ISVTX
    except OSError:
        return False


def _written(directory: Path, number: int, wish: Wish) -> str:
    """Why the keep cannot be written; empty if it is. A directory of one's own has names of its own for it."""
    names = [names_of(os.geteuid())[number], *([OWN_NAMES[number]] if _can_be_used(directory) else [])]
    for name in names:
        try:
            with replaced(directory / name, 0o644, among_others=True) as file:
                file.write(text_of(wish).encode()[:MAX_BYTES])
        except OSError as err:  # noqa: PERF203 - of two names
            return f"{directory / name}: {err.strerror}"
    return ""


def _number(directory: Path, subject: str) -> int | None:
    """Which of this user's names to write: that of the keep of ``subject``, else the first free one.

    If all are taken, the user's last one is replaced. None if all are others'.
    """
    there = [_is_own(directory, name) for name in names_of(os.geteuid())]
    same = (n for n, is_own in enumerate(there) if is_own and _subject(directory, n) == subject)
    free = (n for n, is_own in enumerate(there) if is_own is None)
    last = (n for n, is_own in reversed(list(enumerate(there))) if is_own)
    return next(same, next(free, next(last, None)))


def _subject(directory: Path, number: int) -> str | None:
    try:
        wish_bytes = read_regular(directory / names_of(os.geteuid())[number], MAX_BYTES, owners={os.geteuid()})
        return wish_of(wish_bytes.decode()).subject
    except (OSError, UnicodeDecodeError, KeepFileError):
        return None


def _end(directory: Path) -> int:
    for name in (*OWN_NAMES, *names_of(os.geteuid())):
        if _is_own(directory, name):
            (directory / name).unlink(missing_ok=True)
    sys.stdout.write("nothing of yours is kept any more\n")
    return 0
