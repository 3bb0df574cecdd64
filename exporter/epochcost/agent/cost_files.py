"""Writes each run's dollars back beside its events, for training code to read (``run.cost_usd``)."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from epochcost.agent.run_scope import RunScope, scope_of
from epochcost.agent.snapshot import RunView
from epochcost.untrusted_files import replaced

log = logging.getLogger(__name__)
FILE_VERSION = 1
REWRITE_SECONDS = 60.0
STEADY_SECONDS = 5.0
"""Between two writings of a run of which nothing is new but that it costs on."""
WHAT_OF = ("whole", "machines", "earlier_part", "missing")
"""Of a `RunScope` what its figures are of."""


@dataclass(frozen=True, slots=True)
class _Written:
    """What a run's file says, and when it was written."""

    scope: RunScope
    stop: object
    at: float
    epochs: int
    ended_ts: float | None


def _due(before: _Written, run: RunView, scope: RunScope, now: float) -> bool:
    """Whether the file is to be written again: at once for what a training may decide by, else now and then."""
    age = now - before.at
    if before.stop != run.stop:
        return True
    if before.scope == scope:
        return age >= REWRITE_SECONDS
    budget = run.budget_usd
    spent = budget is not None and (before.scope.cost_usd or 0.0) < budget <= (scope.cost_usd or 0.0)
    news = (before.epochs, before.ended_ts) != (run.epoch_count, run.ended_ts)
    of = any(getattr(before.scope, name) != getattr(scope, name) for name in WHAT_OF)
    return news or of or spent or age >= STEADY_SECONDS


class CostFiles:
    """``<run>.cost.json`` in ``directory``, replaced whole: at once after an epoch or an end, else every 5 s."""

    def __init__(self, directory: Path) -> None:
        self._where = str(directory)
        self._written: dict[str, _Written] = {}
        self._error = ""

    def write(self, runs: Iterable[RunView], now: float) -> None:
        """Write what is new in the runs that are open or have just ended; a failure is logged once and tried again."""
        error = ""
        for run in runs:
            before = self._written.get(run.run)
            scope = scope_of(run)
            if scope.cost_usd is None or (before is not None and not _due(before, run, scope, now)):
                continue
            try:
                self._replace(run, now)
                self._written[run.run] = _Written(scope, run.stop, now, run.epoch_count, run.ended_ts)
            except OSError as err:
                error = f"{self._where}: the cost of runs cannot be written back: {err.strerror}"
        if error and error != self._error:
            log.warning("%s", error)
        self._error = error
        shown = {run.run for run in runs}
        self._written = {run: was for run, was in self._written.items() if run in shown}

    def _replace(self, run: RunView, now: float) -> None:
        name = f"{run.run}.cost.json"
        if "/" in name or name.startswith("."):
            return  # such an id has no file: run ids are made safe, but this directory is anybody's
        with replaced(f"{self._where}/{name}", among_others=True) as file:
            file.write(json.dumps(figures_of(run, now)).encode())


def figures_of(run: RunView, now: float) -> dict[str, object]:
    """What a training process is told of its run, without what is not known.

    ``scope`` says what the dollars are of: ``run``, or ``machine`` where only this machine's part is known. Seconds and
    states are always this machine's.
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
        "seconds": run.seconds,
        "states": {state.value: seconds for state, seconds in run.totals.seconds.items() if seconds > 0},
        "stop": None if run.stop is None else dataclasses.asdict(run.stop),
        "ts": now,
    }
    return {name: value for name, value in figures.items() if value is not None}
