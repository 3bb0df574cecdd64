"""A run over several machines: the figures of this machine's agent, with and without a store of all machines."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from tests.agent.driven_agent import DrivenAgent, SimulatedMachine
from tests.store.promql_server import PromqlServer

SECRET = "tr0ub4dor"  # no real one
HOUR = 3600.0
ONE_RUN = b'{"status": "success", "data": {"result": [{"metric": {"run": "r"}, "value": [1, "%s"]}]}}'


@pytest.fixture
def store() -> Iterator[PromqlServer]:
    with PromqlServer() as server:
        yield server


def training(agent: DrivenAgent, *, start: float = 0.0, **facts: Any) -> None:
    """Half of four epochs, in ten minutes at $6 an hour: $1 on this machine."""
    agent.ask_price()
    agent.machine.write_event("start", epochs=4, budget_usd=1.5, **facts)
    agent.machine.write_event("resume" if start else "phase", phase="train", epoch=start)
    for epoch in (1, 2):
        agent.run(300.0, every=60.0)
        agent.machine.write_event("epoch_end", epoch=start + epoch)
    agent.app.sampling_loop.tick()


def live(agent: DrivenAgent) -> dict[str, Any]:
    agent.scrape()
    with urllib.request.urlopen(f"{agent.app.server.url}/v1/live", timeout=5) as response:
        (run,) = json.load(response)["runs"]
        return run


def cost_file(machine: SimulatedMachine) -> dict[str, Any]:
    return json.loads((machine.events / "r.cost.json").read_text())


def own_labels(agent: DrivenAgent) -> dict[str, str]:
    """Labels of this machine's part of the run, as Prometheus stores them."""
    snapshot = agent.app.snapshot
    assert snapshot is not None
    return {"run": "r", "epochcost_machine": snapshot.machine, "part": snapshot.runs[0].part}


def store_two_machines(
    store: PromqlServer, agent: DrivenAgent, *, own: float, other: float, **extra_labels: str
) -> None:
    """The run on two machines, each with its dollars; four epochs are planned, two done."""
    other_labels = {**own_labels(agent), "epochcost_machine": "n2-00000002", "part": "p2"}
    store.costs = [({**own_labels(agent), **extra_labels}, own), ({**other_labels, **extra_labels}, other)]
    run_labels = {"run": "r", **extra_labels}
    store.figures = [
        ({"__name__": "run:epochcost_cost_usd:sum", **run_labels}, own + other),
        ({"__name__": "run:epochcost_epoch_cost_usd:mean", **run_labels}, (own + other) / 2),
        ({"__name__": "run:epochcost_cost_to_finish_usd:projected", **run_labels}, own + other),
        ({"__name__": "part:epochcost_start_epoch:kept", **own_labels(agent), **extra_labels}, 2.0),
        ({"__name__": "part:epochcost_start_epoch:kept", **other_labels, **extra_labels}, 0.0),
    ]


def agent_of(machine: SimulatedMachine, store: PromqlServer | None = None, **flags: str) -> DrivenAgent:
    store_flags = {} if store is None else {"prometheus__url": store.url, "prometheus__timeout": "1s"}
    return DrivenAgent(machine, price__usd_per_hour="6", node__instance_type="x", **store_flags, **flags)


def test_a_run_of_one_machine_is_complete_without_any_store(machine: SimulatedMachine) -> None:
    agent = agent_of(machine)
    training(agent)
    costs = cost_file(machine)
    assert costs["scope"] == "run"
    assert costs["cost_usd"] == costs["machine_cost_usd"] == pytest.approx(1.0)
    assert "missing" not in costs
    assert (live(agent)["scope"], live(agent)["part"]) == ("run", "")
    agent.close()


def test_without_a_store_a_run_over_two_machines_is_called_this_machines_part(machine: SimulatedMachine) -> None:
    agent = agent_of(machine)
    training(agent, nodes=2)
    costs, live_run = cost_file(machine), live(agent)
    assert (costs["scope"], costs["machines"]) == ("machine", 2)
    assert "--prometheus.url" in costs["missing"]
    assert costs["cost_usd"] == pytest.approx(1.0)
    assert live_run["part"] == "this machine's part of 2"
    assert live_run["missing"] == costs["missing"]
    agent.close()


def test_a_run_that_began_above_zero_has_an_earlier_part_unknown_here(machine: SimulatedMachine) -> None:
    agent = agent_of(machine)
    training(agent, start=2.0)
    costs = cost_file(machine)
    assert (costs["scope"], live(agent)["part"]) == ("machine", "this machine's part")
    agent.close()


