"""Counters of the real agent code over the played fleet, against independent arithmetic."""

from __future__ import annotations

import math

import pytest
from tests.demo.conftest import EPOCH_TS
from tests.demo.truth import (
    begins,
    busy_seconds,
    cost,
    current_epoch_start,
    dollars,
    epoch_marks,
    price_of,
    run_cost,
    state_dollars,
    state_seconds,
    states,
)
from tests.grafana.simulated_prometheus import instant

from epochcost.demo.app import played
from epochcost.demo.fleet import FLEET
from epochcost.demo.scenario import Machine
from epochcost.demo.simulated_agent import Fleet
from epochcost.demo.simulated_machine import watts_of
from epochcost.model import PurchaseOption, State

pytestmark = pytest.mark.stack
A_TICK_OF_THE_CLOCK = 1e-7
"""Dollars: a time of today is a float to 0.24 microseconds, in which the dearest machine costs 6e-9."""
INSTANTS = (3600.0, 12_600.0, 21_600.0)
NAMES = [machine.name for machine in FLEET.machines]
PRICED = [machine for machine in FLEET.machines if machine.priced]
RUNS = sorted({(m.name, a.run) for m in FLEET.machines for a in m.attempts})


def machine_of(name: str) -> Machine:
    return next(m for m in FLEET.machines if m.name == name)


def queried(demo_history, query: str, t: float, label: str = "") -> dict[str, float]:
    """The result at ``t`` by one label (series differ in no other)."""
    results = instant(demo_history.url, query, demo_history.epoch_ts + t)
    figures = {r["metric"].get(label, ""): float(r["value"][1]) for r in results}
    assert len(figures) == len(results), f"{query}: two series for one {label}"
    return figures


def money(demo_history, name: str, which: str, t: float, label: str = "") -> dict[str, float]:
    """Dollars as known at ``t``: those settled in counter ``name``, and the provisional ones."""
    provisional = name.replace("node_", "node_provisional_").replace("run_", "run_provisional_").removesuffix("_sum")
    settled = name if name.endswith("_sum") else f"{name}_total"
    settled_usd, provisional_usd = (
        queried(demo_history, f"epochcost_{which_one}{which}", t, label) for which_one in (settled, provisional)
    )
    assert settled_usd.keys() == provisional_usd.keys()
    return {key: usd + provisional_usd[key] for key, usd in settled_usd.items()}


def there(machine: Machine, t: float) -> bool:
    return machine.agent_starts <= t < machine.gone


@pytest.mark.parametrize("t", INSTANTS)
@pytest.mark.parametrize("name", NAMES)
def test_the_seconds_of_a_machine_match_the_script_in_every_state(demo_history, name, t):
    machine = machine_of(name)
    figures = queried(demo_history, f'epochcost_node_seconds_total{{instance="{name}"}}', t, "state")
    truth = {state.value: s for state, s in state_seconds(machine, t).items()} if there(machine, t) else {}
    assert figures == pytest.approx(truth, abs=1e-6)


@pytest.mark.parametrize("t", INSTANTS)
@pytest.mark.parametrize("machine", PRICED, ids=lambda m: m.name)
def test_the_dollars_of_a_machine_are_the_integral_of_its_price_and_its_states_sum_to_it(demo_history, machine, t):
    figures = money(demo_history, "node_cost_usd", f'{{instance="{machine.name}"}}', t, "state")
    if not there(machine, t):
        assert figures == {}
        return
    assert sum(figures.values()) == pytest.approx(cost(FLEET, machine, t), abs=1e-9)
    truth = {state.value: usd for state, usd in state_dollars(FLEET, machine, t).items()}
    # A price change that is published late is spread over the states of its minute.
    assert figures == pytest.approx(truth, rel=1e-3, abs=1e-9)


@pytest.mark.parametrize("t", INSTANTS)
@pytest.mark.parametrize("name", NAMES)
def test_each_gpu_has_its_own_seconds_load_and_memory(demo_history, name, t):
    machine = machine_of(name)
    if not machine.kind.gpus or not there(machine, t):
        return
    for gpu in range(machine.kind.gpus):
        which = f'{{instance="{name}",gpu="{gpu}"}}'
        seconds = queried(demo_history, f"epochcost_gpu_seconds_total{which}", t, "state")
        truth = state_seconds(machine, t, device=gpu)
        assert shown_and(seconds) == pytest.approx(shown_and({s.value: v for s, v in truth.items()}), abs=1e-6)
        busy = queried(demo_history, f"epochcost_gpu_utilization_seconds_total{which}", t)
        since = machine.agent_starts
        assert busy[""] == pytest.approx(busy_seconds(machine, gpu, since, t), abs=1e-6)
        if machine.sees(gpu, t - 1):
            assert queried(demo_history, f"epochcost_gpu_utilization_ratio{which}", t)[""] == machine.load(gpu, t - 1)
            watts = watts_of(machine.kind.watts_per_gpu, machine.load(gpu, t - 1))
            assert queried(demo_history, f"epochcost_gpu_power_watts{which}", t)[""] == pytest.approx(watts)
            memory_used = queried(demo_history, f"epochcost_gpu_memory_used_bytes{which}", t)[""]
            assert memory_used == int(machine.memory_fill(t - 1) * machine.kind.gpu_memory_bytes)
        else:
            assert queried(demo_history, f"epochcost_gpu_readable{which}", t)[""] == 0
            assert queried(demo_history, f"epochcost_gpu_utilization_ratio{which}", t) == {}


