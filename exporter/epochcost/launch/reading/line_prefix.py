"""What precedes the words of a line: clocks, levels, loggers, and which of several processes wrote it."""

from __future__ import annotations

import re

MAX_PREFIXES = 8

_CLOCKS = re.compile(
    r"(?:[\[(]?\d{4}[-/.]\d{1,2}[-/.]\d{1,2}(?:[T _]\d{1,2}:\d{2}(?::\d{2})?(?:[.,]\d{1,9})?"
    r"(?: ?(?:Z|[+-]\d{2}:?\d{2}|UTC))?)?[\])]?"
    r"|\[?\d{1,2}/\d{1,2}(?:/\d{2,4})? \d{2}:\d{2}:\d{2}(?:[.,]\d{1,9})?(?: (?:AM|PM))?(?: [\w.]{1,60})?\]?"
    r"|[\[(]?\d{1,2}:\d{2}:\d{2}(?:[.,]\d{1,9})?[\])]?"
    r"|[A-Z][a-z]{2} {1,2}\d{1,2} \d{2}:\d{2}:\d{2}(?: \d{4})?"
    r"|[IWEF]\d{4} \d{2}:\d{2}:\d{2}\.\d{1,9} {1,8}\d{1,9} [\w./-]{1,80}:\d{1,6}\])"
    r"(?=[\s:,|\]-]|$)[\s:,|-]{0,8}"
)
_LEVEL = re.compile(
    r"[\[(<]?(?:DEBUG|INFO|WARNING|WARN|ERROR|NOTICE|TRACE|SUCCESS)[\])>]?(?:\s?[:|-]\s{0,8}|\s{1,8}|:)", re.IGNORECASE
)
_BASIC = re.compile(r"(?P<word>[A-Za-z_][\w.]{0,80}):(?=\S)")
"""The logger's name after ``INFO:``, as Python's own handler prints it."""
_PLACE = re.compile(r"\[[\w./-]{1,80}\.py:\d{1,6}(?::[\w<>]{1,60})?\]:?\s{1,4}")
_LOGGER = re.compile(r"(?P<word>[A-Za-z_][\w.]{0,80}(?::[\w<>]{1,60})?(?::\d{1,6})?)\s{1,4}(?:-|\|)\s{1,8}")
_SERVICE = re.compile(r"(?P<word>[A-Za-z][\w.]{0,60}(?:-[\w.]{1,60}){0,6})\s{1,20}\|\s")
_NAMED = re.compile(r"(?P<word>[A-Za-z]\w{0,20})(?=\s{1,2}(?:INFO|WARNING|DEBUG|ERROR)\b)\s{1,2}")
_RANK = re.compile(
    r"(?:\[?(?:local[ _-]?)?(?:rank|gpu|worker|node|proc(?:ess)?|default|device|cuda|replica|task|pod)"
    r"[ _:=#-]{0,2}\d{1,6}\]?|\[\d{1,6},\d{1,6}\]<std(?:out|err)>|\((?:\w{1,60} )?pid=\d{1,9}(?:, ip=[\d.]{1,40})?\)"
    r"|\[\d{1,5}\](?=:)|\d{1,5}(?=: {1,2}\S))"
    r"(?:\s?[:|]\s{0,4}|\s{1,4}|(?<=\]))",
    re.IGNORECASE,
)
_HOST = re.compile(r"(?P<word>[A-Za-z][\w.-]{0,60}\d[\w.-]{0,60}):\s{1,4}")
_MEANT = re.compile(
    r"(?:train(?:ing|_inner)?|valid\w{0,6}|val|test\w{0,4}|eval\w{0,8}|dev|epoch\w{0,4}|step\w{0,4}|iter\w{0,8}|batch\w{0,4}"
    r"|fold\w{0,4}|trial\w{0,4}|phase|stage|loss|e)",
    re.IGNORECASE,
)
"""Words that belong to the content of the line."""


def strip_prefix(text: str, limit: int | None = None) -> tuple[str, str]:
    """The source of the line (a rank, a host, a service; empty if none is named), and its words.

    Nothing is stripped beyond the first ``limit`` characters.
    """
    who: list[str] = []
    whole = len(text)
    for _ in range(MAX_PREFIXES):
        text = text.lstrip(" \t")
        prefix, names = _prefix(text)
        if prefix is None or prefix.end() == 0 or (limit is not None and whole - len(text) + prefix.end() > limit):
            break
        if names:
            who.append(prefix[0].strip(" :|\t"))
        text = text[prefix.end() :]
    return " ".join(who), text


def _prefix(text: str) -> tuple[re.Match[str] | None, bool]:
    """The first prefix of ``text``, and whether it names the source."""
    if (match := _RANK.match(text)) is not None:
        return match, True
    if (match := _LEVEL.match(text)) is not None:
        name = _BASIC.match(text, match.end()) if match[0].endswith(":") else None
        return (match if name is None or _MEANT.fullmatch(name["word"]) else name), False
    if (match := _CLOCKS.match(text) or _PLACE.match(text) or _NAMED.match(text)) is not None:
        return match, False
    if (match := _SERVICE.match(text) or _HOST.match(text)) is not None and not _MEANT.fullmatch(match["word"]):
        return match, True
    match = _LOGGER.match(text)
    return (None if match is None or _MEANT.fullmatch(match["word"]) else match), False
