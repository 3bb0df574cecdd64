"""What is collected is seen: every metric has a reader, or a page that says what to do with it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from epochcost.agent.collectors import metric_names

ROOT = Path(__file__).resolve().parents[1]
READERS = (
    "grafana/dashboards/*.json",
    "prometheus/rules/*.yml",
    "prometheus/build/**/*.py",
    "prometheus/build/**/*.yml",
    "exporter/epochcost/reports/*.py",
)
PAGES = {
    "gpu_info": "devices.md",
    "gpu_held_idle_seconds_total": "devices.md",
    "gpu_mig_mode": "owners.md",
    "gpu_memory_reserved_bytes": "devices.md",
    "gpu_mig_info": "devices.md",
    "gpu_power_active": "devices.md",
    "gpu_owner_not_understood": "owners.md",
    "gpu_owner_info": "owners.md",
    "node_useful_cost_usd": "devices.md",
    "run_useful_seconds_total": "devices.md",
    "run_useful_cost_usd": "devices.md",
    "run_energy_joules_total": "devices.md",
    "run_energy_seconds_total": "devices.md",
    "node_energy_usd_per_kwh": "devices.md",
    "node_grid_grams_per_kwh": "devices.md",
    "node_boot_time_seconds": "runbooks/README.md",
    "run_gpus": "training.md",
    "run_lost_epochs_total": "architecture.md",
    "run_stopped_info": "guard.md",
    "clock_jumps_total": "runbooks/README.md",
}
"""Metrics that are joined or asked for by hand: the page, beside the table of all, that says for what."""
OF_OTHERS = {
    "node_provisional_cost_usd",
    "run_provisional_cost_usd",
    "run_provisional_epoch_cost_usd",
    "progress_refused_total",
    "price_contradictions_total",
    "run_leader",
    "run_start_epoch",
}
"""New: their readers come with the rules and dashboards of settled money and of identity."""


def text_of_readers() -> str:
    files = [path for pattern in READERS for path in sorted(ROOT.glob(pattern))]
    assert len(files) > 20
    return "\n".join(path.read_text(encoding="utf-8") for path in files)


TEXT = text_of_readers()


@pytest.mark.parametrize("name", sorted(name.removeprefix("epochcost_") for name in metric_names()))
def test_every_metric_has_a_reader(name: str) -> None:
    known = re.compile(rf"\b(?:epochcost_)?{name}\b")
    if known.search(TEXT) or name in OF_OTHERS:
        return
    page = PAGES.get(name)
    assert page, f"epochcost_{name} is in no dashboard, rule, alert or report: give it its place, or collect it no more"
    assert known.search((ROOT / "docs" / page).read_text(encoding="utf-8")), f"docs/{page} has no {name}"
