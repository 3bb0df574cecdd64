"""From single statements to where the run is: pure, no clock, bounded."""

from __future__ import annotations

import dataclasses

from epochcost.launch.moment import Moment
from epochcost.launch.reading.announced import Announced
from epochcost.launch.reading.end_marks import EndMarks
from epochcost.launch.reading.epoch_track import EpochTrack
from epochcost.launch.reading.other_tracks import PassTrack, PositionTrack, StepsTrack
from epochcost.launch.reading.progress import Form, Progress, Trust, plain
from epochcost.launch.reading.progress_snapshot import Plan, ProgressSnapshot
from epochcost.launch.reading.run_bars import RunBars, RunTrack
from epochcost.launch.reading.sparse_lines import SparseTrack
from epochcost.launch.reading.steps_and_plan import StepsAndPlan
from epochcost.launch.reading.track import Track
from epochcost.launch.reading.unnamed_bars import BarTrack

MAX_TRACKS = 64
LEAST_SUCCESSOR = 38
"""What may follow another source as a second training: no evaluation, no bar, no file."""
NEARLY = 1e-6
PATIENCE = 3.0
"""How long an end waits to be confirmed, in times of what came before it, while steps are held back for it."""


class ProgressTracker:
    """Follows each kind of statement on a track of its own, and reports the best one that has shown itself consistent.

    Kinds are never mixed: two that count differently would go to and fro. What is reported never goes back, but as a
    whole: a better kind that contradicts it takes it back.

    Args:
        plan: what the user configured.
        start: when the command began.
        timed: moments are of a clock; else they only order what was printed.
    """

    def __init__(self, plan: Plan, start: Moment, *, timed: bool = True) -> None:
        self._plan = plan
        self._start = start
        self._timed = timed
        self._tracks: dict[str, Track] = {}
        self._ending = EndMarks()
        self._bars = RunBars()
        self._base = 0
        self._followed_since = start
        self._reported = 0
        self._has_reported = self._retracted = False
        self._last_key: tuple[object, ...] | None = None
        self._samples: int | None = None
        self._batch: int | None = None
        self._top = 0.0
        self._written = start
        self.announced = Announced()
        self._figures = StepsAndPlan(plan, self._tracks, self._bars, self.announced)
        self.leader: Track | None = None
        self.unnamed = False
        self._line = b""

    # Statements

    def take(self, progress: Progress, at: Moment, line: bytes = b"") -> None:
        """Follow one statement; ``line`` is what it was read from."""
        self._line = line
        if progress.batch_size is not None and progress.trust >= Trust.KNOWN and not progress.evaluation:
            self._batch = progress.batch_size
        if progress.samples is not None and progress.trust >= Trust.KNOWN:
            self._samples = max(progress.samples, self._samples or 0)
        if progress.form is Form.SETTING:
            self._announce(progress)
        elif progress.form is Form.INNER:
            self._inner(progress, at)
        elif progress.form is Form.FIGURES:
            for track in self._tracks.values():
                if isinstance(track, EpochTrack):
                    track.figures(at)
        else:
            self._own(progress, at)

    def _own(self, progress: Progress, at: Moment) -> None:
        self._sparse(progress, at)
        track = self._track(progress, at)
        if track is None:
            return
        track.take(progress, at)
        if track.form is Form.END and progress.number is not None:
            self._ending.add(progress.number, at, progress.kind)
        if isinstance(track, EpochTrack):
            track.announced(self._announced_epochs, self.announced.batches)
            if track.form is Form.HEAD and progress.batch_size is not None:
                self._batch = progress.batch_size
        if isinstance(track, PositionTrack):
            track.announced(self._announced_epochs)
            if track.trust is Trust.KNOWN and progress.position is not None:
                self._bars.log(progress.position, progress.decimals)
                for bar in self._tracks.values():
                    if isinstance(bar, RunTrack):
                        bar.compare(track.count, track.offset + progress.position)

    @property
    def _announced_epochs(self) -> float | None:
        return self.announced.epochs

    def _announce(self, progress: Progress) -> None:
        self.announced.take(progress)
        for track in self._tracks.values():
            if isinstance(track, RunTrack) and self.announced.per_epoch is not None:
                track.renew(self.announced)
            elif isinstance(track, EpochTrack):
                track.announced(self.announced.epochs, self.announced.batches)

    def _inner(self, progress: Progress, at: Moment) -> None:
        bar = progress.source in ("bar", "training bars")
        if bar and self._plan.bar == "nothing":
            return
        if bar and self._plan.bar != "auto" and not progress.evaluation and progress.trust is not Trust.USER:
            self._declared(progress, at)
            return
        for track in self._tracks.values():
            track.inner(progress, at)
        if progress.evaluation or progress.step is None:
            return
        if bar:
            self.unnamed = self.unnamed or progress.trust is Trust.GUESS
            self._bars.draw(progress)
            self._run_bar(progress, at)
        if progress.trust >= Trust.NAMED and progress.steps is not None and progress.steps > 1:
            self._pass(progress, at)
        if progress.source == "counters" and progress.counted and progress.steps is not None:
            steps = dataclasses.replace(
                progress, form=Form.STEPS, kind=f"steps of {progress.kind}", run_step=progress.step, step=None
            )
            self._own(steps, at)

    def _declared(self, progress: Progress, at: Moment) -> None:
        track = self._tracks.get("declared bars")
        if track is None:
            track = self._tracks["declared bars"] = BarTrack(progress, at, self._plan.bar)
        if isinstance(track, BarTrack):
            track.draw(progress, at, self._plan.epochs or self.announced.epochs)

    def _run_bar(self, progress: Progress, at: Moment) -> None:
        """A bar that is as long as the run was announced to be."""
        per_epoch = self.announced.per_epoch
        key = f"run {progress.kind}"
        track = self._tracks.get(key)
        if track is None and per_epoch is not None and progress.steps == self.announced.run_steps and self._room():
            track = self._tracks[key] = RunTrack(progress, at, self.announced)
            self._exemplify(track)
        if isinstance(track, RunTrack):
            track.take(progress, at)

    def _pass(self, progress: Progress, at: Moment) -> None:
        key = f"pass {progress.kind}"
        track = self._tracks.get(key)
        if track is None and self._room():
            track = self._tracks[key] = PassTrack(progress, at)
            self._exemplify(track)
        if track is not None:
            track.take(progress, at)

    def _track(self, progress: Progress, at: Moment) -> Track | None:
        known = self._tracks.get(progress.kind)
        if known is not None or not self._room():
            return known
        track: Track
        if progress.form is Form.STEPS:
            track = StepsTrack(progress, at, self._plan.steps_per_epoch, self._plan.samples_per_epoch)
        elif progress.position is not None:
            track = PositionTrack(progress, at)
        elif progress.number is not None:
            track = EpochTrack(progress, at, self._ending, self._start if self._timed else None)
        else:
            return None
        self._tracks[progress.kind] = track
        self._exemplify(track)
        return track

    def _sparse(self, progress: Progress, at: Moment) -> None:
        """A line at the end of an epoch may be one of few: ``Epoch [10/100]``, ``Epoch [20/100]``."""
        if (
            progress.form is not Form.END
            or progress.number is None
            or progress.trust is not Trust.GUESS
            or progress.evaluation
        ):
            return
        key = f"sparse {progress.kind}"
        track = self._tracks.get(key)
        if track is None and progress.epochs is not None and self._room():
            track = self._tracks[key] = SparseTrack(progress, at, self._start)
            self._exemplify(track)
        if track is not None:
            track.take(progress, at)

    def _exemplify(self, track: Track) -> None:
        track.example = plain(self._line)[:200].strip()

    def _room(self) -> bool:
        """Words that change in every line would make tracks without end."""
        if len(self._tracks) < MAX_TRACKS:
            return True
        idle = [kind for kind, track in self._tracks.items() if not track.confirmed and track is not self.leader]
        if not idle:
            return False
        del self._tracks[min(idle, key=lambda kind: (self._tracks[kind].lines, self._tracks[kind].active.mono))]
        return True

    # What is reported

    def news(self, at: Moment) -> list[ProgressSnapshot]:
        """What has changed since the last call, in order."""
        snapshots: list[ProgressSnapshot] = []
        self._choose(at, snapshots)
        leader = self.leader
        if leader is not None:
            self._ends(leader, at, snapshots)
        current = self._now(at)
        if current is not None:
            snapshots.append(current)
        if snapshots:
            self._has_reported = True
            self._written = max(
                (one.at for one in snapshots if one.at is not None), key=lambda one: one.mono, default=at
            )
        return snapshots

    def finish(self, at: Moment) -> list[ProgressSnapshot]:
        """The command ended well: the epoch in which it did is done, where that is likely."""
        for track in self._tracks.values():
            track.finish(at)
        return self.news(at)

    def _choose(self, at: Moment, snapshots: list[ProgressSnapshot]) -> None:
        leader = self.leader
        if leader is not None and leader.broken:
            if self._reported or leader.position is not None:
                self._take_back(at, snapshots)
            leader = self.leader = None
        good = self._confirmed()
        if (
            leader is not None and leader.position is not None
        ):  # one line at an end may be of this training run or of the next
            good = [track for track in good if track is leader or track.form is not Form.END or track.lines > 1]
        best = max(good, key=lambda track: track.tier, default=None)
        if best is None:
            return
        if leader is None or not leader.confirmed:
            if leader is None or best is not leader:
                self._follow(best, at, snapshots)
        elif best is not leader and best.tier > leader.tier and not self._both_known(leader, best):
            self._follow(best, at, snapshots)
        else:
            self._succeed(leader, good, at, snapshots)

    def _confirmed(self) -> list[Track]:
        """Tracks that may be followed: evaluations only where no line of a training run names epochs."""
        good = [track for track in self._tracks.values() if track.confirmed]
        named = [one for one in self._tracks.values() if isinstance(one, EpochTrack) and not one.broken]
        if any(not one.evaluation for one in named):
            return [track for track in good if not track.evaluation]
        return good

    def _both_known(self, leader: Track, best: Track) -> bool:
        """Two that can be trusted are of two streams, perhaps, of which one is read a little later than the other."""
        return self._reported > 0 and leader.trust is Trust.KNOWN and best.trust is Trust.KNOWN

    def _follow(self, track: Track, at: Moment, snapshots: list[ProgressSnapshot]) -> None:
        before = self.leader
        self.leader = track
        if before is None or before.position is None or isinstance(before, StepsTrack):
            if self._retracted:
                self._reported = max(self._reported, self._base + track.count)
            return
        if self._follows(track, before):
            self._base = self._reported
            self._followed_since = track.begun
            return
        base = self._base if track.begun.mono >= self._followed_since.mono else 0
        count = base + track.count
        below = self._top > max(track.position or 0.0, count) + 1 + NEARLY
        if below or abs(self._reported - count) > 1:
            self._take_back(at, snapshots)
            self._reported = count
        self._base = base

    def _succeed(self, leader: Track, good: list[Track], at: Moment, snapshots: list[ProgressSnapshot]) -> None:
        """Another training run in the same command, printed in another way."""
        for track in good:
            if track is not leader and track.tier >= LEAST_SUCCESSOR and self._follows(track, leader):
                self._follow(track, at, snapshots)
                return

    def _follows(self, track: Track, before: Track) -> bool:
        """Whether ``track`` is of a training run that began when that of ``before`` was over."""
        if track.evaluation or track.began or not self._reported or track.begun.mono <= before.active.mono:
            return False
        return track.count >= (1 if track.from_start else 2)

    def _take_back(self, at: Moment, snapshots: list[ProgressSnapshot]) -> None:
        """What was reported was wrong. Ended epochs are not reported again: no event is put that far back."""
        if self._has_reported:
            snapshots.append(ProgressSnapshot(at=at, retract=True))
            self._retracted = True
        self._reported, self._top, self._base, self._last_key = 0, 0.0, 0, None

    def _ends(self, leader: Track, at: Moment, snapshots: list[ProgressSnapshot]) -> None:
        while leader.ends:
            number, moment = leader.ends.popleft()
            number += self._base
            if number <= self._reported:
                continue
            self._reported = number
            self._top = max(self._top, float(number))
            snapshots.append(self._snapshot(moment, leader, float(number), ended=number, now=moment == at))

    def _now(self, at: Moment) -> ProgressSnapshot | None:
        """Position and steps, where they have changed."""
        track = self.leader if self.leader is not None and self.leader.confirmed else self._plausible()
        if track is None or (track.position is None and (self._waits(at) or self._of_an_epoch(track))):
            return None
        position = None
        if track.position is not None:
            position = self._top = max(self._top, self._base + track.position)
        snapshot = self._snapshot(at, track, position)
        key = (snapshot.epoch, snapshot.epochs, snapshot.step, snapshot.samples, snapshot.batch_size)
        if key == self._last_key or (position is None and snapshot.step is None and snapshot.samples is None):
            return None
        self._last_key = key
        return snapshot

    def _plausible(self) -> Track | None:
        return next((one for one in self._tracks.values() if isinstance(one, EpochTrack) and one.plausible), None)

    def _of_an_epoch(self, track: Track) -> bool:
        """Steps beside lines that number epochs may be those of one epoch: they show it when they begin again."""
        if track.trust > Trust.GUESS:
            return False
        return any(
            isinstance(one, EpochTrack) and not one.evaluation and not one.broken for one in self._tracks.values()
        )

    def _waits(self, at: Moment) -> bool:
        """Whether an end of an epoch waits to be confirmed: what is written later would hide when it was."""
        waits = False
        for track in self._tracks.values():
            pending = None if track.evaluation or isinstance(track, PassTrack) else track.pending
            if pending is None:
                continue
            if at.mono - pending.mono > PATIENCE * max(pending.mono - self._start.mono, 1.0):
                track.ends.clear()
            else:
                waits = True
        return waits

    def _snapshot(
        self, at: Moment, track: Track, position: float | None, ended: int | None = None, *, now: bool = True
    ) -> ProgressSnapshot:
        step, steps = self._figures.steps(track, self._base)
        began = self._base + track.began + track.began_within if track.position is not None else None
        ends_only = track.form is Form.END and isinstance(track, EpochTrack)
        since = None if ends_only or self._retracted else track.begun
        return ProgressSnapshot(
            at=at,
            since=since,
            began=began,
            ended=ended,
            epoch=position,
            epochs=self._figures.planned(track, self._base),
            step=step if now else None,
            steps=self._plan.steps_per_epoch or steps,
            samples=self._samples,
            batch_size=self._batch,
        )

    # For people

    @property
    def source(self) -> str:
        """What is followed; empty if nothing is."""
        return "" if self.leader is None else self.leader.source

    @property
    def tracks(self) -> tuple[Track, ...]:
        """All kinds of statements that were seen."""
        return tuple(self._tracks.values())
