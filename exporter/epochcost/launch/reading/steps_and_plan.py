"""Steps of the run and planned epochs, taken from whichever statements know them. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from epochcost.launch.reading.announced import Announced
from epochcost.launch.reading.other_tracks import PassTrack, PositionTrack
from epochcost.launch.reading.progress import Trust
from epochcost.launch.reading.progress_snapshot import Plan
from epochcost.launch.reading.run_bars import RunBars
from epochcost.launch.reading.track import Track


class StepsAndPlan:
    """Completes the track that is followed by what others know.

    Args:
        plan: what the user declared beforehand.
        tracks: all kinds of statements that were seen, as they come to be seen.
        bars: progress bars of the whole run.
        announced: what was announced before the training began.
    """

    def __init__(self, plan: Plan, tracks: Mapping[str, Track], bars: RunBars, announced: Announced) -> None:
        self._plan = plan
        self._tracks = tracks
        self._bars = bars
        self._announced = announced

    def steps(self, track: Track, base: int) -> tuple[int | None, int | None]:
        """Steps of the run and of one epoch, from the best track that knows them; ``base`` as in `planned`."""
        if track.step is not None:
            return track.step, track.steps
        others = [one for one in self._tracks.values() if one.step is not None and one.confirmed and not one.evaluation]
        others = [one for one in others if not isinstance(one, PassTrack) or abs(one.count - track.count) <= 1]
        best = max(others, key=lambda one: one.tier, default=None)
        if best is not None:
            return best.step, best.steps
        if isinstance(track, PositionTrack) and track.trust is Trust.KNOWN and not base:
            return self._steps_by_bar(track)
        return None, track.steps

    def _steps_by_bar(self, track: PositionTrack) -> tuple[int | None, int | None]:
        """By the run's bar beside a log of positions; of several fits it counts the last one's steps alone."""
        if track.offset:
            return None, None
        bar = self._bars.best
        if bar is None and track.complete:
            bar = self._bars.whole(track.complete)
        if bar is None:
            return None, track.steps
        whole, rest = divmod(bar.total, track.complete or 1)
        return bar.step, bar.per_epoch or (int(whole) if track.complete and not rest else None)

    def planned(self, track: Track, base: int) -> float | None:
        """Planned epochs of the run, of which ``base`` were finished before ``track`` began to count."""
        if self._plan.epochs is not None:
            return self._plan.epochs
        planned = track.planned
        if planned is None and isinstance(track, PositionTrack) and track.trust is Trust.KNOWN:
            planned = self._planned_by_bar(track)
        if planned is None:
            planned = self._planned_elsewhere(track)
        if planned is None and isinstance(track, PassTrack):
            planned = self._announced.epochs
        if planned is None and not base and len(self._announced.configured) == 1 and track.position is not None:
            configured = next(iter(self._announced.configured))
            planned = (
                configured if configured >= track.count and float(track.planned or configured) == configured else None
            )
        return None if planned is None or planned < track.count else base + planned

    def _planned_by_bar(self, track: PositionTrack) -> float | None:
        if self._announced.epochs is not None:
            return track.offset + self._announced.epochs
        bar = self._bars.best
        if bar is None or bar.per_epoch is None or bar.total % bar.per_epoch:
            return None
        return track.offset + bar.total / bar.per_epoch

    def _planned_elsewhere(self, track: Track) -> float | None:
        for other in self._tracks.values():
            agrees = (
                other is not track and other.confirmed and not other.evaluation and abs(other.count - track.count) <= 1
            )
            if agrees and other.planned is not None and other.count > other.began and not isinstance(other, PassTrack):
                return other.planned
        return None
