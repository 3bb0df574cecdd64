"""Progress bars: of tqdm and its likes (Lightning, Hugging Face, fastai draw theirs with it), of Keras, of rich."""

from __future__ import annotations

import re
from dataclasses import dataclass

from epochcost.launch.reading.progress import Form, Progress, Trust, count, number_of_epoch
from epochcost.launch.reading.vocabulary import (
    COUNTED,
    EPOCH,
    EVALUATION,
    NAMES_TRAINING,
    NUMBERED,
    OTHER,
    TRAINING_NAME,
)

MAX_NAME = 300

_TQDM = re.compile(
    r"(?:\]?\s{0,4})?(?<![\d.])\d{1,3}%\s?\|[^|]{0,600}\|\s{0,12}(?P<step>\d{1,15})/(?P<steps>\d{1,15})\s{0,2}\[(?P<timing>[^\]]{0,300})"
)
_NO_TOTAL = re.compile(
    r"(?:\|[^|]{0,600}\|\s{0,12}(?P<step>\d{1,15})/\? |(?<![\d.])(?P<steps>\d{1,15})(?P<unit>[a-z]{1,8}) )"
    r"\[(?P<timing>[^\]]{0,300})"
)
_RICH = re.compile(r"(?<=\s)[━╸╺][━╸╺ ]{2,200}(?P<step>\d{1,15})/(?P<steps>\d{1,15}|--)(?=\s|$)")
_LATER = re.compile(
    r"\[(?P<step>\d{1,15})/(?P<steps>\d{1,15})\]\s{1,4}\d{1,3}%\|(?P<timing>[^\[]{0,600}\[[^\]]{0,300})"
)
"""Ignite puts the counter before the bar."""
_OTHERS = re.compile(
    r"\|[█▏▎▍▌▋▊▉\u2800-\u28ff⚠︎! -]{4,200}\|"
    r"(?: \d{1,3}\.\d\d% \[| [▁▂▃▄▅▆▇█]{1,3} )(?P<step>\d{1,15})/(?P<steps>\d{1,15}) (?P<timing>[\d\[][^\]]{0,300})"
)
"""fastprogress (``|███---| 45.00% [45/100 00:04<00:05``) and alive-progress (``|███  | ▅▃▁ 45/100 [45%] in 4s``)."""
_KERAS = re.compile(
    r"\s{0,20}(?P<step>\d{1,15})/(?P<steps>\d{1,15}|Unknown)"
    r"(?: \[[=>.]{0,80}\]| [━╸╺ ]{1,80}| -| {1,8}\d{1,9}(?:s|ms|us)\b)(?P<rest>.{0,400})"
)
_RATE = re.compile(r"[\d.?]\s{0,2}([A-Za-z]{1,20})/s|s/([A-Za-z]{1,20})")
_EPOCHS = re.compile(rf"\W{{0,8}}(?:training\s|train\s|total\s|all\s)?{EPOCH}\W{{0,8}}", re.IGNORECASE)
_FIGURE = re.compile(
    r"[\w./@%-]{1,40}\s?[=:]\s{0,12}(?:[-+]?\d[\w.+%/-]{0,24}|nan|inf|\?)|\bloss\s{1,4}[-\d.e+]{1,24}", re.IGNORECASE
)
_COUNTED = frozenset(
    {"it", "step", "steps", "batch", "batches", "b", "ba", "iter", "epoch", "epochs", "ex", "update", "updates", ""}
)
_WORD = re.compile(r"[^\W\d_]{2,}")


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar as it is drawn, before anything is made of it."""

    name: str
    step: int
    steps: int | None
    unit: str
    timing: str


def found_in(text: str) -> Bar | None:
    """The bar that ``text`` is, if it is one."""
    if "%" not in text and "/" not in text and "[" not in text:
        return None
    for pattern in (_TQDM, _LATER, _NO_TOTAL, _RICH, _OTHERS):
        if (match := pattern.search(text)) is not None:
            groups = match.groupdict()
            timing = groups.get("timing") or text[match.end() :][:MAX_NAME]
            step, steps = count(groups["step"]), count(groups["steps"], 1)
            if pattern is _NO_TOTAL and groups["step"] is None:
                step, steps = steps, None
            if step is None or (pattern is _TQDM and steps is None):
                return None
            name = text[: match.start()].rstrip(" :|").strip()
            return Bar(name[-MAX_NAME:], step, steps, groups.get("unit") or _unit(timing), timing)
    return None


def bar(text: str, who: str) -> Progress | None:
    """``Epoch 3/10:  45%|████▌     | 45/100 [00:04<00:05,  9.98it/s]`` with any description, or with none.

    A description that names an epoch is about the one in progress; ``Epochs`` alone, or epochs per second, count the
    finished ones; ``train`` and the like are the training's. What a bar without a name counts is unknown, and any other
    (downloads, preparation) or any unit that is not a step is not training.
    """
    drawn = found_in(text)
    if drawn is None:
        return None
    if drawn.unit not in _COUNTED:
        return Progress("bar", Form.INNER, kind="", evaluation=True)
    name, steps = drawn.name, drawn.steps
    numbered = NUMBERED.search(name) or COUNTED.search(name)
    if numbered is not None:
        return _numbered(drawn, numbered, who)
    if steps is not None and (drawn.unit.startswith("epoch") or _EPOCHS.fullmatch(name) is not None):
        sure = drawn.unit.startswith("epoch") or name.lower().rstrip(" :").endswith(("s", "n"))
        return Progress(
            "bar of epochs", Form.COUNT, Trust.NAMED if sure else Trust.GUESS, f"{who}count {_words(name)} {steps}",
            position=float(drawn.step), epochs=float(steps), step=drawn.step, steps=steps,
        )  # fmt: skip
    return _loose(drawn, who)


def _numbered(drawn: Bar, match: re.Match[str], who: str) -> Progress | None:
    before, after = drawn.name[: match.start()], drawn.name[match.end() :]
    words = _FIGURE.sub(" ", after)
    head = f"{before} {match.groupdict().get('role') or ''}"
    evaluation = (EVALUATION.search(head) or EVALUATION.search(words)) is not None
    if OTHER.search(head) or (OTHER.search(words) and not NAMES_TRAINING.search(words)):
        return Progress("bar", Form.INNER, evaluation=True)
    total = match.groupdict().get("total") or match.groupdict().get("before_total")
    first_word = _WORD.search(words)
    return Progress(
        "numbered bars",
        Form.WITHIN,
        Trust.NAMED,
        f"{who}bar {_words(before)}#{'/' if total else ''}{first_word[0].lower() if first_word else ''}",
        evaluation=evaluation,
        number=number_of_epoch(match["number"]),
        epochs=_float(count(total, 1)),
        step=drawn.step,
        steps=drawn.steps,
        counted=True,
    )


def _loose(drawn: Bar, who: str) -> Progress:
    """A bar that names no epoch."""
    name = _FIGURE.sub(" ", drawn.name)
    evaluation = (EVALUATION.search(name) or OTHER.search(name)) is not None
    named = not evaluation and TRAINING_NAME.fullmatch(name) is not None and NAMES_TRAINING.search(name) is not None
    if not named and _WORD.search(name):
        evaluation = True
    return Progress(
        "training bars" if named else "bar",
        Form.INNER,
        Trust.NAMED if named else Trust.GUESS,
        f"{who}loose {_words(name)} {drawn.steps}",
        evaluation=evaluation,
        step=drawn.step,
        steps=drawn.steps,
        counted=True,
    )


def keras(text: str, who: str) -> Progress | None:
    """``120/469 [====>...] - ETA: 3s`` or Keras 3's ``120/469 ━━━━ 3s 5ms/step``: the bar under a heading."""
    if (match := _KERAS.match(text)) is None:
        return None
    step, steps = count(match["step"]), count(match["steps"], 1)
    learns = _FIGURE.search(match["rest"].replace("ETA:", "")) is not None  # predict() prints nothing but its time
    return Progress(
        "keras", Form.INNER, Trust.NAMED if learns else Trust.GUESS, f"{who}keras {'loss' if learns else ''} {steps}",
        step=step, steps=steps, counted=True, evaluation=steps == 1 and not learns,
    )  # fmt: skip


def _words(text: str) -> str:
    return " ".join(word.lower() for word in _WORD.findall(text)[-4:])


def _float(value: int | None) -> float | None:
    return None if value is None else float(value)


def _unit(timing: str) -> str:
    match = _RATE.search(timing)
    return "" if match is None else (match[1] or match[2]).lower()
