"""What one line or one row of a file says about a training: pure values."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from enum import IntEnum

MAX_COUNT = 2**63 - 1
MAX_EPOCH = 1e12


class Rank(IntEnum):
    """How much a source knows; a better one takes over from a worse one, never the other way round."""

    BAR = 1
    STEPS = 2
    FILE = 3
    EPOCHS = 4
    TOLD = 5


@dataclass(frozen=True, slots=True)
class Progress:
    """One statement of one source. None where it says nothing.

    Attributes:
        source: which format it is, as shown to people.
        rank: see `Rank`.
        number: of the epoch that is being done, as printed.
        first: the number that this format gives to the first epoch; None where it may be 0 or 1.
        position: absolute, in finished epochs, where the format says it so; instead of ``number``.
        done: the epoch ``number`` is finished.
        epochs: planned.
        step, steps: within the epoch, and how many it has.
        run_step, run_steps: since the beginning of the run, and planned.
        samples: since the beginning of the run.
        batch_size: samples of one step.
    """

    source: str
    rank: Rank
    number: int | None = None
    first: int | None = None
    position: float | None = None
    done: bool = False
    epochs: float | None = None
    step: int | None = None
    steps: int | None = None
    run_step: int | None = None
    run_steps: int | None = None
    samples: int | None = None
    batch_size: int | None = None


_ESCAPES = re.compile(
    rb"\x1b(?:\[[0-?]{0,64}[ -/]{0,8}[@-~]"  # colours, cursor
    rb"|\][^\x07\x1b]{0,512}(?:\x07|\x1b\\)"  # titles, links
    rb"|[PX^_][^\x1b]{0,512}\x1b\\"
    rb"|[ -/]{0,4}[0-~])"
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]+")


@functools.lru_cache(maxsize=1)  # every format asks for the same line
def plain(line: bytes) -> str:
    """``line`` without colours and other terminal control, for reading only; whatever is not UTF-8 is replaced."""
    text = _ESCAPES.sub(b"", line) if b"\x1b" in line else line
    return _CONTROL.sub("", text.decode("utf-8", "replace"))


def count(text: str | None, least: int = 0) -> int | None:
    """A whole number as printed, from ``least``; None where it is none or beyond what an event may hold."""
    if text is None or len(text) > 19 or not (text.isascii() and text.isdecimal()):  # noqa: PLR2004 - digits of 2^63
        return None
    number = int(text)
    return number if least <= number <= MAX_COUNT else None


def amount(text: str | None) -> float | None:
    """A number of 0 or more as printed; None where it is none."""
    if text is None or len(text) > 40:  # noqa: PLR2004 - no number of epochs is longer
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 <= number <= MAX_EPOCH else None
