"""Output of training programs as a timeline, without a process: what is printed when, and when epochs really end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from epochcost.launch.moment import Moment
from epochcost.launch.reading.line_reader import LineReader
from epochcost.launch.reading.lines import Lines
from epochcost.launch.reading.patterns import OwnPatterns
from epochcost.launch.reading.progress_snapshot import Plan, ProgressSnapshot
from epochcost.launch.reading.progress_tracker import ProgressTracker

TOLERANCE = 0.6
LENGTHS = (2.0, 3.0, 2.5)
"""Seconds of the epochs of a played program, in turn."""
EVALUATION = 0.4
N = 40
"""Batches of an epoch."""
QUIET_SECONDS = 0.2
"""After which an unfinished line is looked at."""


@dataclass
class Play:
    """One run of a program.

    Attributes:
        true: moments at which epochs end, their evaluation included; and those at which their training ends.
    """

    now: float = 0.0
    code: int = 0
    writes: list[tuple[float, int, bytes]] = field(default_factory=list)
    true: list[tuple[float, float]] = field(default_factory=list)
    _trained: float | None = None

    def out(self, text: str | bytes, end: str = "\n") -> None:
        self._write(1, text, end)

    def err(self, text: str | bytes, end: str = "\n") -> None:
        self._write(2, text, end)

    def _write(self, stream: int, text: str | bytes, end: str) -> None:
        data = text.encode() if isinstance(text, str) else text
        self.writes.append((self.now, stream, data + end.encode()))
        self.now += 1e-4

    def nap(self, seconds: float) -> None:
        self.now += seconds

    def end_training(self) -> None:
        """The training of the epoch ends; its evaluation may follow."""
        self._trained = self.now

    def end_epoch(self) -> None:
        """The epoch ends."""
        self.true.append((self.now if self._trained is None else self._trained, self.now))
        self._trained = None

    def batches(self, seconds: float, count: int = 40) -> Iterator[int]:
        """1 to ``count``, one after the other."""
        for batch in range(1, count + 1):
            self.nap(seconds / count)
            yield batch

    def bar(self, name: str, step: int, steps: int, after: str = "", unit: str = "it") -> str:
        """tqdm's bar."""
        cells = "█" * (10 * step // steps)
        head = f"{name}: " if name else ""
        rate = f"{40.0:.2f}{unit}/s" if step else f"?{unit}/s"
        return f"{head}{100 * step // steps:3d}%|{cells:<10}| {step}/{steps} [00:01<00:01, {rate}{after}]"

    def draw(self, name: str, steps: int, seconds: float, after: str = "", unit: str = "it") -> None:
        """A bar from nothing to full, and on to the next line."""
        self.err("\r" + self.bar(name, 0, steps, unit=unit), end="")
        for step in self.batches(seconds, steps):
            self.err("\r" + self.bar(name, step, steps, after, unit), end="")
        self.err("")


@dataclass
class Reading:
    """The result of reading a play."""

    news: list[ProgressSnapshot]
    tracker: ProgressTracker

    @property
    def ends(self) -> list[int]:
        return [one.ended for one in self.news if one.ended is not None]

    @property
    def retracts(self) -> int:
        return sum(one.retract for one in self.news)

    def last(self, name: str) -> float | None:
        return next((value for one in reversed(self.news) if (value := getattr(one, name)) is not None), None)


def read_output(play: Play, *, terminal: bool = False, plan: Plan = Plan(), own: OwnPatterns | None = None) -> Reading:  # noqa: B008 - frozen
    """Read a play as `epochcost exec` does, through two pipes or on one terminal."""
    reader, tracker = LineReader(own), ProgressTracker(plan, Moment(0.0, 0.0))
    streams = {1: Lines(every=reader.wants_all), 2: Lines(every=reader.wants_all)}
    news: list[ProgressSnapshot] = []

    def look(lines: list[bytes], seconds: float) -> None:
        at = Moment(1e9 + seconds, seconds)
        for line in lines:
            if (progress := reader.parse(line)) is not None:
                tracker.take(progress, at, line)
        news.extend(tracker.news(at))
        for stream in streams.values():
            stream.every = reader.wants_all

    before = 0.0
    for seconds, stream, data in [*play.writes, (play.now, 1, b"")]:
        if seconds - before > QUIET_SECONDS:
            for one in streams.values():
                if rest := one.unfinished():
                    look([rest], before + QUIET_SECONDS)
        before = seconds
        if lines := streams[1 if terminal else stream].cut(data):
            look(lines, seconds)
    for one in streams.values():
        if one.rest:
            look([one.rest], play.now)
    if play.code == 0:
        news.extend(tracker.finish(Moment(1e9 + play.now, play.now)))
    return Reading(news, tracker)


def right_moments(play: Play, ends: list[tuple[int, float]], first: int) -> list[str]:
    late = []
    for number, at in ends:
        trained, end = play.true[number - 1 - first]
        last = number - first == len(play.true)
        if not trained - TOLERANCE <= at <= end + (2.0 if last else TOLERANCE):
            late.append(f"{number}: {at - end:+.2f} s")
    return late


def check(play: Play, expected: dict[str, float | None], *, terminal: bool, first: int = 0) -> None:
    reading = read_output(play, terminal=terminal)
    assert reading.retracts == 0
    assert reading.ends == [first + n + 1 for n in range(len(play.true))], reading.news[-3:]
    ends = [(one.ended, one.at.mono) for one in reading.news if one.ended is not None and one.at is not None]
    assert not right_moments(play, ends, first)
    for name, value in expected.items():
        assert reading.last(name) == value, name
    if "epochs" not in expected:
        assert reading.last("epochs") in (None, first + len(play.true))
