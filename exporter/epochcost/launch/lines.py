"""Bytes as they pass by, cut where a terminal would begin a new line or write over the old one: bounded and cheap."""

from __future__ import annotations

import re

MAX_LINE_BYTES = 2048
"""What is read of one line; what comes after that is let pass unread."""

_ENDS = re.compile(rb"[\r\n\x08]")
_TELLING = re.compile(rb"/[ \t]{0,8}[0-9?U]|%\||[Ee]poch|EPOCH")
"""What a line must hold to be worth a closer look. Most output of most programs has none of it."""


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
            return [line[:MAX_LINE_BYTES] for line in _ENDS.split(whole) if line]
        return _telling(whole)


def _telling(whole: bytes) -> list[bytes]:
    lines: list[bytes] = []
    reached = 0
    while (hit := _TELLING.search(whole, reached)) is not None:
        begin = max(reached, _last_end(whole, reached, hit.start()) + 1)
        after = _ENDS.search(whole, hit.end())
        end = len(whole) if after is None else after.start()
        lines.append(whole[begin : min(end, begin + MAX_LINE_BYTES)])
        reached = end
    return lines


def _last_end(data: bytes, start: int, end: int) -> int:
    return max(data.rfind(b"\n", start, end), data.rfind(b"\r", start, end), data.rfind(b"\x08", start, end))