def test_a_machine_without_rank_0_has_a_part_even_without_a_number_of_machines(machine: SimulatedMachine) -> None:
    agent = agent_of(machine)
    training(agent, rank=1, world=2)
    costs = cost_file(machine)
    assert (costs["scope"], live(agent)["part"]) == ("machine", "this machine's part")
    assert "machines" not in costs
    agent.close()


def test_without_rank_0_a_store_of_this_machine_alone_does_not_complete_the_run(
    machine: SimulatedMachine, store: PromqlServer
) -> None:
    agent = agent_of(machine, store)
    training(agent, rank=1, world=2)
    store.costs = [(own_labels(agent), 0.9)]
    store.figures = [({"__name__": "run:epochcost_cost_usd:sum", "run": "r"}, 0.9)]
    assert agent.app.store is not None
    assert agent.app.store.ask()
    agent.run(6.0)
    costs = cost_file(machine)
    assert (costs["scope"], costs["missing"]) == ("machine", "the store has 1 of its 2 or more machines")
    agent.close()


def test_a_world_with_an_unknown_number_of_machines_is_a_part_until_a_store_has_them(
    machine: SimulatedMachine, store: PromqlServer
) -> None:
    agent = agent_of(machine, store)
    training(agent, rank=0, world=2)
    assert cost_file(machine)["scope"] == "machine"
    store_two_machines(store, agent, own=0.9, other=2.0)
    assert agent.app.store is not None
    assert agent.app.store.ask()
    agent.run(6.0)
    costs = cost_file(machine)
    assert (costs["scope"], costs["machines"]) == ("run", 2)
    assert costs["cost_usd"] == pytest.approx(costs["machine_cost_usd"] + 2.0)
    agent.close()


def test_repeated_work_of_the_previous_machine_is_replay_with_a_store(
    machine: SimulatedMachine, store: PromqlServer
) -> None:
    agent = agent_of(machine, store)
    agent.ask_price()
    machine.write_event("start", epochs=10)
    machine.write_event("resume", phase="train", epoch=2.0)
    agent.run(1.0)
    store_two_machines(store, agent, own=0.1, other=2.0)
    other_labels = {**own_labels(agent), "epochcost_machine": "n2-00000002", "part": "p2"}
    beside = {**other_labels, "epochcost_machine": "n3-00000003"}
    name = {"__name__": "part:epochcost_training_epochs:now"}
    store.figures += [
        ({**name, **other_labels}, 2.5), ({**name, **beside}, 9.0), ({**name, **own_labels(agent)}, 2.0),
        ({"__name__": "part:epochcost_active:now", **beside}, 1.0),
    ]  # fmt: skip
    assert agent.app.store is not None
    assert agent.app.store.ask()
    for tenth in range(1, 11):
        agent.run(60.0, every=5.0)
        machine.write_event("progress", epoch=2 + tenth / 10, step=tenth)
    agent.run(1.0)
    replay, useful = (agent.value("run_state_seconds_total", run="r", state=state) for state in ("replay", "useful"))
    assert (replay, useful) == (pytest.approx(240, abs=11), pytest.approx(301, abs=11))
    agent.close()


def test_a_training_started_here_after_one_finished_elsewhere_has_no_replay(
    machine: SimulatedMachine, store: PromqlServer
) -> None:
    agent = agent_of(machine, store)
    agent.ask_price()
    machine.write_event("start", epochs=10)
    agent.run(1.0)
    store_two_machines(store, agent, own=0.1, other=2.0)
    other_labels = {**own_labels(agent), "epochcost_machine": "n2-00000002", "part": "p2"}
    # As in the rules: the part of the finished training has no position in the running one.
    store.figures += [
        ({"__name__": "part:epochcost_finished_timestamp_seconds:kept", **other_labels}, machine.wall - 60)
    ]
    assert agent.app.store is not None
    assert agent.app.store.ask()
    for tenth in range(1, 11):
        agent.run(60.0, every=5.0)
        machine.write_event("progress", epoch=tenth / 10, step=tenth)
    agent.run(1.0)
    assert agent.value("run_state_seconds_total", run="r", state="replay") in (None, 0)
    agent.close()


def test_a_run_that_was_elsewhere_between_two_attempts_here_is_a_part(machine: SimulatedMachine) -> None:
    agent = agent_of(machine)
    training(agent)
    assert cost_file(machine)["scope"] == "run"
    agent.machine.write_event("end", status="preempted", epoch=2)
    agent.run(10.0)
    agent.machine.write_event("start", file="again.jsonl", epochs=4)
    agent.machine.write_event("resume", file="again.jsonl", epoch=3)
    agent.run(60.0, every=10.0)
    assert cost_file(machine)["scope"] == "machine"
    assert live(agent)["part"] == "this machine's part"
    agent.close()


