"""Losses and accuracies that a line names: ``loss: 0.31``, ``'eval_loss': '0.4'``, ``val_acc=0.9``. Never a guess.

A figure counts only if it is alone after a name of what it measures. Left out are: a second figure behind
the first (a mean in brackets), one in per cent, a name that occurs twice in the line, a best or a target, a word before
the name that may mean something else, a bare ``loss`` in a line about an evaluation.
"""

from __future__ import annotations

import re

from epochcost.launch.reading.line_prefix import strip_prefix
from epochcost.launch.reading.progress import plain
from epochcost.launch.reading.vocabulary import EVALUATION

MAX_TEXT = 1200
_OF = r"(?:train(?:ing)?|val(?:id(?:ation)?)?|eval(?:uation)?|test|dev)"
_PAIR = re.compile(
    r"(?P<before>[A-Za-z\u00c0-\uffff][\w-]{0,30}[ \t]{1,4}|)(?<![\w./-])(?P<quote>[\"']?)"
    r"(?P<name>(?:[A-Za-z][A-Za-z0-9]{0,20}[_/.]){0,4}(?:loss|acc|accuracy|perplexity|ppl))(?P=quote)"
    r"[ \t]{0,3}[:=][ \t]{0,3}(?P<open>[\"']?)"
    r"(?P<number>[-+]?\d{1,12}\.\d{1,17}(?:[eE][-+]?\d{1,3})?|[-+]?\d{1,12}[eE][-+]?\d{1,3}|nan|[-+]?inf)"
    r"(?P=open)(?![\w.%:/]|[ \t]{0,2}[%(/±])",
    re.IGNORECASE,
)
_ANY = re.compile(r"loss|acc|perplexity|ppl", re.IGNORECASE)
"""Most lines of progress name none."""
_WHOSE = re.compile(rf"{_OF}[ \t]+", re.IGNORECASE)
_OF_EVALUATION = re.compile(r"(?:^|[_/.])(?:val|valid|validation|eval|evaluation|test|dev)(?:[_/.]|$)", re.IGNORECASE)
_OTHER_WORDS = re.compile(
    r"(?:^|[_/.])(?:best|min|max|target|lowest|highest|prev|last|old|stop)(?:[_/.]|$)", re.IGNORECASE
)
_REMARK = re.compile(
    r"(?<![a-z])(?:best|improved?|lowest|highest|patience|saving|resum\w{0,4})(?![a-z])", re.IGNORECASE
)


def named_metrics(line: bytes) -> dict[str, float]:
    """What ``line`` names surely, by the name that it gives; NaN and infinity are what they are."""
    text = plain(line)[:MAX_TEXT]
    if not _ANY.search(text):
        return {}
    who, text = strip_prefix(text)
    if who or _REMARK.search(text):
        return {}  # one of several processes, which have figures of their own; or of another time than now
    metrics: dict[str, float] = {}
    twice: set[str] = set()
    for pair in _PAIR.finditer(text):
        name = _full_name(pair)
        if name in metrics:
            twice.add(name)
        elif name:
            metrics[name] = float(pair["number"])
    if EVALUATION.search(_PAIR.sub(" ", text)):
        twice.update(name for name in metrics if not _OF_EVALUATION.search(name))
    return {name: value for name, value in metrics.items() if name not in twice}


def _full_name(pair: re.Match[str]) -> str:
    """With the word for what it measures; empty if another word precedes it."""
    name, before = pair["name"], pair["before"]
    if _OTHER_WORDS.search(name):
        return ""
    if not before:
        return name
    return f"{before.strip()}_{name}" if _WHOSE.fullmatch(before) and not pair["quote"] else ""
