"""Progress bars of tqdm and its likes (Lightning, Hugging Face, fastai draw theirs with it)."""

from __future__ import annotations

import re

from epochcost.launch.reading.progress import Progress, Rank, amount, count, plain

_BAR = re.compile(
    r"(?:([^|]{0,300}?):\s{1,4})?\s{0,4}\d{1,3}%\|[^|]{0,600}\|\s{0,12}(\d{1,15})/(\d{1,15}) \[([^\]]{0,300})"
)
_NO_TOTAL = re.compile(r"(Epoch \d{1,9}): ?\|[^|]{0,600}\|\s{0,12}(\d{1,15})/\? \[([^\]]{0,300})")
_RATE = re.compile(r"[\d.?]\s{0,2}([A-Za-z]{1,20})/s|s/([A-Za-z]{1,20})")
_NUMBERED = re.compile(r"\bepochs?\b[\s:#=\[(]{0,8}(\d{1,9})(?:\s{0,4}(?:/|of)\s{0,4}(\d{1,9}))?", re.IGNORECASE)
_EPOCHS = re.compile(r"\W{0,8}(?:training\s|train\s|total\s)?epochs?\W{0,8}", re.IGNORECASE)
_TRAINING = re.compile(r"\b(?:train(?:ing)?|epochs?|steps?|iter(?:ation)?s?|batch(?:es)?)\b", re.IGNORECASE)
_OTHER = re.compile(
    r"\b(?:eval\w{0,8}|valid\w{0,8}|val|test\w{0,8}|predict\w{0,8}|infer\w{0,8}|sanity|sampl\w{0,8}|download\w{0,8}"
    r"|load\w{0,8}|sav\w{0,8}|map|filter\w{0,8}|tokeniz\w{0,8}|extract\w{0,8}|prepar\w{0,8}|generat\w{0,8})\b",
    re.IGNORECASE,
)
_COUNTED = frozenset({"it", "step", "steps", "batch", "batches", "b", "ba", "iter", "epoch", "epochs", "ex", ""})


def bar(line: bytes) -> Progress | None:
    """``Epoch 3/10:  45%|████▌     | 45/100 [00:04<00:05,  9.98it/s]`` with any description, or with none.

    A description that names an epoch says which one is being done; ``Epochs`` alone, or epochs per second, count the
    finished ones; ``train`` and the like are steps, of which nobody says whether they are those of an epoch. Any other
    description (evaluation, downloads, preparation) and any unit that is no step is not training.
    """
    text = plain(line)
    found = _BAR.match(text)
    if found is None:
        return _endless(text)
    told, done, total, timing = found[1] or "", count(found[2]), count(found[3], 1), found[4]
    unit = _unit(timing)
    if done is None or total is None or unit not in _COUNTED:
        return None
    if (epoch := _NUMBERED.search(told)) is not None and _OTHER.search(told) is None:
        return _of_epoch(epoch[1], epoch[2], done, total, lightning="v_num=" in timing)
    if unit.startswith("epoch") or _EPOCHS.fullmatch(told) is not None:
        return Progress("tqdm", Rank.EPOCHS, position=float(done), epochs=float(total))
    if told.strip() and (_TRAINING.search(told) is None or _OTHER.search(told) is not None):
        return None
    return Progress("bar", Rank.BAR, step=done, steps=total)


def _endless(text: str) -> Progress | None:
    """A loader without length: the epoch's number is known, its steps so far, not how many there are."""
    found = _NO_TOTAL.match(text)
    if found is None or (epoch := _NUMBERED.search(found[1])) is None:
        return None
    return _of_epoch(epoch[1], epoch[2], count(found[2]), None, lightning="v_num=" in found[3])


def _of_epoch(number: str, epochs: str | None, step: int | None, steps: int | None, *, lightning: bool) -> Progress:
    return Progress(
        "lightning" if lightning else "tqdm",
        Rank.EPOCHS,
        number=count(number),
        first=0 if lightning else None,
        epochs=amount(epochs),
        step=step,
        steps=steps,
    )


def _unit(timing: str) -> str:
    found = _RATE.search(timing)
    return "" if found is None else (found[1] or found[2]).lower()
