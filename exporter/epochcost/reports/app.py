"""``epochcost report``: settings -> queries -> table or page."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable
from io import TextIOWrapper
from pathlib import Path
from typing import TextIO

from epochcost.reports.data import as_csv, as_json
from epochcost.reports.errors import ReportError
from epochcost.reports.report import Report, make
from epochcost.reports.report_page import page
from epochcost.reports.report_settings import ReportSettings
from epochcost.reports.several_stores import connect_all
from epochcost.reports.span import span
from epochcost.reports.text import SIMULATED, markdown, terminal
from epochcost.store.store_error import StoreError
from epochcost.untrusted_files import is_private, replaced, trusted_owners

SHAPES: dict[str, Callable[[Report], str]] = {
    "table": terminal,
    "csv": as_csv,
    "json": as_json,
    "markdown": markdown,
    "html": page,
}
QUIET_SECONDS = 2.0
INTERRUPTED = 130
"""What a shell calls a program that Ctrl-C ended."""


class Progress:
    """Prints the progress of the queries on ``out``, once they take longer than two seconds."""

    def __init__(self, out: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._out, self._clock = out, clock
        self._printed_t = self._began = clock()
        self._requests = 0
        self._line = ""

    def __call__(self, metric: str, done: int, whole: int) -> None:
        """Another query is about to be sent."""
        self._requests += 1
        now = self._clock()
        if now - self._began < QUIET_SECONDS or now - self._printed_t < (0.2 if self._out.isatty() else QUIET_SECONDS):
            return
        self._printed_t = now
        line = (
            f"epochcost report: {self._requests} queries, {now - self._began:.0f} s; {metric} {100 * done // whole} %"
        )
        self._out.write(f"\r{line.ljust(len(self._line))}" if self._out.isatty() else f"{line}\n")
        self._out.flush()
        self._line = line

    def print_note(self, text: str) -> None:
        """Print at once what will not be in it."""
        self.end()
        self._line = ""
        self._out.write(f"epochcost report: {text}\n")
        self._out.flush()

    def end(self) -> None:
        """Take the line away again."""
        if self._line and self._out.isatty():
            self._out.write(f"\r{' ' * len(self._line)}\r")
            self._out.flush()


def run(settings: ReportSettings, out: TextIO = sys.stdout, err: TextIO = sys.stderr) -> int:
    """Make the report and write it.

    Returns:
        0; 1 when it could not be made, with the reason on ``err``; `INTERRUPTED`.
    """
    now = time.time()
    between = span(settings.begin, settings.end, now)
    progress = Progress(err)
    try:
        report = make(connect_all(settings), settings, between, now, progress)
        progress.end()
        write(_shaped(report, settings, out), settings.output, out)
    except (ReportError, StoreError) as error:
        progress.end()
        err.write(f"epochcost report: {error}\n")
        return 1
    except KeyboardInterrupt:
        progress.end()
        err.write("epochcost report: interrupted\n")
        return INTERRUPTED
    if settings.format == "csv":
        err.writelines(f"epochcost report: {SIMULATED}\n" for _ in range(report.simulated))
        err.writelines(f"epochcost report: {note}\n" for note in report.notes)
    return 0


def _shaped(report: Report, settings: ReportSettings, out: TextIO) -> str:
    if settings.format == "table" and not settings.output:
        return terminal(report, columns(out))
    return SHAPES[settings.format](report)


def columns(out: TextIO) -> int | None:
    """Width of the terminal; None if ``out`` is none: then lines may have any length."""
    if not out.isatty():
        return None
    return shutil.get_terminal_size().columns


def write(text: str, output: str, out: TextIO) -> None:
    """To a file in one step, so that half a report is never read; into a device or a pipe as it is.

    Raises:
        ReportError: when it cannot be written.
    """
    path = Path(output)
    try:
        if not output or _is_the_same(path, out):
            print_text(text, out)
        elif _is_stream(path):
            with path.open("a", encoding="utf-8") as file:  # what a redirected descriptor leads to has content
                file.write(text)
        else:
            with replaced(path, mode=None) as fresh:
                fresh.write(text.encode())
    except OSError as error:
        raise ReportError(f"{path}: cannot be written: {error.strerror or error}") from None


def _is_the_same(path: Path, out: TextIO) -> bool:
    """Whether ``path`` is what ``out`` writes to: ``/dev/stdout``, which may itself lead to a file."""
    return isinstance(out, TextIOWrapper) and path.exists() and os.path.samestat(path.stat(), os.fstat(out.fileno()))


def _is_stream(path: Path) -> bool:
    """Whether it is a device, a pipe or a descriptor by its name, and nobody else can have put it there.

    A descriptor (``/dev/stderr``) may lead to a plain file; its name is a link that the entire machine shares.
    """
    if not path.exists():
        return False
    if path.is_file():
        place = path.parent.resolve()  # of /dev/fd: /proc/PID/fd
        return path.is_symlink() and (place == Path("/dev") or place.is_relative_to("/proc"))
    own = not path.is_symlink() and path.lstat().st_uid in trusted_owners()
    return own or is_private(path.parent.resolve())


def print_text(text: str, out: TextIO) -> None:
    """Write ``text``; a reader that goes away has had enough (``| head``), and no alphabet is too small.

    Raises:
        ReportError: when it cannot be written for any other reason.
    """
    if isinstance(out, TextIOWrapper):
        out.reconfigure(errors="replace")
    try:
        out.write(text)
        out.flush()
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)  # the interpreter flushes once more when it ends
        os.dup2(nowhere, out.fileno())
        os.close(nowhere)
    except OSError as error:
        raise ReportError(f"standard output: cannot be written: {error.strerror or error}") from None
