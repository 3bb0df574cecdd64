"""``epochcost exec --read FILE``: what would be reported of a log that exists, and why."""

from __future__ import annotations

import dataclasses
import math
import os
import stat
import sys
from collections.abc import Iterator

from epochcost.launch.flags import Flags
from epochcost.launch.moment import Moment
from epochcost.launch.reading.explanation import explain
from epochcost.launch.reading.line_reader import LineReader
from epochcost.launch.reading.lines import Lines
from epochcost.launch.reading.patterns import OwnPatterns
from epochcost.launch.reading.progress_snapshot import ProgressSnapshot
from epochcost.launch.reading.progress_tracker import ProgressTracker
from epochcost.launch.reading.track import NEARLY

READ_BYTES = 1 << 16
MOST_ENDS = 40
"""Lines about epochs that are printed; those in the middle are left out."""


def main(flags: Flags) -> int:
    """Print what the log holds; 0, or 1 where it cannot be read."""
    try:
        snapshots, end, tracker, own = follow(flags)
    except OSError as err:
        sys.stderr.write(f"epochcost exec: {flags.read}: {err.strerror or err}\n")
        return 1
    last, ends = _last(snapshots)
    out = [f"epoch {news.ended}: {_where(news, end)}" for news in ends]
    if len(out) > MOST_ENDS:
        out = [*out[: MOST_ENDS // 2], f"... {len(out) - MOST_ENDS} more ...", *out[-MOST_ENDS // 2 :]]
    out += explain(tracker, last, len(ends))
    if own:
        out += [f"pattern {pattern!r}: {lines} lines" for pattern, lines in own.matched.items()]
        out += [f"pattern {pattern!r} takes too long" for pattern in own.dropped]
    sys.stdout.write("\n".join(out) + "\n")
    return 0


def _where(news: ProgressSnapshot, end: float) -> str:
    line = 0.0 if news.at is None else news.at.ts
    return (
        f"ended in line {max(1, math.ceil(line - NEARLY))}"
        if line <= end
        else "ended with the log, if the command ended well there"
    )


def follow(flags: Flags) -> tuple[list[ProgressSnapshot], float, ProgressTracker, OwnPatterns]:
    """Read the whole log, with what was drawn as the clock; also returned is how many lines it has.

    Raises:
        OSError: it cannot be read.
    """
    own = OwnPatterns(flags.rows)
    reader, lines = LineReader(own), Lines(every=True)
    tracker = ProgressTracker(flags.plan, Moment(0.0, 0.0), timed=False)
    snapshots: list[ProgressSnapshot] = []
    number, drawn = 1.0, 0.0
    for data in _chunks(flags.read):
        for line, newline in lines.each(data):
            drawn += 1
            if line:
                _take(reader, tracker, line, Moment(number, drawn), snapshots)
            number += newline
    if lines.rest:
        _take(reader, tracker, lines.rest, Moment(number, drawn + 1), snapshots)
    snapshots += tracker.finish(Moment(number + 1, drawn + 2))
    return snapshots, number, tracker, own


def _take(
    reader: LineReader, tracker: ProgressTracker, line: bytes, at: Moment, snapshots: list[ProgressSnapshot]
) -> None:
    progress = reader.parse(line)
    if progress is not None:
        tracker.take(progress, at, line)
        snapshots += tracker.news(at)


def _last(snapshots: list[ProgressSnapshot]) -> tuple[ProgressSnapshot, list[ProgressSnapshot]]:
    last = ProgressSnapshot()
    ends: list[ProgressSnapshot] = []
    for news in snapshots:
        if news.retract:
            last, ends = ProgressSnapshot(), []
            continue
        known = {
            key: value
            for key, value in dataclasses.asdict(news).items()
            if value is not None and key not in ("at", "since")
        }
        last = dataclasses.replace(last, **known)
        if news.ended is not None:
            ends.append(news)
    return last, ends


def _chunks(name: str) -> Iterator[bytes]:
    if name == "-":
        yield from _read(0)
        return
    fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise IsADirectoryError(21, "Is a directory", name)
        yield from _read(fd)
    finally:
        os.close(fd)


def _read(fd: int) -> Iterator[bytes]:
    while data := os.read(fd, READ_BYTES):
        yield data
