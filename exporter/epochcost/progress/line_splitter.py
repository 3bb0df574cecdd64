"""Bytes into lines: pure, and bounded whatever the bytes."""

from __future__ import annotations

from dataclasses import dataclass

from epochcost.progress.parse import MAX_LINE_BYTES


@dataclass(frozen=True, slots=True)
class LineSplitter:
    """What a stretch of a file holds.

    Attributes:
        lines: whole ones, without their newlines.
        consumed: bytes that need not be seen again; what is left is the beginning of a line.
        skipping: an overlong line is being passed over; the next piece continues it.
        too_long: overlong lines that were found here.
    """

    lines: tuple[bytes, ...]
    consumed: int
    skipping: bool
    too_long: int


def cut(data: bytes, *, skipping: bool) -> LineSplitter:
    """Split ``data`` at its newlines. A rest longer than a line may be is skipped, so that it is not kept in memory."""
    start = 0
    if skipping:
        newline = data.find(b"\n")
        if newline < 0:
            return LineSplitter((), len(data), skipping=True, too_long=0)
        start = newline + 1
    end = data.rfind(b"\n") + 1
    whole = data[start : end - 1].split(b"\n") if end > start else []
    lines = tuple(line for line in whole if len(line) <= MAX_LINE_BYTES)
    too_long = len(whole) - len(lines)
    if len(data) - max(end, start) > MAX_LINE_BYTES:
        return LineSplitter(lines, len(data), skipping=True, too_long=too_long + 1)
    return LineSplitter(lines, max(end, start), skipping=False, too_long=too_long)