def test_a_run_that_resumes_here_at_or_before_its_position_is_complete(machine: SimulatedMachine) -> None:
    agent = agent_of(machine)
    training(agent)
    for file, epoch in (("again.jsonl", 2), ("third.jsonl", 1)):
        agent.machine.write_event("end", file="again.jsonl" if epoch == 1 else "r.jsonl", status="preempted")
        agent.run(10.0)
        agent.machine.write_event("start", file=file, epochs=4)
        agent.machine.write_event("resume", file=file, epoch=epoch)
        agent.run(60.0, every=5.0)
        assert cost_file(machine)["scope"] == "run"
    agent.close()


def test_with_a_store_the_dollars_are_those_of_the_entire_run_and_this_machines_are_exact(
    machine: SimulatedMachine, store: PromqlServer
) -> None:
    agent = agent_of(machine, store)
    training(agent, nodes=2)
    store_two_machines(store, agent, own=0.9, other=2.0, cluster="eu")
    assert agent.app.store is not None
    assert agent.app.store.ask()
    agent.run(1.0)
    costs, live_run = cost_file(machine), live(agent)
    own = costs["machine_cost_usd"]
    assert own == pytest.approx(1.0 + 6 / HOUR)
    assert costs["scope"] == "run"
    assert costs["cost_usd"] == live_run["cost_usd"] == pytest.approx(own + 2.0)
    assert costs["cost_per_epoch_usd"] == live_run["mean_epoch_cost_usd"] == pytest.approx(1.45)
    assert costs["projected_cost_usd"] == pytest.approx(own + 2.0 + 2.9)
    assert (live_run["machines"], live_run["part"], live_run["machine_cost_usd"]) == (2, "", own)
    assert agent.value("collector_success", collector="store") in (1.0, None)
    agent.close()


def test_no_figure_of_a_store_enters_a_counter(machine: SimulatedMachine, store: PromqlServer) -> None:
    agent = agent_of(machine, store)
    training(agent, nodes=2)
    before = agent.sum("run_cost_usd_total")
    store_two_machines(store, agent, own=0.9, other=2000.0)
    assert agent.app.store.ask()
    agent.app.sampling_loop.tick()
    assert agent.sum("run_cost_usd_total") == pytest.approx(before)
    assert agent.sum("run_state_cost_usd_total") == pytest.approx(before)
    agent.close()


def test_a_run_that_moved_here_is_complete_only_by_the_store(machine: SimulatedMachine, store: PromqlServer) -> None:
    """It reports no number of nodes; the part on the previous machine is in the store."""
    agent = agent_of(machine, store)
    training(agent, start=2.0)
    store_two_machines(store, agent, own=1.0, other=3.0)
    assert agent.app.store.ask()
    agent.app.sampling_loop.tick()
    assert (cost_file(machine)["scope"], cost_file(machine)["machines"]) == ("run", 2)
    assert cost_file(machine)["cost_usd"] == pytest.approx(4.0)
    agent.close()


@pytest.mark.parametrize(
    ("change", "missing"),
    [
        ("one machine of two", "the store has 1 of its 2 machines"),
        ("a part without dollars", "no dollars for one of its parts"),
        ("epochs between two parts", "lacks parts of this run in which 2.5 epochs were done"),
        ("an earlier part", "lacks parts of this run in which 1.5 epochs were done"),
        ("another machine of this name", "is its name used twice?"),
        ("not this part", "no figures for this machine's part yet"),
    ],
)
def test_with_an_incomplete_store_a_part_stays_a_part(
    machine: SimulatedMachine, store: PromqlServer, change: str, missing: str
) -> None:
    agent = agent_of(machine, store)
    training(agent, nodes=2)
    store_two_machines(store, agent, own=50.0 if change == "another machine of this name" else 1.0, other=2.0)
    if change == "one machine of two":
        store.costs.pop()
    elif change == "a part without dollars":
        store.figures.pop(0)
    elif change == "an earlier part":
        store.figures[4] = (store.figures[4][0], 1.5)
    elif change == "epochs between two parts":
        store.figures.append(({"__name__": "run:epochcost_epochs:missing", "run": "r"}, 2.5))
    elif change == "not this part":
        store.costs[0] = ({**store.costs[0][0], "part": "older"}, 1.0)
    assert agent.app.store.ask()
    agent.app.sampling_loop.tick()
    costs = cost_file(machine)
    assert costs["scope"] == "machine"
    assert missing in costs["missing"]
    assert costs["cost_usd"] == pytest.approx(1.0)
    agent.close()


