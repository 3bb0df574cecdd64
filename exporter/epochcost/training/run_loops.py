"""A run reported by the loops of its program."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from epochcost.training.loops import LeftBody, Loop, batches_in, known_batch_size, known_length
from epochcost.training.run_life import RunLife, guarded
from epochcost.training.validation import loop_end, loop_start, whole
from epochcost.training.warning import warn_once
from epochcost.training.world import torch_world

T = TypeVar("T")
_monotonic = time.monotonic


class RunLoops(RunLife):
    """Loops over epochs and batches, watched."""

    # Loops

    def epochs(self, start: int | None = None) -> Loop[int]:
        """Iterate over the epochs to do, from ``start`` (default: the resumed position, else 0) to the planned number.

        Without a planned number, there is no end. An epoch counts as finished when its body completes. A second loop
        over the epochs of the same run starts at 0 again for the program; the run keeps counting.

        Raises:
            TypeError, ValueError: for a plan or a ``start`` that is not a number, as ``range`` does.
        """
        last = loop_end(self._loop_epochs)
        first = self._loop_first() if start is None else loop_start(start)
        numbers: Iterable[int] = itertools.count(first) if last is None else range(first, last)

        def iterate() -> Iterator[int]:
            before = self._enter_loop(first, last, start is not None)
            number = first
            try:
                for number in numbers:
                    self._begin_epoch(before + number)
                    yield number
                    self.epoch_end(before + number + 1)
            except GeneratorExit:
                self._leave_epoch(before + number + 1)
                raise

        return Loop(iterate, lambda: len(numbers))  # type: ignore[arg-type]  # count has none, and raises

    def batches(self, loader: Iterable[T], start: int = 0, accumulate: int | None = None) -> Loop[T]:
        """Iterate over ``loader``, counting one step after each body; ``start`` batches were done before.

        If an optimiser step takes several batches (gradient accumulation), pass how many: ``accumulate=4``. If you do
        not, it is the number of the loader's batches that make up the run's ``batch_size``, if their size is known from
        the loader (a PyTorch ``DataLoader``) or from its length and ``samples_per_epoch``, else one. Of nested or
        zipped loops, only the outermost or first counts. In phase ``eval`` nothing is counted.
        """

        def iterate() -> Iterator[T]:
            per_step = (
                self._batches_of_a_step(loader) if accumulate is None else whole("accumulate", accumulate, least=1)
            )
            per_step = per_step or 1
            count = self.step if per_step == 1 else self._count_batch
            this_loop = object()
            counted = self._begin_batches(this_loop, loader, start, per_step)
            try:
                for batch in loader:
                    yield batch
                    if counted:
                        count()
            except GeneratorExit:
                if counted:
                    self._leave_batch(per_step)
                raise
            finally:
                self._end_batches(this_loop)

        return Loop(iterate, lambda: len(loader))  # type: ignore[arg-type]  # a TypeError of its own, as it should be

    def step(self, n: int = 1, samples: int | None = None, tokens: int | None = None) -> None:
        """Count ``n`` optimiser steps, on this many samples or tokens (in total, over all ranks)."""
        try:
            with self._lock:
                position = self._position
                position.epoch_steps += n if n == 1 else whole("n", n) or 0
                if samples is not None:
                    position.add_samples(whole("samples", samples) or 0)
                if tokens is not None:
                    position.add_tokens(whole("tokens", tokens) or 0)
                if _monotonic() < self._line_due_t:
                    return
                self._progress()
        except Exception as err:  # noqa: BLE001 - guarded in place: this is the hot path
            self._fault(err)

    # Inside, for loops

    @guarded
    def epoch_end(self, epoch: int | None = None) -> None:
        """Report a finished epoch: number ``epoch`` (the first is 1), or the next one."""
        with self._lock:
            if self._left_body is not None:
                self._left_body.number = None  # the program itself reports that the epoch ended
            self._settle_left_body()
            self._position.finish_epoch(whole("epoch", epoch))
            self._emit("epoch_end")

    def _loop_first(self) -> int:
        """The number that the program's next loop begins with."""
        return math.floor(self._position.base or 0.0) if self._position_set else 0

    def _enter_loop(self, first: int, last: int | None, chosen: bool) -> int:  # noqa: FBT001
        """A loop over epochs begins; returns how many the run had done before its 0th."""
        try:
            self._unpark()
            with self._lock:
                self._settle_left_body()
                position_set, self._position_set = self._position_set, False
                self._has_epoch_loop, self._counted_loop = True, None
                if position_set and last is not None and first >= last:
                    warn_once("no epochs", f"run {self.id} has no epochs left: {first} of {last} are done")
                if position_set or chosen:
                    return 0
                before = math.ceil((self._position.epoch or 0.0) - 1e-6)
                if before and last is not None and (self._facts.epochs or 0.0) < before + last:
                    self.describe(epochs=float(before + last))
                return before
        except Exception as err:  # noqa: BLE001 - guarded: the loop continues
            self._fault(err)
            return 0

    @guarded
    def _begin_epoch(self, number: int) -> None:
        with self._lock:
            self._settle_left_body()
            self._counted_loop = None
            self._position.begin_epoch(max(0, number))
            if self._phase != "train":
                self.enter_phase("train")

    def _batches_of_a_step(self, loader: object) -> int:
        """How many of the loader's batches hold the samples of one step of all ranks, where both are known."""
        try:
            size, loader_size = self._facts.batch_size, known_batch_size(loader)
            if not size or type(size) is not int:
                return 1
            if not loader_size:
                samples, batches = self._facts.samples_per_epoch, known_length(loader)
                return batches_in(size, samples, batches) or 1 if samples and batches else 1
            per_step, rest = divmod(size, loader_size * max(self._facts.job.world or 1, torch_world()))
        except Exception as err:  # noqa: BLE001 - guarded: the loop continues
            self._fault(err)
            return 1
        return 1 if rest else max(per_step, 1)

    def _begin_batches(self, loop: object, loader: object, start: int, accumulate: int) -> bool:
        """``loop`` begins; returns whether its batches are counted."""
        try:
            self._unpark()
            with self._lock:
                if self._phase == "eval" or self._counted_loop is not None:
                    return False
                self._settle_left_body()
                self._counted_loop = loop
                self._position.begin_batches(whole("start", start) or 0, known_length(loader), accumulate)
                if self._phase == "startup":
                    self.enter_phase("train")
        except Exception as err:  # noqa: BLE001 - guarded: the loop continues
            self._fault(err)
        return True

    def _end_batches(self, loop: object) -> None:
        if self._counted_loop is loop:
            self._counted_loop = None
        else:  # beside one that is counted: if that one is left before its next step, it is `zip` that stopped
            self._inner_loop_end = self._steps

    def _count_batch(self) -> None:
        try:
            with self._lock:
                self._position.add_batch()
                if _monotonic() >= self._line_due_t:
                    self._progress()
        except Exception as err:  # noqa: BLE001 - guarded in place: this is a hot path
            self._fault(err)

    @guarded
    def _leave_batch(self, accumulate: int) -> None:
        """A loop over batches was left in the body of one: by ``break`` it is done, by an exception it is not."""
        with self._lock:
            if self._inner_loop_end != self._steps:
                self._left_body = self._left_body or LeftBody()
                self._left_body.accumulate = accumulate
            if self._line_due_t < math.inf:
                self._line_due_t = 0.0

    @guarded
    def _leave_epoch(self, number: int) -> None:
        """The same for a loop over epochs: the ``number``-th is done if all its batches are."""
        with self._lock:
            self._left_body = self._left_body or LeftBody()
            self._left_body.number, self._left_body.head = number, self._emitter.head("epoch_end")
            if self._line_due_t < math.inf:
                self._line_due_t = 0.0
