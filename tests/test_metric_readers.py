"""Every metric has a reader, or a page that documents its use."""

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
    "gpu_mig_mode": "owners.md",
    "gpu_memory_reserved_bytes": "devices.md",
    "gpu_mig_info": "devices.md",
    "gpu_power_active": "devices.md",
    "node_egress_bytes_total": "prices.md",
    "node_free_used_seconds": "prices.md",
    "node_useful_cost_usd": "devices.md",
    "run_lost_epochs_total": "architecture.md",
}
"""Metrics that are joined or asked for by hand: the page, beside the table of all, that says for what."""


def text_of_readers() -> str:
    files = [path for pattern in READERS for path in sorted(ROOT.glob(pattern))]
    assert len(files) > 20
    return "\n".join(path.read_text(encoding="utf-8") for path in files)


TEXT = text_of_readers()


@pytest.mark.parametrize("name", sorted(name.removeprefix("epochcost_") for name in metric_names()))
def test_every_metric_has_a_reader(name: str) -> None:
    pattern = re.compile(rf"\b(?:epochcost_)?{name}\b")
    if pattern.search(TEXT):
        return
    page = PAGES.get(name)
    assert page, f"epochcost_{name} is in no dashboard, rule, alert or report: give it its place, or collect it no more"
    assert pattern.search((ROOT / "docs" / page).read_text(encoding="utf-8")), f"docs/{page} has no {name}"


@pytest.mark.parametrize("name", sorted(PAGES))
def test_a_metric_that_has_a_reader_needs_no_page(name: str) -> None:
    assert f"epochcost_{name}" in metric_names()
    assert not re.search(rf"\b(?:epochcost_)?{name}\b", TEXT), f"{name} is read: take it from the list"