def test_a_run_of_the_same_name_in_another_cluster_is_another_run(
    machine: SimulatedMachine, store: PromqlServer
) -> None:
    agent = agent_of(machine, store)
    training(agent, nodes=2)
    store_two_machines(store, agent, own=1.0, other=2.0, cluster="eu")
    elsewhere = {"run": "r", "cluster": "us"}
    store.costs.append(({**elsewhere, "epochcost_machine": "n9", "part": "p9"}, 70.0))
    store.figures.append(({"__name__": "run:epochcost_cost_usd:sum", **elsewhere}, 70.0))
    assert agent.app.store.ask()
    agent.app.sampling_loop.tick()
    assert cost_file(machine)["cost_usd"] == pytest.approx(3.0)
    assert cost_file(machine)["machines"] == 2
    agent.close()


def test_infinite_and_missing_figures_are_absent(machine: SimulatedMachine, store: PromqlServer) -> None:
    agent = agent_of(machine, store)
    training(agent, nodes=2)
    store.body = ONE_RUN % b"Inf"
    assert agent.app.store is not None
    assert agent.app.store.ask()
    agent.run(6.0)
    costs = cost_file(machine)
    assert (costs["scope"], costs["cost_usd"]) == ("machine", costs["machine_cost_usd"])
    assert "no figures for this machine's part" in costs["missing"]
    agent.close()


@pytest.mark.parametrize(
    ("response", "message"),
    [
        ({"status": 401, "body": b"who are you?"}, "HTTP 401"),
        ({"body": b"<!doctype html><title>Sign in</title>"}, "not Prometheus JSON"),
        ({"body": b'{"status": "error", "errorType": "execution", "error": "query timed out"}'}, "query timed out"),
        ({"body": b'{"status": "success", "data": {"result": [{"metric": {}, "value": "soon"}]}}'}, "cannot be read"),
        ({"body": ONE_RUN % b"-3"}, "is -3"),
        ({"body": b"[" * 100_000}, "not Prometheus JSON"),
        ({"status": 302, "headers": {"Location": f"http://user:{SECRET}@elsewhere/"}}, "not followed"),
        ({"body": b" " * (17 * 2**20)}, "longer than"),
        ({"hang_seconds": 3.0}, "no response within 1 s"),
    ],
)
def test_a_store_with_invalid_responses_is_named_and_changes_nothing(
    machine: SimulatedMachine, store: PromqlServer, response: dict[str, Any], message: str
) -> None:
    token = machine.root / "token"
    token.write_text(SECRET)
    agent = agent_of(machine, store, prometheus__bearer_token_file=str(token))
    training(agent, nodes=2)
    for name, value in response.items():
        setattr(store, name, value)
    assert not agent.app.store.ask()
    agent.app.sampling_loop.tick()
    costs = cost_file(machine)
    assert (costs["scope"], costs["cost_usd"]) == ("machine", pytest.approx(1.0))
    assert message in costs["missing"]
    assert SECRET not in json.dumps(costs)
    assert store.requests[-1][0]["Authorization"] == f"Bearer {SECRET}"
    assert agent.app.snapshot.health["store"].success is False
    assert any(problem.startswith("store: ") and message in problem for problem in agent.app.snapshot.problems)
    agent.close()


def test_a_stale_response_is_no_longer_shown(machine: SimulatedMachine, store: PromqlServer) -> None:
    agent = agent_of(machine, store)
    training(agent, nodes=2)
    store_two_machines(store, agent, own=1.0, other=2.0)
    assert agent.app.store.ask()
    agent.run(200.0, every=50.0)
    assert cost_file(machine)["scope"] == "run"
    store.status, store.body = 503, b"down for today"
    assert not agent.app.store.ask()
    agent.run(200.0, every=50.0)
    assert cost_file(machine)["scope"] == "machine"
    assert "HTTP 503" in cost_file(machine)["missing"]
    agent.close()


def test_names_of_runs_are_never_part_of_the_query_language(machine: SimulatedMachine, store: PromqlServer) -> None:
    agent = agent_of(machine, store)
    hostile = 'a"} or vector(1) # .*\\'
    agent.app.store._parts = {hostile: "p"}
    assert agent.app.store.ask()
    assert all(query.count('run=~"a\\"\\\\} or vector') == 0 for _, query in store.requests)
    assert all('run=~"a\\"\\\\}\\\\ or' in query for _, query in store.requests)
    agent.close()
