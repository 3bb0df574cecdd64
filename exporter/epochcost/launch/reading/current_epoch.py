"""What was printed about the epoch that is being done. Pure."""

from __future__ import annotations

from epochcost.launch.moment import Moment
from epochcost.launch.reading.progress import Progress

HALF = 0.5
"""Somewhere between two lines: the middle is wrong by the least."""


class CurrentEpoch:
    """The epoch that is being done, by the lines of one kind; each epoch gets a new one.

    Attributes:
        lines: how many named it.
        begun, last: moments of its first and its newest line.
        fraction: the largest share of it that was shown; None if none was.
        full: when all of it was shown as done; None before.
        rising: how often its step, or its share, rose.
        emptied: its bar was set back to 0 after it was full.
        first_own, own_step: the first and the highest step on its lines.
        run_steps: the first and the newest step of the run on its lines.
        figures: when figures without a number were printed after its heading.
    """

    __slots__ = (
        "begun",
        "emptied",
        "figures",
        "first_own",
        "fraction",
        "full",
        "last",
        "lines",
        "own_step",
        "rising",
        "run_steps",
    )

    def __init__(self, at: Moment) -> None:
        self.lines = 0
        self.begun = self.last = at
        self.fraction: float | None = None
        self.full: Moment | None = None
        self.rising = 0
        self.emptied = False
        self.own_step: int | None = None
        self.first_own: int | None = None
        self.run_steps: tuple[int, int] | None = None
        self.figures: Moment | None = None

    def end_before(self, at: Moment, following: Progress, *, runwide: bool) -> Moment:
        """Its likely end: after its last line, and before the work that the next epoch's first line reports.

        ``runwide`` where the steps on its lines are not reset when an epoch begins.
        """
        took = self.last.mono - self.begun.mono
        first, last, run = self.first_own, self.own_step, following.run_step
        if first is not None and last is not None and following.step is not None and last > first:
            done = following.step - last if runwide else following.step
            after, share = took / (last - first) * done, HALF if runwide else 1.0
        elif self.run_steps is not None and run is not None and self.run_steps[0] < self.run_steps[1] < run:
            after, share = took / (self.run_steps[1] - self.run_steps[0]) * (run - self.run_steps[1]), HALF
        else:
            after, share = took / (self.lines - 1), HALF
        return at.later(-max(0.0, min(after * share, at.mono - self.last.mono)))

    def is_spread(self, at: Moment) -> bool:
        """Several lines of one epoch that are not printed at one moment: the epoch was being done meanwhile."""
        whole = at.mono - self.begun.mono
        return self.lines > 1 and self.last.mono - self.begun.mono > 0.25 * whole
