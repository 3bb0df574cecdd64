"""Bytes as they pass by, cut where a terminal would begin a new line or write over the old one: bounded and cheap."""

from __future__ import annotations

import re

MAX_LINE_BYTES = 2048
"""What is read of one line; what comes after that is let pass unread."""

_ENDS = re.compile(rb"[\r\n\x08]")
_END_BYTES = (b"\r", b"\n", b"\x08")
_TELLING = re.compile(rb"/[ \t]{0,8}[0-9?U]|%\||[Ee]poch|EPOCH")
"""What a line must hold to be worth a closer look in a flood of output. Most of it has none of it,"""
_HINTS = (b"/", b"%|", b"poch", b"POCH")
"""and mostly none of this either, which is found out ten times as fast."""
_FLOOD_BYTES = 8192
_FLOOD_END_BYTES = 128
"""More than that at once is a flood, of which all but the end is searched for these words alone; the rest for"""
_TELLING_MORE = re.compile(
    rb"/[ \t]{0,8}[0-9?U-]|%\||Ep\. [0-9]|[Ee]poc|EPOCH|[\xa9\x89]poc|\xb5\xd0\xbf\xd0\xbe|[Ll]oss|[Aa]cc"
    rb"|[Ee]pok|[Ii]ter|ITER|[Ss]tep|STEP|[Bb]atch|Trainer\.fit"
    rb"|v_num|Sanity|dataloader has|[Nn]um examples|:\[[0-9]|\xbf\xd0\xbe\xd1\x85|\xe3\x83\x9d\xe3\x83\x83\xe3\x82\xaf"
    rb"|\xec\x97\x90|\xe8\xbd\xae|\xe5\x9b\x9e\xe5\x90\x88|\xe4\xb8\x96\xe4\xbb\xa3|\bE  |[0-9]it \[|GPU available"
    rb"|params|raw words|avg loss|heckpoint"
)
"""other languages' words, steps, heads of tables, and what names a program."""
_TABLE_HEAD = re.compile(rb"[\s|]{0,16}(?:\x1b\[[0-9;]{0,16}m)?(?:[Ee]poch|EPOCH|E)[\s|#,;][^0-9]{4,400}$")
MOST_BEFORE, MOST_AFTER = 24, 72
"""Of one read that holds more lines than any training prints, the first and the last are looked at: all is absolute."""


class Lines:
    """Cuts a stream into lines. Keeps at most `MAX_LINE_BYTES` of an unfinished one, however long it becomes.

    Args:
        every: return every line, not only those that may be about progress; may be set at any time.
    """

    def __init__(self, *, every: bool = False) -> None:
        self.every = every
        self.seen = False
        self._rest = b""
        self._looked = False

    @property
    def rest(self) -> bytes:
        """The unfinished line, as far as it is kept."""
        return self._rest

    def unfinished(self) -> bytes:
        """`rest`, for nothing has followed for a while: it is not returned again when only its end comes."""
        self._looked = True
        return self._rest

    def each(self, data: bytes) -> list[tuple[bytes, bool]]:
        """All lines that ``data`` finishes, however many, empty ones too; and whether a newline ended them."""
        complete: list[tuple[bytes, bool]] = []
        begin = 0
        for end in _ENDS.finditer(data):
            line, self._rest = self._rest + data[begin : end.start()], b""
            complete.append((line[:MAX_LINE_BYTES], end[0] == b"\n"))
            begin = end.end()
        self._rest = (self._rest + data[begin : begin + MAX_LINE_BYTES])[:MAX_LINE_BYTES]
        return complete

    def cut(self, data: bytes) -> list[bytes]:
        """The lines that ``data`` finishes and that may be about progress, without their ends, cut to their limit."""
        self.seen = True
        known, self._looked = self._looked and data[:1] in _END_BYTES, False
        last = _last_end(data, 0, len(data))
        if last < 0:
            self._rest += data[: MAX_LINE_BYTES - len(self._rest)]
            return []
        whole = data[:last] if known else self._rest + data[:last]
        self._rest = data[last + 1 : last + 1 + MAX_LINE_BYTES]
        if self.every:
            complete = [line[:MAX_LINE_BYTES] for line in _ENDS.split(whole) if line]
            return _ends_of(complete, 10 * MOST_BEFORE, 10 * MOST_AFTER)
        return _ends_of(_telling(whole), MOST_BEFORE, MOST_AFTER)


def _telling(whole: bytes) -> list[bytes]:
    before = _last_end(whole, 0, len(whole) - _FLOOD_END_BYTES) + 1 if len(whole) > _FLOOD_BYTES else 0
    lines: list[bytes] = []
    if before and any(hint in whole for hint in _HINTS):
        lines = _lines_with(_TELLING, whole, 0, before)
    return lines + _rows(whole[before:], _lines_with(_TELLING_MORE, whole, before, len(whole)))


def _rows(whole: bytes, lines: list[bytes]) -> list[bytes]:
    """Under the head of a table every line may be a row, also those that came together with it."""
    head = next((line for line in lines if _TABLE_HEAD.match(line)), None)
    if head is None:
        return lines
    begin = whole.find(head)
    return [line for line in lines if whole.find(line) < begin] + [
        line[:MAX_LINE_BYTES] for line in _ENDS.split(whole[begin:]) if line
    ]


def _lines_with(telling: re.Pattern[bytes], whole: bytes, reached: int, last: int) -> list[bytes]:
    """The lines from ``reached`` to ``last`` that hold what is looked for."""
    lines: list[bytes] = []
    while (hit := telling.search(whole, reached, last)) is not None:
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
