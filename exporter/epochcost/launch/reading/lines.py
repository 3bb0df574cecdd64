"""Bytes as they pass by, cut where a terminal would begin a new line or write over the old one: bounded and cheap."""

from __future__ import annotations

import re

MAX_LINE_BYTES = 2048
"""What is read of one line; what comes after that is let pass unread."""

_ENDS = re.compile(rb"[\r\n\x08]")
_TELLING = re.compile(rb"/[ \t]{0,8}[0-9?U]|%\||[Ee]poch|EPOCH")
"""What a line must hold to be worth a closer look. Most output of most programs has none of it,"""
_HINTS = (b"/", b"%|", b"poch", b"POCH")
"""and mostly none of this either, which is found out ten times as fast."""
MOST_BEFORE, MOST_AFTER = 24, 72
"""Of one read that holds more lines than any training prints, the first and the last are looked at: all is absolute."""


class Lines:
    """Cuts a stream into lines. Keeps at most `MAX_LINE_BYTES` of an unfinished one, however long it becomes.

    Args:
        every: return every line, not only those that may tell something to the formats that are known.
    """

    def __init__(self, *, every: bool = False) -> None:
        self._every = every
        self._rest = b""

    @property
    def rest(self) -> bytes:
        """The unfinished line, as far as it is kept."""
        return self._rest

    def cut(self, data: bytes) -> list[bytes]:
        """The lines that ``data`` finishes and that may tell something, without their ends, cut to their limit."""
        last = _last_end(data, 0, len(data))
        if last < 0:
            self._rest += data[: MAX_LINE_BYTES - len(self._rest)]
            return []
        whole = self._rest + data[:last]
        self._rest = data[last + 1 : last + 1 + MAX_LINE_BYTES]
        if self._every:
            found = [line[:MAX_LINE_BYTES] for line in _ENDS.split(whole) if line]
            return _ends_of(found, 10 * MOST_BEFORE, 10 * MOST_AFTER)
        return _ends_of(_telling(whole), MOST_BEFORE, MOST_AFTER)


def _telling(whole: bytes) -> list[bytes]:
    lines: list[bytes] = []
    if not any(hint in whole for hint in _HINTS):
        return lines
    reached = 0
    while (hit := _TELLING.search(whole, reached)) is not None:
        begin = max(reached, _last_end(whole, reached, hit.start()) + 1)
        after = _ENDS.search(whole, hit.end())
        end = len(whole) if after is None else after.start()
        lines.append(whole[begin : min(end, begin + MAX_LINE_BYTES)])
        reached = end
    return lines


def _ends_of(lines: list[bytes], before: int, after: int) -> list[bytes]:
    return lines if len(lines) <= before + after else lines[:before] + lines[-after:]


def _last_end(data: bytes, start: int, end: int) -> int:
    return max(data.rfind(b"\n", start, end), data.rfind(b"\r", start, end), data.rfind(b"\x08", start, end))
