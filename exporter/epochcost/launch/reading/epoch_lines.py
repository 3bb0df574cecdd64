"""Lines of any program that name the number of an epoch: read by their words, not by the program's name."""

from __future__ import annotations

import json
import re

from epochcost.launch.reading.progress import Form, Progress, Trust, amount, count, number_of_epoch
from epochcost.launch.reading.vocabulary import (
    BARE_STEP,
    BEGINS,
    COUNTED,
    DECIMAL,
    DURATION,
    EVALUATION,
    FINISHED,
    FRACTION,
    GRAPHIC,
    METRIC,
    NAMED_STEP,
    NOT_PROGRESS_AFTER,
    NOT_PROGRESS_BEFORE,
    NUMBERED,
    PERCENT,
    RATE,
)

MAX_TEXT = 600
"""The keyword is at the beginning of a line."""
MOST_WORDS_BEFORE = 6
MOST_EPOCHS = 10_000_000
"""Greater numbers behind the word are times."""
_WORD = re.compile(r"[^\W\d_]{2,}")
_PAIR = re.compile(r"""["']([A-Za-z_][\w ./-]{0,60})["']\s?:\s?["']?([^,"'{}\[\]]{0,60})["']?\s{0,4}(?=[,}])""")
_STEP_KEYS = frozenset({"step", "steps", "iter", "iteration", "global_step", "global_steps", "num_updates", "batch"})
_RUN_KEYS = ("global_step", "global_steps", "num_updates")


def epoch_line(text: str, who: str) -> Progress | None:
    """``Epoch [3/10], Step [45/100], Loss: 0.5``, ``epoch 3 - loss 0.5``, ``Epoch 3/10`` and whatever looks like it."""
    text = text[:MAX_TEXT]
    match = NUMBERED.search(text) or COUNTED.search(text)
    if match is None:
        return _fraction(text, who)
    before, after = text[: match.start()], text[match.end() :]
    if NUMBERED.search(after) and len(NUMBERED.findall(after)) > 1:
        return None  # a list of epochs
    if len(_WORD.findall(before)) > MOST_WORDS_BEFORE or NOT_PROGRESS_BEFORE.search(before):
        return None
    groups = match.groupdict()
    number = number_of_epoch(groups["number"])
    if NOT_PROGRESS_AFTER.search(after) or number is None or number > MOST_EPOCHS:
        return None
    total = groups.get("total") or groups.get("before_total")
    first_word = _WORD.search(after)
    head = f"{before} {groups.get('role') or ''} {_directly_after(after)}"
    evaluation = EVALUATION.search(head) is not None
    step, steps, named, share = _step(before, after)
    form = Form.WITHIN if step is not None or share is not None else _form(before, after)
    return Progress(
        "lines with epochs",
        form,
        Trust.GUESS,
        f"{who}{form.value} {_words(before)}#{'/' if total else ''}{first_word[0].lower() if first_word else ''}",
        evaluation=evaluation,
        number=number,
        epochs=_float(count(total, 1)),
        step=step,
        steps=steps,
        counted=named,
        share=share,
        run_step=_run_step(after),
    )


def _fraction(text: str, who: str) -> Progress | None:
    """``epoch 1.25``: a position."""
    match = FRACTION.search(text)
    if match is None or NOT_PROGRESS_BEFORE.search(text[: match.start()]) or EVALUATION.search(text[: match.start()]):
        return None
    return Progress(
        "lines with positions", Form.POSITION, Trust.GUESS, f"{who}position {_words(text[: match.start()])}",
        position=amount(match["position"]), decimals=len(match["decimals"]),
    )  # fmt: skip


def _directly_after(after: str) -> str:
    """The first words behind the number, if they name the source of the line and not a figure."""
    match = re.match(r"[\s\])|:,;-]{0,8}[\[(]?([A-Za-z]{2,16})\b(?:\s{0,2}(?:set|phase|step)?)", after)
    return match[1] if match else ""


