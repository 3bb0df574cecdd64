"""How lines of one kind number epochs: from 0 or 1, how many are planned, and which one is being done. Pure."""

from __future__ import annotations

from epochcost.launch.reading.progress import Progress, Trust


class EpochNumbers:
    """The numbers of the epochs of one run, or of several fits, each of which begins with the first number again.

    Args:
        usual: the first number, as programs usually print it; None if that is not known.

    Attributes:
        current: of the epoch that is being done; None before the first line.
        first: of a fit's first epoch; None if not known.
        assumed: whether no line stated if that is 0 or 1.
        stated: whether a line did.
        start: with which this fit began.
        before: epochs of the fits before this one.
        total: epochs planned, as lines of this kind state them.
        last: of the last planned epoch, where lines state it.
        announced: epochs planned, as another line stated them.
    """

    def __init__(self, usual: int | None) -> None:
        self._usual = usual
        self.current: int | None = None
        self.first: int | None = None
        self.assumed = False
        self.stated = False
        self.start = 0
        self.before = 0
        self.total: int | None = None
        self.last: int | None = None
        self.announced: float | None = None

    def begin(self, number: int) -> int:
        """The first line has ``number``; returns how many epochs were finished before it."""
        self.current = self.start = number
        if self.first is None:
            self.first = min(number, 1) if number <= 1 or self._usual is None else self._usual
            self.assumed = number > 1 and self._usual is None
        return max(0, number - self.first)

    def learn(self, line: Progress, *, settled: bool) -> int | None:
        """Take what a line states of the numbering.

        Returns:
            By how much epochs that were counted so far are to be counted higher; None if the line contradicts what is
            ``settled``, and is not taken.
        """
        shift = 0
        if line.first is not None and self.first != line.first:
            if self.first is not None and settled and not self.assumed:
                return None
            shift = 0 if self.first is None or self.current is None else self.first - line.first
            self.first, self.assumed = line.first, False
        if line.first is not None:
            self.stated = True
        if line.last is not None:
            self.last = line.last
        elif line.first is not None and line.epochs is not None and line.trust in _SURE:
            self.last = line.first + int(line.epochs) - 1
        elif line.epochs is not None and line.epochs.is_integer():
            self.total = int(line.epochs)
        return shift

    def refit(self, number: int, finished: int) -> None:
        """Another fit begins with ``number``, after ``finished`` epochs: its own are added to those."""
        self.current = self.start = number
        self.before = finished - max(0, number - (self.first or 0))

    def relearn(self) -> None:
        """The lines before were of something else."""
        self.before = 0
        self.first = None if self.assumed or not self.stated else self.first
        self.assumed = False

    @property
    def index_in_fit(self) -> int:
        """Epochs of this fit that are finished before the one that is being done."""
        return max(0, (self.current or 0) - (self.first or 0))

    @property
    def index(self) -> int:
        """The same, with those of the fits before."""
        return self.before + self.index_in_fit

    @property
    def bound(self) -> int | None:
        """The number of the last planned epoch, where it is known."""
        if self.last is not None:
            return self.last
        if self.total is None or self.first is None:
            return None
        if self.first == 1:
            return self.total
        if self.current is not None and self.current >= self.total:
            return self.current
        return None if self.announced is None else int(self.announced) - 1

    @property
    def planned(self) -> float | None:
        """Epochs planned, with those of the fits before, where the last one is known."""
        bound = self.bound
        return None if bound is None or self.first is None else float(self.before + bound - self.first + 1)

    @property
    def may_be_announced(self) -> bool:
        """Whether another line may state the plan: lines of this kind do not."""
        return self.first is not None and self.total is None and self.last is None

    @property
    def at_last_from_zero(self) -> bool:
        """Whether the last of the epochs that are numbered from 0 is being done."""
        return self.current == (self.total or 0) - 1 and self.first == 0 and self.last is None


_SURE = (Trust.KNOWN, Trust.USER)
