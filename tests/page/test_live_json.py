from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from tests.page import snapshots

from epochcost.agent.live_page import live_json, page_routes
from epochcost.agent.snapshot import NodeView, Snapshot, StateTotals
from epochcost.model import Node, State
from epochcost.serve import Request

NODE_KEYS = (
    "node provider region zone instance_type purchase_option gpus driver_version boot_ts price_usd_per_hour "
    "on_demand_usd_per_hour spot_usd_per_hour price_source price_ts cost_usd seconds unpriced_seconds states "
    "cpu_utilization_ratio "
    "memory_used_bytes memory_total_bytes power_watts"
)
GPU_KEYS = (
    "gpu uuid model readable utilization_ratio memory_used_bytes memory_total_bytes power_watts "
    "temperature_celsius state owners processes"
)
RUN_KEYS = (
    "run experiment team owner_user launcher launcher_job "
    "framework state stopped started_ts ended_ts last_event_ts gpus share seconds cost_usd "
    "epoch epochs_planned "
    "epochs_executed epochs_useful epochs_lost steps batch_size last_epoch_seconds last_epoch_cost_usd "
    "current_epoch_seconds current_epoch_cost_usd mean_epoch_cost_usd mean_epoch_seconds projected_cost_usd "
    "projected_from_part eta_seconds memory_peak_bytes budget_usd nodes world states history leader scope part machines"
    " missing machine_cost_usd machine_mean_epoch_cost_usd"
    " steps_per_second samples_per_second tokens_per_second reported others slurm_job_id slurm_account slurm_partition"
)


@pytest.mark.parametrize(
    "snapshot",
    [snapshots.one_gpu(), snapshots.eight_gpus(), snapshots.cpu_only(), snapshots.price_unknown()],
    ids=["one", "eight", "cpu", "unpriced"],
)
def test_the_json_has_exactly_the_published_keys(snapshot):
    live = live_json(snapshot)
    assert set(live) == {
        "v", "t", "version", "simulated", "node", "machine", "grafana", "advice", "recent", "gpus", "runs", "problems",
        "guard", "terms",
    }  # fmt: skip
    assert set(live["node"]) == set(NODE_KEYS.split())
    assert all(set(gpu) == set(GPU_KEYS.split()) for gpu in live["gpus"])
    assert all(set(run) == set(RUN_KEYS.split()) for run in live["runs"])
    assert all(set(epoch) == {"epoch", "end_ts", "seconds", "cost_usd"} for r in live["runs"] for epoch in r["history"])


def test_figures_pass_through_unrounded():
    live = live_json(snapshots.one_gpu())
    run = live["runs"][0]
    assert run["last_epoch_cost_usd"] == 0.107
    assert run["mean_epoch_cost_usd"] == snapshots.reference_run().epoch_cost_usd_sum / 3
    assert live["node"]["cost_usd"] == pytest.approx(2350 * 0.90 / 3600, abs=1e-12)
    assert live["node"]["seconds"] == 2350
    assert list(live["node"]["states"]) == ["useful", "idle", "startup", "boot", "vacant"]


def test_states_sum_to_the_cost_of_the_node():
    node = live_json(snapshots.eight_gpus())["node"]
    assert math.fsum(s["cost_usd"] for s in node["states"].values()) == pytest.approx(node["cost_usd"], abs=1e-9)


def test_unknown_values_are_null_and_never_zero():
    live = live_json(snapshots.price_unknown())
    assert live["node"]["price_usd_per_hour"] is None
    assert live["node"]["cost_usd"] is None
    assert {state["cost_usd"] for state in live["node"]["states"].values()} == {None}
    run = live["runs"][0]
    assert {run[key] for key in run if key.endswith("cost_usd")} == {None}
    assert run["mean_epoch_seconds"] > 0
    fresh = live_json(Snapshot(1.0, NodeView(Node("n"))))["node"]
    assert (fresh["cost_usd"], fresh["gpus"], fresh["cpu_utilization_ratio"]) == (None, None, None)


def test_dollars_of_the_priced_part_are_shown_while_another_waits_for_its_price():
    totals = StateTotals({State.USEFUL: 20.0, State.IDLE: 5.0}, {State.USEFUL: 1.5})
    node = live_json(Snapshot(1.0, NodeView(Node("n"), totals=totals, unpriced_seconds=5.0)))["node"]
    assert node["cost_usd"] == 1.5
    assert node["unpriced_seconds"] == 5.0


def test_a_figure_that_json_cannot_represent_becomes_null():
    run = replace(snapshots.reference_run(), eta_seconds=math.inf, epoch=math.nan)
    live = live_json(replace(snapshots.one_gpu(), runs=(run,)))
    assert (live["runs"][0]["eta_seconds"], live["runs"][0]["epoch"]) == (None, None)
    json.dumps(live, allow_nan=False)


def test_before_the_first_sample_the_page_is_there_and_its_data_is_503():
    routes = page_routes(lambda: None)
    assert routes["/"](Request("/")).status == 200
    response = routes["/v1/live"](Request("/v1/live"))
    assert response.status == 503
    assert "has not sampled" in json.loads(response.body)["error"]


def test_the_page_allows_its_own_code_and_nothing_else():
    response = page_routes(lambda: None)["/"](Request("/"))
    policy = response.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    page = response.body.decode()
    assert "palette:" not in page
    assert "innerHTML" not in page
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in page
