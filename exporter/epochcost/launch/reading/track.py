"""What all kinds of tracks have in common: epochs that end, a position, a number of steps. Pure."""

from __future__ import annotations

from collections import deque

from epochcost.launch.moment import Moment
from epochcost.launch.reading.progress import Form, Progress, Trust

TOGETHER_SECONDS = 0.02
"""Lines that come nearer together came at once: a list, or output that waited in a buffer."""
KEPT_ENDS = 4096
BEGINNING = 0.5
"""A share of an epoch up to which a line may be the first of it."""
NEARLY = 1e-6
_TIERS_OF_ORIGIN = {Trust.USER: 100, Trust.FILE: 28}


class Track:
    """What all kinds of tracks have in common.

    Attributes:
        kind, source: of the statements.
        ends: number and moment of each epoch that ended, not yet taken by `news`.
        count: epochs finished, those of others before a resumed run included.
        began, began_within: epochs that were finished before this track began, and the share of one that was.
        position: in finished epochs; None if not known.
        planned: None if not known.
        step, steps: of the run, and of one epoch; None if not known.
        lines, example: how many statements, and one of them as printed.
        from_start: its first statement was made within its first epoch, not at the end of it.
        broken: why it is unreliable; empty as long as it is not.
        begun, active: moments of its first and its last advance.
    """

    def __init__(self, line: Progress, at: Moment) -> None:
        self.kind = line.kind
        self.source = line.source
        self.trust = line.trust
        self.form = line.form
        self.evaluation = line.evaluation
        self.ends: deque[tuple[int, Moment]] = deque(maxlen=KEPT_ENDS)
        self.count = 0
        self.began = 0
        self.began_within = 0.0
        self.position: float | None = None
        self.planned: float | None = None
        self.step: int | None = None
        self.steps: int | None = None
        self.broken = ""
        self.lines = 0
        self.example = ""
        self.from_start = line.form is not Form.END
        self.begun = self.active = at

    @property
    def confirmed(self) -> bool:
        """Whether its epochs may be reported."""
        raise NotImplementedError

    @property
    def sure(self) -> bool:
        """Whether each of its lines counts, also where several come at once."""
        return self.trust >= Trust.KNOWN

    @property
    def tier(self) -> int:
        """How good it is beside others; the best one that is confirmed is followed."""
        raise NotImplementedError

    @property
    def tier_of_origin(self) -> int | None:
        """The `tier` of lines by a pattern of the user's, or of a file; None for others, which depend on their form."""
        return _TIERS_OF_ORIGIN.get(self.trust)

    @property
    def pending(self) -> Moment | None:
        """The first end that waits to be confirmed."""
        return self.ends[0][1] if self.ends and not self.confirmed and not self.broken else None

    def take(self, line: Progress, at: Moment) -> None:
        """Follow one statement of this kind."""
        raise NotImplementedError

    def inner(self, line: Progress, at: Moment) -> None:
        """A counter that names no epoch was printed."""

    def finish(self, at: Moment) -> None:
        """The command ended well."""

    def close(self, number: int, at: Moment) -> None:
        """Epoch ``number`` (1 is the first) is finished."""
        if number <= self.count:
            return
        if self.ends and not self.sure and at.mono - self.ends[-1][1].mono < TOGETHER_SECONDS:
            self.ends.pop()  # lines that waited in a buffer show how many, not when each
        self.ends.append((number, at))
        self.count = number