def shown_and(values: dict[str, float]) -> dict[str, float]:
    """States with any time; a device of a whole node is never ``unallocated`` here."""
    return {state: value for state, value in values.items() if value > 1e-9}


@pytest.mark.parametrize("t", INSTANTS)
@pytest.mark.parametrize(("name", "run"), RUNS)
def test_epochs_and_their_dollars_are_exact(demo_history, name, run, t):
    machine = machine_of(name)
    attempts = [a for a in machine.attempts if a.run == run and a.start <= t]
    which = f'{{instance="{name}",run="{run}"}}'
    if not attempts or not there(machine, t) or t >= attempts[-1].end + 900:
        assert queried(demo_history, f"epochcost_run_epoch{which}", t) == {}
        return
    last = attempts[-1]
    marks = epoch_marks(machine, run, t)
    leads = last.rank == 0  # elsewhere progress is not counted, and dollars of epochs are
    assert queried(demo_history, f"epochcost_run_epoch_seconds_count{which}", t).get("", 0) == (
        len(marks) if leads else 0
    )
    if t >= last.first_step and leads:
        # Reported every 15 s.
        assert queried(demo_history, f"epochcost_run_epoch{which}", t)[""] == pytest.approx(
            last.position(t), abs=15 * last.epochs_per_hour / 3600
        )
    if marks and leads:
        seconds = queried(demo_history, f"epochcost_run_epoch_seconds_sum{which}", t)[""]
        assert seconds == pytest.approx(sum(b - a for a, b in marks), abs=1e-6)
    offer = price_of(FLEET, machine) if machine.priced else None
    if offer is None:
        assert queried(demo_history, f"epochcost_run_cost_usd_total{which}", t) == {}
        return
    costs = [dollars(offer, a, b) for a, b in marks]
    if costs:
        usd = money(demo_history, "run_epoch_cost_usd_sum", which, t)[""]
        assert usd == pytest.approx(sum(costs), abs=A_TICK_OF_THE_CLOCK)
        assert queried(demo_history, f"epochcost_run_last_epoch_cost_usd{which}", t)[""] == pytest.approx(
            costs[-1], abs=A_TICK_OF_THE_CLOCK
        )
    mine_usd = sum(dollars(offer, a.start, min(a.end, t)) for a in attempts)
    assert money(demo_history, "run_cost_usd", which, t)[""] == pytest.approx(mine_usd, abs=A_TICK_OF_THE_CLOCK)
    if last.first_step <= t < last.end:
        begin = current_epoch_start(machine, run, t)
        current = queried(demo_history, f"epochcost_run_current_epoch_cost_usd{which}", t)[""]
        assert current == pytest.approx(dollars(offer, begin, t), abs=A_TICK_OF_THE_CLOCK)


def test_a_run_costs_the_sum_over_all_its_machines_including_ended_ones(demo_history):
    paid_price = {a.run for m in FLEET.machines if price_of(FLEET, m) is not None for a in m.attempts}
    figures = queried(demo_history, "run:epochcost_cost_usd:sum", demo_history.now, "run")
    assert "char-lm-31" in figures, "its first machine was taken away"
    for run, usd in figures.items():
        assert run in paid_price
        assert usd == pytest.approx(run_cost(FLEET, run, demo_history.now), rel=0.01), run


def test_lost_epochs_are_those_done_beyond_the_checkpoint(demo_history):
    first, second = machine_of("sim-a100-01").attempts
    lost_epochs = queried(demo_history, 'max(epochcost_run_lost_epochs_total{run="llm-7b-4417"})', demo_history.now)[""]
    assert lost_epochs == pytest.approx(1.4, abs=15.01 * first.epochs_per_hour / 3600)
    assert second.from_epoch == pytest.approx(first.position(first.end) - 1.4)


def test_the_on_demand_price_is_exported_beside_the_paid_one(demo_history):
    for machine in PRICED:
        if not there(machine, demo_history.now):
            continue
        offer, listed = price_of(FLEET, machine), price_of(FLEET, machine, PurchaseOption.ON_DEMAND)
        paid_price = queried(
            demo_history, f'epochcost_node_price_usd_per_hour{{instance="{machine.name}"}}', demo_history.now
        )
        assert paid_price[""] == offer.price.at(demo_history.now)
        figures = queried(
            demo_history, f'epochcost_node_on_demand_price_usd_per_hour{{instance="{machine.name}"}}', demo_history.now
        )
        assert figures.get("") == (listed.price.at(demo_history.now) if listed else None)


def test_every_playback_is_the_same():
    def played_once() -> list[str]:
        lines = "".join(played(Fleet(FLEET, EPOCH_TS), 600)).splitlines()
        return [
            line for line in lines if "duration_seconds" not in line
        ]  # the real durations of the price sources' requests

    assert played_once() == played_once()


def test_the_script_has_every_state(demo_history):
    covered = {state for m in FLEET.machines for state, s in state_seconds(m, demo_history.now).items() if s > 0}
    assert covered == set(State) - {State.UNALLOCATED}
    for machine in FLEET.machines:
        alive_seconds = min(demo_history.now, machine.gone) - begins(machine)
        assert math.fsum(state_seconds(machine, demo_history.now).values()) == pytest.approx(alive_seconds)
        assert all(start < end for start, end, _ in states(machine, demo_history.now))
