"""The position of a training run: pure arithmetic, no clock, no file."""

from __future__ import annotations

import math


class Position:
    """Epochs, steps, samples and tokens, all absolute; None if not known.

    ``base`` counts finished epochs; the part of the current one is ``epoch_steps / steps`` where the number of steps
    per epoch is known, else by samples, else nothing. Within an epoch the position never goes back, whatever the length
    of a second loader. ``part`` is the part of the current epoch as reported by a framework. A ``stepwise`` position
    has no epochs, only steps. Where several batches make a step (``accumulate``), ``batches`` are those towards the
    next one, ``batches_base`` how many of them the epoch before left behind.
    """

    __slots__ = (
        "accumulate",
        "base",
        "batch_size",
        "batches",
        "batches_base",
        "batches_done",
        "batches_in_epoch",
        "by_tokens",
        "epoch_steps",
        "nominal",
        "part",
        "reached",
        "samples",
        "samples_base",
        "samples_counted",
        "samples_per_epoch",
        "step_base",
        "steps",
        "stepwise",
        "tokens",
    )

    def __init__(
        self,
        batch_size: int | None,
        samples_per_epoch: int | None,
        steps: int | None,
        nominal_steps: int | None = None,
        nominal_tokens: int | None = None,
    ) -> None:
        self.base: float | None = None
        self.reached = 0.0
        self.step_base = 0
        self.epoch_steps = 0
        self.steps = steps if nominal_steps is None else nominal_steps
        self.nominal = nominal_tokens or nominal_steps
        self.by_tokens = nominal_tokens is not None
        self.part: float | None = None
        self.stepwise = False
        self.batch_size = batch_size
        self.samples_per_epoch = samples_per_epoch
        self.samples: int | None = None
        self.samples_base = 0
        self.samples_counted = False
        self.tokens: int | None = None
        self.accumulate = 1
        self.batches = 0
        self.batches_base = 0
        self.batches_done = 0
        self.batches_in_epoch: int | None = None

    def begin_epoch(self, number: int) -> None:
        """The epoch after ``number`` finished ones begins."""
        self.base = float(number)
        self.nominal = None
        self.reached = 0.0
        self.part = None
        self.step_base += self.epoch_steps
        self.epoch_steps = 0
        self.samples_base = self.samples or 0
        self.batches_base = self.batches

    def begin_batches(self, done: int, count: int | None, accumulate: int) -> None:
        """As `begin_steps`, in batches of which ``accumulate`` make a step."""
        if accumulate != self.accumulate:
            self.accumulate, self.batches, self.batches_base = accumulate, 0, 0
        if accumulate == 1:
            self.begin_steps(done, count)
            return
        whole = None if count is None else done + count
        self.begin_steps(done // accumulate, None)
        self.batches_done, self.batches_in_epoch = done, whole
        if self.nominal is None:
            self.steps = whole // accumulate if whole and whole % accumulate == 0 else None
            self.part = done / whole if whole else None

    def add_batch(self) -> None:
        """One of the batches that make a step together is done."""
        self.batches += 1
        if self.batches >= self.accumulate:
            self.batches = 0
            self.epoch_steps += 1
        self.batches_done += 1
        if self.batches_in_epoch and self.nominal is None:
            self.part = self.batches_done / self.batches_in_epoch

    def begin_steps(self, done: int, count: int | None) -> None:
        """``count`` more steps lie ahead in this epoch, after ``done`` of it that another process did."""
        if self.base is None:
            self.base = 0.0
        self.epoch_steps += done
        # A resumed run reports how many steps and samples there were in all.
        self.step_base -= done
        if self.batch_size is not None and not self.samples_counted:
            self.samples_base -= done * self.batch_size
        if count is not None and self.nominal is None:
            self.steps = self.epoch_steps + count

    def finish_epoch(self, number: float | None) -> float:
        """An epoch ended: the ``number``-th, or simply the next. Returns how many are finished now."""
        self.derive_samples()
        finished = float(math.floor(self.base or 0.0) + 1 if number is None else number)
        derived = self.samples_per_epoch is not None and not self.samples_counted and self.samples is not None
        if derived:  # the last batch is seldom full
            self.samples = round(finished * (self.samples_per_epoch or 0))
        self.begin_epoch(int(finished))
        return finished

    def move(
        self,
        epoch: float | None,
        step: int | None,
        samples: int | None,
        tokens: int | None,
        *,
        counted: bool = True,
    ) -> None:
        """Set the given values; samples that are ``counted`` outside are not derived from steps any longer."""
        if self.nominal is not None:
            epoch, step, tokens = self._nominally(self.nominal, epoch, step, tokens)
        if epoch is not None:
            self.derive_samples()
            self.step_base += self.epoch_steps
            self.base, self.reached, self.part, self.epoch_steps, self.steps = epoch, 0.0, None, 0, None
            self.samples_base = self.samples or 0
        if step is not None:
            self.step_base = step - self.epoch_steps
        if samples is not None:
            self.samples, self.samples_counted = samples, counted
            self.samples_base = samples if counted else samples - self._derived()
        elif step is not None and self.batch_size is not None and not self.samples_counted:
            self.samples, self.samples_base = step * self.batch_size, self.step_base * self.batch_size
        if tokens is not None:
            self.tokens = tokens

    def _nominally(
        self, nominal: int, epoch: float | None, step: int | None, tokens: int | None
    ) -> tuple[None, int | None, int | None]:
        """A nominal epoch is nothing but steps or tokens: the count of these is what is set."""
        self.base = self.base or 0.0
        if epoch is not None and self.by_tokens:
            tokens = round(epoch * nominal) if tokens is None else tokens
        elif epoch is not None:
            step = round(epoch * nominal) if step is None else step
        return None, step, tokens

    def add_samples(self, count: int) -> None:
        """``count`` samples more, exactly counted."""
        if not self.samples_counted:
            self.samples, self.samples_counted = self.samples_base, True
        self.samples = (self.samples or 0) + count

    def add_tokens(self, count: int) -> None:
        """``count`` tokens more."""
        self.tokens = (self.tokens or 0) + count

    def derive_samples(self) -> None:
        """Samples from steps, if they are not counted."""
        if self.batch_size is not None and not self.samples_counted and self.base is not None:
            derived = self._derived()
            if self.samples_per_epoch is not None and self.steps and self.epoch_steps <= self.steps:
                derived = min(derived, self.samples_per_epoch)  # the last batch is seldom full
            self.samples = max(0, self.samples_base + derived)

    def _derived(self) -> int:
        """Samples of this epoch so far, by steps and batch size."""
        size = self.batch_size or 0
        if self.accumulate == 1:
            return self.epoch_steps * size
        return round((self.epoch_steps + (self.batches - self.batches_base) / self.accumulate) * size)

    @property
    def epoch(self) -> float | None:
        """The position in epochs: 3.25 is a quarter into the fourth."""
        base = self.base
        if base is None or self.stepwise:
            return None
        if self.nominal is not None:
            return ((self.tokens or 0) if self.by_tokens else self.step_base + self.epoch_steps) / self.nominal
        part = self.part
        if part is None:
            if self.steps:
                part = self.epoch_steps / self.steps
            elif self.samples_per_epoch and self.samples is not None:
                part = (self.samples - self.samples_base) / self.samples_per_epoch
            else:
                return base + self.reached
        if part > self.reached:
            self.reached = min(1.0, part)
        return base + self.reached

    @property
    def ends_nominal_epoch(self) -> bool:
        """Whether the last step was the last of a nominal epoch."""
        epoch = self.epoch if self.nominal is not None else None
        return epoch is not None and epoch >= 1.0 and epoch.is_integer()

    def fragment(self) -> str:
        """The position as keys of a JSON object, each led by a comma."""
        self.derive_samples()
        epoch, step, steps, samples = self.epoch, self.step_base + self.epoch_steps, self.steps, self.samples
        text = "" if epoch is None else f',"epoch":{epoch!r}'
        if step > 0:  # a loop that reports epochs alone never counts steps: 0 would be a claim
            text = f'{text},"step":{step}' if steps is None else f'{text},"step":{step},"steps":{steps}'
        if samples is not None:
            text = f'{text},"samples":{samples}'
        return text if self.tokens is None else f'{text},"tokens":{self.tokens}'
