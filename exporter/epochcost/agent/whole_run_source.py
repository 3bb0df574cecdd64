"""What a store has of the runs on this machine, over all their machines: two requests for all of them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from epochcost.agent.snapshot import StoredRun
from epochcost.store.promql_client import Sample, quoted
from epochcost.store.store_access import connect
from epochcost.store.store_error import StoreError
from epochcost.store.store_settings import StoreSettings

MAX_BYTES = 16 * 2**20
PART_COST = "part:epochcost_state_cost_usd:kept"
COST = "run:epochcost_cost_usd:sum"
EPOCH_COST = "run:epochcost_epoch_cost_usd:mean"
TO_FINISH = "run:epochcost_cost_to_finish_usd:projected"
MISSING_EPOCHS = "run:epochcost_epochs:missing"
START = "part:epochcost_start_epoch:kept"
POSITION = "part:epochcost_training_epochs:now"
FINISHED = "part:epochcost_finished_timestamp_seconds:kept"
ACTIVE = "part:epochcost_active:now"
MACHINE, PART, RUN = "epochcost_machine", "part", "run"

Identity = tuple[tuple[str, str], ...]
"""Labels of a run: its name and whatever the rules keep, such as its cluster."""


@dataclass(frozen=True, slots=True)
class WholeRunSource:
    """Queries the store of ``settings``. Credentials and certificates are read at each request, so they may change."""

    settings: StoreSettings

    def fetch(self, machine: str, parts: Mapping[str, str]) -> dict[str, StoredRun]:
        """What the store has of runs whose part on this machine is known there; ``parts`` are ids of parts by run.

        Raises:
            StoreError: when the request fails, or the response cannot be used.
            SettingsError: when the settings cannot be used.
        """
        store = connect(self.settings)
        store.max_bytes = MAX_BYTES
        fits = f"{RUN}=~{quoted('|'.join(map(re.escape, sorted(parts))))}"
        costs = _finite(store.at(f"sum without (state) ({PART_COST}{{{fits}}})"))
        names = f"{COST}|{EPOCH_COST}|{TO_FINISH}|{MISSING_EPOCHS}|{START}|{POSITION}|{ACTIVE}|{FINISHED}"
        figures = _finite(store.at(f"{{__name__=~{quoted(names)},{fits}}}"))
        return stored_runs(machine, parts, costs, figures)


def stored_runs(
    machine: str, parts: Mapping[str, str], costs: Sequence[Sample], figures: Sequence[Sample]
) -> dict[str, StoredRun]:
    """Runs of which one series of ``costs`` is this machine's own part.

    Which labels distinguish two runs of one name (a cluster) only the store knows: those that our own part has there.

    Raises:
        StoreError: when our part is there twice, or a figure is.
    """
    by_run: dict[str, StoredRun] = {}
    for run, part in parts.items():
        ours = {RUN: run, MACHINE: machine, PART: part}
        own = [s for s in costs if all(s.labels.get(name) == value for name, value in ours.items())]
        if len(own) > 1:
            raise StoreError(
                f"run {run}: this machine's part is stored {len(own)} times: does the store hold two clusters?"
            )
        if own:
            same = _identity(own[0])
            parts_of_it = [s for s in costs if _identity(s) == same]
            by_run[run] = _stored(own[0], parts_of_it, [s for s in figures if _identity(s) == same])
    return by_run


def _stored(own: Sample, costs: Sequence[Sample], figures: Sequence[Sample]) -> StoredRun:
    def figure(name: str) -> float | None:
        return min((s.value for s in figures if s.labels["__name__"] == name), default=None)

    return StoredRun(
        cost_usd=figure(COST),
        own_cost_usd=own.value,
        machines=len({s.labels.get(MACHINE, "") for s in costs}),
        missing_epochs=max(figure(MISSING_EPOCHS) or 0.0, figure(START) or 0.0),
        epoch_cost_usd=figure(EPOCH_COST),
        cost_to_finish_usd=figure(TO_FINISH),
        reached_elsewhere=_reached_elsewhere(own, figures),
        finished_ts=max((s.value for s in figures if s.labels["__name__"] == FINISHED), default=None),
        others=tuple(sorted({s.labels.get(MACHINE, "") for s in costs} - {own.labels.get(MACHINE, ""), ""})),
    )


def _reached_elsewhere(own: Sample, figures: Sequence[Sample]) -> float:
    """How far others had come that have left the training that runs; one that trains now is not an earlier part."""
    busy = {_part(s) for s in figures if s.labels["__name__"] == ACTIVE} | {_part(own)}
    left = (s.value for s in figures if s.labels["__name__"] == POSITION and _part(s) not in busy)
    return max(left, default=0.0)


def _part(sample: Sample) -> tuple[str, str]:
    return sample.labels.get(MACHINE, ""), sample.labels.get(PART, "")


def _identity(sample: Sample) -> Identity:
    return tuple(sorted((k, v) for k, v in sample.labels.items() if k not in (MACHINE, PART, "__name__")))


def _finite(samples: Iterable[Sample]) -> list[Sample]:
    """No dollars, epochs or means are negative; NaN means unknown in PromQL."""
    known = [s for s in samples if not math.isnan(s.value)]
    for s in known:
        if s.value < 0:
            raise StoreError(f"{s.labels.get('__name__', PART_COST)} of run {s.labels.get(RUN)!r} is {s.value:g}")
    return known
