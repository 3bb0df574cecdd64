"""What one line or one row of a file reports about a training run: pure values."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from enum import Enum, IntEnum

MAX_COUNT = 2**63 - 1
MAX_EPOCH = 1e12


class Form(Enum):
    """What a line is in the course of a training run."""

    HEAD = "head"
    """Printed where an epoch begins: ``Epoch 3/10``."""
    WITHIN = "within"
    """Printed while an epoch is being done: a bar, a line every 100 batches."""
    END = "end"
    """Printed where an epoch is finished: ``epoch 3 - loss 0.5``."""
    INNER = "inner"
    """A counter that names no epoch: ``120/469 [===>...]``; what it counts is known by its surroundings."""
    COUNT = "count"
    """A bar that counts epochs: ``Epochs:  30%|###  | 3/10``."""
    POSITION = "position"
    """The position itself: ``{'loss': 0.5, ..., 'epoch': 1.23}``."""
    STEPS = "steps"
    """Steps or samples of the whole run, and no epoch."""
    FIGURES = "figures"
    """Figures of a training run without any number: ``loss: 0.5, accuracy: 0.9``."""
    SETTING = "setting"
    """Announces something: ``Num Epochs = 3``."""


class Trust(IntEnum):
    """How much a statement is worth before anything has confirmed it."""

    GUESS = 0
    """Words and numbers that look like progress."""
    NAMED = 1
    """A bar, a table or a counter that names what it counts."""
    KNOWN = 2
    """The own grammar of a known program."""
    FILE = 3
    """A file that a framework writes."""
    USER = 4
    """A pattern of the user's."""


@dataclass(frozen=True, slots=True)
class Progress:
    """One statement of one source. None if not reported.

    Attributes:
        source: which program or format it is, as shown to people.
        form: see `Form`.
        trust: see `Trust`.
        kind: statements of the same kind belong together: same program, same words, same rank.
        evaluation: it is of an evaluation, not of the training.
        number: of the epoch, as printed.
        first: the number that this format gives to the first epoch; None if it may be 0 or 1.
        usual: the number that it usually gives to it, where a resumed run begins with a later one.
        position: absolute, in finished epochs, if the format prints it; instead of ``number``.
        epochs: planned, or where epochs count from 0 perhaps the number of the last.
        last: number of the last planned epoch, where it is known to be that.
        step, steps: within the epoch, and how many it has.
        counted: ``step`` counts steps, not samples or something unknown.
        share: of the epoch that is done, from 0 to 1, where that is printed otherwise.
        run_step, run_steps: since the beginning of the run, and planned.
        samples: since the beginning of the run.
        batch_size: samples of one step.
        examples: samples of one epoch.
        complete: the program reports with it that this training run is complete.
        decimals: of ``position`` as printed.
    """

    source: str
    form: Form
    trust: Trust = Trust.GUESS
    kind: str = ""
    evaluation: bool = False
    number: int | None = None
    first: int | None = None
    usual: int | None = None
    position: float | None = None
    epochs: float | None = None
    last: int | None = None
    step: int | None = None
    steps: int | None = None
    counted: bool = False
    share: float | None = None
    run_step: int | None = None
    run_steps: int | None = None
    samples: int | None = None
    batch_size: int | None = None
    examples: int | None = None
    complete: bool = False
    decimals: int = 0

    @property
    def fraction(self) -> float | None:
        """Of the epoch that is done, from 0 to 1."""
        if self.step is not None and self.steps:
            return min(self.step / self.steps, 1.0)
        return self.share


_ESCAPES = re.compile(
    rb"\x1b(?:\[[0-?]{0,64}[ -/]{0,8}[@-~]"  # colours, cursor
    rb"|\][^\x07\x1b]{0,512}(?:\x07|\x1b\\)"  # titles, links
    rb"|[PX^_][^\x1b]{0,512}\x1b\\"
    rb"|[ -/]{0,4}[0-~])"
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]+")


@functools.lru_cache(maxsize=1)  # every format is tried on the same line
def plain(line: bytes) -> str:
    """``line`` without colours and other terminal control, for reading only; whatever is not UTF-8 is replaced."""
    text = _ESCAPES.sub(b"", line) if b"\x1b" in line else line
    return _CONTROL.sub("", text.decode("utf-8", "replace"))


def count(text: str | None, least: int = 0) -> int | None:
    """A whole number as printed, from ``least``; None if it is none or beyond what an event may hold."""
    if text is None:
        return None
    if "," in text:
        text = text.replace(",", "")
    if len(text) > 19 or not (text.isascii() and text.isdecimal()):  # noqa: PLR2004 - digits of 2^63
        return None
    number = int(text)
    return number if least <= number <= MAX_COUNT else None


def number_of_epoch(text: str | None) -> int | None:
    """As `count`, and not beyond what an epoch may be."""
    number = count(text)
    return None if number is None or number > MAX_EPOCH else number


def amount(text: str | None) -> float | None:
    """A number of 0 or more as printed; None if it is none."""
    if text is None or len(text) > 40:  # noqa: PLR2004 - no number of epochs is longer
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 <= number <= MAX_EPOCH else None
