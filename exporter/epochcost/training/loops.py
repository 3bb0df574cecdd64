"""The user's own iterables, watched."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Loop(Generic[T]):
    """Iterates as ``iterate`` does and is as long as ``length`` returns, so that progress bars work around it.

    Whatever the user's iterable raises comes through unchanged, also from ``len()``.
    """

    def __init__(self, iterate: Callable[[], Iterator[T]], length: Callable[[], int]) -> None:
        self._iterate = iterate
        self._length = length

    def __iter__(self) -> Iterator[T]:
        return self._iterate()

    def __len__(self) -> int:
        return self._length()

    def __bool__(self) -> bool:
        return True


class LeftBody:
    """Loops that were left in the middle of a body.

    Whether by ``break``, which ends what the body did, or by an exception, which does not, shows when it continues:
    until then what was done waits here.

    Attributes:
        accumulate: how many batches make a step, where a loop over batches was left; 0 for none.
        number, head: which epoch ends if all its batches are done, and the beginning of its event, made then.
    """

    __slots__ = ("accumulate", "head", "number")

    def __init__(self) -> None:
        self.accumulate = 0
        self.number: int | None = None
        self.head = ""


def known_batch_size(loader: object) -> int | None:
    """Samples of one of its batches, where it has them as PyTorch's loaders do; under `tqdm` too."""
    for way in ("batch_size", "batch_sampler.batch_size", "iterable.batch_size", "iterable.batch_sampler.batch_size"):
        try:
            size = operator.attrgetter(way)(loader)
        except Exception:  # noqa: BLE001, S112 - as below
            continue
        if type(size) is int and size > 0:
            return size
    return None


def batches_in(samples_of_a_step: int, samples: int, batches: int) -> int | None:
    """How many batches make a step where ``batches`` hold ``samples``, the last one perhaps not full, or left out.

    None if that does not determine it: no size of a batch comes out even, or more than one.
    """
    counts = {
        samples_of_a_step // size
        for size in {samples // batches, -(-samples // batches), -(-samples // (batches + 1)) or 1}
        if size and samples_of_a_step % size == 0 and batches in (samples // size, -(-samples // size))
    }
    return counts.pop() if len(counts) == 1 else None


def known_length(iterable: object) -> int | None:
    """``len(iterable)``, or None if it has none (loaders over streams raise all sorts of things)."""
    try:
        return len(iterable)  # type: ignore[arg-type]
    except Exception:  # noqa: BLE001 - the user's object, the user's exceptions
        return None
