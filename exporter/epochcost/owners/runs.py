"""Owners by what the training itself reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from epochcost.model import GpuOwner, RunId


def run_owners(runs_on: Mapping[str, Sequence[RunId]]) -> list[GpuOwner]:
    """Each GPU's open runs, in equal parts; ``runs_on`` by the GPU's uuid."""
    return [GpuOwner(uuid, "run", run, 1 / len(runs)) for uuid, runs in runs_on.items() for run in runs]
