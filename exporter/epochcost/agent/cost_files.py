"""Writes each run's dollars back beside its events, for training code to read (``run.cost_usd``)."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from epochcost.agent.run_scope import RunScope, scope_of
from epochcost.agent.snapshot import RunView
from epochcost.model import RunId
from epochcost.progress.event_places import EventPlace, PlaceKind
from epochcost.progress.run_owners import APART
from epochcost.untrusted_files import replaced

log = logging.getLogger(__name__)
FILE_VERSION = 1
REWRITE_SECONDS = 60.0
STEADY_SECONDS = 5.0
"""Between two writings of a run of which nothing is new but that it costs on."""
MAX_ERRORS = 1000
WHAT_OF = ("whole", "machines", "earlier_part", "missing")
"""Of a `RunScope` what its figures are of."""


@dataclass(frozen=True, slots=True)
class _Written:
    """What a run's file contains, and when it was written."""

    scope: RunScope
    stop: object
    at: float
    epochs: int
    ended_ts: float | None


def _due(before: _Written, run: RunView, scope: RunScope, now: float, *, all_changed: bool) -> bool:
    """Whether the file is to be written again: at once for what a training run may decide by, else now and then."""
    age = now - before.at
    if before.stop != run.stop:
        return True
    if before.scope == scope:
        return age >= REWRITE_SECONDS
    budget = run.budget_usd
    spent = budget is not None and (before.scope.cost_usd or 0.0) < budget <= (scope.cost_usd or 0.0)
    news = (before.epochs, before.ended_ts) != (run.epoch_count, run.ended_ts)
    of = any(getattr(before.scope, name) != getattr(scope, name) for name in WHAT_OF)
    return news or of or spent or (all_changed and age > 0) or age >= STEADY_SECONDS


class CostFiles:
    """``<run>.cost.json`` beside a run's events, replaced whole: at once after an epoch or an end, else every 5 s.

    Args:
        directory: the shared one, for all runs that are not reported in a directory of one user.
    """

    def __init__(self, directory: Path) -> None:
        self._shared = EventPlace.shared(str(directory))
        self._written: dict[tuple[str, str], _Written] = {}
        self._errors: dict[str, str] = {}

    def write(
        self,
        runs: Iterable[RunView],
        now: float,
        homes: Mapping[RunId, Collection[str]] | None = None,
        places: Iterable[EventPlace] = (),
        *,
        all_changed: bool = True,
    ) -> None:
        """Write what is new in the runs that are open or have just ended; a failure is logged once and retried.

        Args:
            runs: those that are shown.
            now: on the node timeline.
            homes: keys of the directories in which a run is reported, where one user's is among them.
            places: the users' directories that exist.
            all_changed: also write the files of runs whose cost grew; else only what a training run may base decisions
                on.
        """
        errors: dict[str, str] = {}
        by_key = {place.key: place for place in (self._shared, *places)}
        for run in runs:
            scope = scope_of(run)
            at = [by_key[key] for key in (homes or {}).get(run.run, ()) if key in by_key] or [self._shared]
            for place in at if scope.cost_usd is not None else ():
                before = self._written.get((run.run, place.key))
                if before is not None and not _due(before, run, scope, now, all_changed=all_changed):
                    continue
                try:
                    _replace(place, run, now)
                    self._written[run.run, place.key] = _Written(scope, run.stop, now, run.epoch_count, run.ended_ts)
                except OSError as err:
                    errors[place.key] = f"{place.path}: the cost of runs cannot be written back: {err.strerror}"
        self._say(errors)
        run_ids = {run.run for run in runs}
        self._written = {key: was for key, was in self._written.items() if key[0] in run_ids}

    def _say(self, errors: Mapping[str, str]) -> None:
        for key, error in errors.items():
            if self._errors.get(key) != error:
                log.warning("%s", error)
        if self._shared.key not in errors:
            self._errors.pop(self._shared.key, None)
        # A user's own directory may fail again and again: each message is logged once.
        known = self._errors if len(self._errors) < MAX_ERRORS else {}
        self._errors = {**known, **errors}


def _replace(place: EventPlace, run: RunView, now: float) -> None:
    # In a user's own directory no other user's run can be meant: there it is called as the user calls it.
    of_one = place.kind is PlaceKind.OF_ONE_USER and place.user is not None
    name = f"{run.run.partition(APART)[0] if of_one else run.run}.cost.json"
    if "/" in name or name.startswith("."):
        return  # such an id has no file: run ids are made safe, but a directory may belong to any user
    with place.opened() as directory, replaced(name, among_others=True, directory=directory) as file:
        file.write(json.dumps(figures_of(run, now)).encode())


def figures_of(run: RunView, now: float) -> dict[str, object]:
    """What a training process gets to know of its run, without what is not known.

    ``scope`` is what the dollars cover: ``run``, or ``machine`` where only this machine's part is known. Seconds,
    states and dollars an hour are always this machine's.
    """
    scope = scope_of(run)
    figures: dict[str, object | None] = {
        "v": FILE_VERSION,
        "run": run.run,
        "scope": "run" if scope.whole else "machine",
        "machines": scope.machines,
        "missing": scope.missing or None,
        "cost_usd": scope.cost_usd,
        "cost_per_epoch_usd": scope.epoch_cost_usd,
        "projected_cost_usd": scope.projected_cost_usd,
        "machine_cost_usd": run.cost_usd,
        "usd_per_hour": run.usd_per_hour,
        "seconds": run.seconds,
        "states": {state.value: seconds for state, seconds in run.totals.seconds.items() if seconds > 0},
        "stop": None if run.stop is None else dataclasses.asdict(run.stop),
        "ts": now,
    }
    return {name: value for name, value in figures.items() if value is not None}
