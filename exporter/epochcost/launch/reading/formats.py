"""What trainings print, one parser a format: pure, linear in the line, nothing raised whatever the bytes.

A parser takes one line without its end and returns what it says, or None. The first of `FORMATS` to know a line wins.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

from epochcost.launch.reading.bars import bar
from epochcost.launch.reading.progress import Progress, Rank, amount, count, plain

Parser: TypeAlias = Callable[[bytes], "Progress | None"]

_KERAS_HEAD = re.compile(r"\s{0,8}Epoch (\d{1,9})/(\d{1,9})\s{0,8}")
_KERAS_BAR = re.compile(
    r"\s{0,20}(\d{1,15})/(\d{1,15}|Unknown)(?: \[[=>.]{0,80}\]| [━╸╺ ]{1,80}| -| {1,8}\d{1,9}(?:s|ms|us)\b)"
)
_RICH_EPOCH = re.compile(r"\s{0,8}Epoch (\d{1,9})/(\d{1,9})\s{1,8}[━╸╺ ]{1,400}\s{0,8}(\d{1,15})/(\d{1,15}|--)\s")
_HF_EPOCH = re.compile(r"""['"]epoch['"]: ?['"]?([0-9][0-9.eE+-]{0,30})['"]?\s{0,4}[,}]""")
_MEGATRON = re.compile(r"\s?(?:\[[^\]]{1,60}\])?\s{1,4}iteration\s{1,20}(\d{1,15})/\s{0,20}(\d{1,15})\s?\|")
_MEGATRON_SAMPLES = re.compile(r"\|\s{0,4}consumed samples:\s{0,20}(\d{1,18})\s?\|")
_MEGATRON_BATCH = re.compile(r"\|\s{0,4}global batch size:\s{0,20}(\d{1,12})\s?\|")
_ULTRALYTICS = re.compile(r"\s{1,12}(\d{1,9})/(\d{1,9})\s{1,12}\d{1,5}(?:\.\d{1,4})?[GM]B?\s")
_ULTRALYTICS_BAR = re.compile(r":\s{0,4}\d{1,3}%\D{1,400}?(\d{1,15})/(\d{1,15})\b")
_ARTICLE = re.compile(r"\s{0,12}(\d{1,15}): (\d{1,9}) \[\s{0,12}(\d{1,15})/\s{0,12}(\d{1,15})\]")


def keras(line: bytes) -> Progress | None:
    """``Epoch 3/10``, and under it ``120/469 [====>...] - ETA: 3s`` or Keras 3's ``120/469 ━━━━ 3s 5ms/step``."""
    text = plain(line)
    if (head := _KERAS_HEAD.fullmatch(text)) is not None:
        return Progress("keras", Rank.EPOCHS, number=count(head[1]), first=1, epochs=amount(head[2]), step=0)
    if (within := _KERAS_BAR.match(text)) is not None:
        return Progress("keras", Rank.EPOCHS, step=count(within[1]), steps=count(within[2], 1))
    return None


def rich_epoch(line: bytes) -> Progress | None:
    """Lightning's ``RichProgressBar``: ``Epoch 3/9 ━━━━ 45/100 0:00:04``, which counts from 0 to the last number."""
    if (found := _RICH_EPOCH.match(plain(line))) is None:
        return None
    last = count(found[2])
    return Progress(
        "lightning",
        Rank.EPOCHS,
        number=count(found[1]),
        first=0,
        epochs=None if last is None else float(last + 1),
        step=count(found[3]),
        steps=count(found[4], 1),
    )


def hugging_face(line: bytes) -> Progress | None:
    """The log of ``transformers.Trainer``: ``{'loss': 0.5, ..., 'epoch': 1.23}``."""
    text = plain(line).strip()
    if not (text.startswith("{") and text.endswith("}")) or (found := _HF_EPOCH.search(text)) is None:
        return None
    position = amount(found[1])
    return None if position is None else Progress("huggingface", Rank.EPOCHS, position=position)


def megatron(line: bytes) -> Progress | None:
    """`` iteration      100/    1000 | consumed samples:        25600 | ... | global batch size: 256 |``: no epochs."""
    text = plain(line)
    if (found := _MEGATRON.match(text)) is None:
        return None
    samples, batch = _MEGATRON_SAMPLES.search(text), _MEGATRON_BATCH.search(text)
    return Progress(
        "megatron",
        Rank.STEPS,
        run_step=count(found[1]),
        run_steps=count(found[2], 1),
        samples=count(samples[1]) if samples else None,
        batch_size=count(batch[1], 1) if batch else None,
    )


def ultralytics(line: bytes) -> Progress | None:
    """``      1/100      2.51G      1.155 ...  640:  45%|████▌     | 45/100``; validation prints no epoch."""
    text = plain(line)
    if (found := _ULTRALYTICS.match(text)) is None or (within := _ULTRALYTICS_BAR.search(text, found.end())) is None:
        return None
    return Progress(
        "ultralytics",
        Rank.EPOCHS,
        number=count(found[1]),
        first=1,
        epochs=amount(found[2]),
        step=count(within[1]),
        steps=count(within[2], 1),
    )


def numbered(line: bytes) -> Progress | None:
    """``   850: 3 [  850/ 1326], train_loss=1.234``: step, epoch from 0, batch of the epoch and how many it has."""
    if (found := _ARTICLE.match(plain(line))) is None:
        return None
    return Progress(
        "numbered",
        Rank.EPOCHS,
        number=count(found[2]),
        first=0,
        step=count(found[3]),
        steps=count(found[4], 1),
    )


FORMATS: tuple[Parser, ...] = (ultralytics, rich_epoch, keras, hugging_face, megatron, numbered, bar)


def parse(line: bytes) -> Progress | None:
    """What ``line`` says in the first format that knows it."""
    return next((said for known in FORMATS if (said := known(line)) is not None), None)