def _step(before: str, after: str) -> tuple[int | None, int | None, bool, float | None]:
    """The batch of the epoch, how many there are, whether it is called so, and the share that is done."""
    named = NAMED_STEP.search(after) or NAMED_STEP.search(before)
    if named is not None and not named[0].lower().startswith("global"):
        return count(named["step"]), count(named["steps"], 1), True, None
    bare = BARE_STEP.search(after[:120])
    if bare is not None and (steps := count(bare["steps"], 1)) is not None:
        step = count(bare["step"])
        if step is not None and step <= steps:
            return step, steps, bare["named"] is not None, None
    percent = PERCENT.search(after[:200])
    if percent is not None and GRAPHIC.search(after):
        value = amount(percent["percent"])
        if value is not None and value <= 100:  # noqa: PLR2004 - per cent
            return None, None, False, value / 100
    return None, None, False, None


def _run_step(after: str) -> int | None:
    named = NAMED_STEP.search(after)
    return count(named["step"]) if named is not None and named[0].lower().startswith("global") else None


def _form(before: str, after: str) -> Form:
    """Whether a line that is printed once per epoch marks its beginning or its end."""
    if BEGINS.search(before) or BEGINS.search(after[:40]):
        return Form.HEAD
    if FINISHED.search(before) or FINISHED.search(after):
        return Form.END
    if after.strip() == "|":
        return Form.END  # a row of a table of names and figures
    figures = RATE.sub(" ", after)
    if DURATION.search(figures) or DECIMAL.search(figures):
        return Form.END
    for part in (figures, RATE.sub(" ", before)):
        metric = METRIC.search(part)
        if metric is not None and re.search(r"\d", part[metric.end() :]):
            return Form.END
    return Form.HEAD


def dictionary(text: str, who: str) -> Progress | None:
    """A dictionary or a JSON object with a key ``epoch`` and figures of a training run, printed in one line.

    A configuration or the description of a checkpoint looks alike; they do not rise by one.
    """
    begin = text.find("{")
    if begin < 0 or not text.rstrip().endswith("}"):
        return None
    pairs = {key.lower(): value.strip() for key, value in _PAIR.findall(text[begin:])}
    epoch = pairs.get("epoch")
    if epoch is None:
        return None
    number = number_of_epoch(epoch)
    step = next((count(pairs[key]) for key in pairs if key in _STEP_KEYS), None)
    if number is None:
        return _dictionary_position(epoch, pairs, who)
    figures = [key for key in pairs if METRIC.fullmatch(key) or "loss" in key or "acc" in key]
    if not figures:
        return Progress("dictionaries", Form.INNER, evaluation=True)  # a configuration, or a checkpoint's own words
    run_step = next((count(pairs[key]) for key in _RUN_KEYS if key in pairs), None)
    evaluation = all(EVALUATION.search(key.replace("_", " ")) for key in figures)
    return Progress(
        "dictionaries",
        Form.WITHIN if step is not None or run_step is not None else Form.END,
        Trust.GUESS,
        f"{who}dict {' '.join(sorted(pairs)[:12])}",
        evaluation=evaluation,
        number=number,
        epochs=amount(pairs.get("epochs") or pairs.get("max_epochs") or pairs.get("num_epochs")) or None,
        step=None if run_step is not None else step,
        run_step=run_step,
        counted=True,
    )


def _dictionary_position(epoch: str, pairs: dict[str, str], who: str) -> Progress | None:
    position = amount(epoch)
    if position is None or not any("loss" in key for key in pairs):
        return Progress("dictionaries", Form.INNER, evaluation=True)
    return Progress(
        "dictionaries", Form.POSITION, Trust.GUESS, f"{who}dict {' '.join(sorted(pairs)[:12])}", position=position,
        decimals=decimals(epoch),
    )  # fmt: skip


def is_dictionary(text: str) -> bool:
    """Whether ``text`` is one, and so nothing else."""
    brace = text.find("{")
    return 0 <= brace <= 80 and text.rstrip().endswith("}")  # noqa: PLR2004 - behind a prefix


def decimals(text: str) -> int:
    """Number of digits after the decimal point."""
    return len(text.partition(".")[2])


def as_json(text: str) -> dict[str, object] | None:
    """The object that ``text`` is, if it is one."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _words(text: str) -> str:
    return " ".join(word.lower() for word in _WORD.findall(text)[-4:])


def _float(value: int | None) -> float | None:
    return None if value is None else float(value)
