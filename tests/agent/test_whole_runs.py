"""A run over several machines: what this machine's agent says of it, with a store of all of them and without."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.agent.driven import Driven, World
from tests.store.promql_server import PromqlServer

SECRET = "tr0ub4dor"  # no real one
HOUR = 3600.0
ONE_RUN = b'{"status": "success", "data": {"result": [{"metric": {"run": "r"}, "value": [1, "%s"]}]}}'


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def store() -> Iterator[PromqlServer]:
    with PromqlServer() as server:
        yield server


def training(agent: Driven, *, start: float = 0.0, **facts: Any) -> None:
    """Half of four epochs, in ten minutes at $6 an hour: $1 on this machine."""
    agent.ask_price()
    agent.world.say("start", epochs=4, budget_usd=1.5, **facts)
    agent.world.say("resume" if start else "phase", phase="train", epoch=start)
    for epoch in (1, 2):
        agent.run(300.0, every=60.0)
        agent.world.say("epoch_end", epoch=start + epoch)
    agent.app.sampling_loop.tick()


def live(agent: Driven) -> dict[str, Any]:
    agent.scrape()
    with urllib.request.urlopen(f"{agent.app.server.url}/v1/live", timeout=5) as answer:
        (run,) = json.load(answer)["runs"]
        return run


def cost_file(world: World) -> dict[str, Any]:
    return json.loads((world.events / "r.cost.json").read_text())


def mine(agent: Driven) -> dict[str, str]:
    """Labels of this machine's part of the run, as Prometheus stores them."""
    snapshot = agent.app.snapshot
    assert snapshot is not None
    return {"run": "r", "epochcost_machine": snapshot.machine, "part": snapshot.runs[0].part}


def stored(store: PromqlServer, agent: Driven, *, own: float, other: float, **kept: str) -> None:
    """The run on two machines, each with its dollars; four epochs are planned, two done."""
    theirs = {**mine(agent), "epochcost_machine": "n2-00000002", "part": "p2"}
    store.costs = [({**mine(agent), **kept}, own), ({**theirs, **kept}, other)]
    whole = {"run": "r", **kept}
    store.figures = [
        ({"__name__": "run:epochcost_cost_usd:sum", **whole}, own + other),
        ({"__name__": "run:epochcost_epoch_cost_usd:mean", **whole}, (own + other) / 2),
        ({"__name__": "run:epochcost_cost_to_finish_usd:projected", **whole}, own + other),
        ({"__name__": "part:epochcost_start_epoch:kept", **mine(agent), **kept}, 2.0),
        ({"__name__": "part:epochcost_start_epoch:kept", **theirs, **kept}, 0.0),
    ]


def agent_of(world: World, store: PromqlServer | None = None, **flags: str) -> Driven:
    named = {} if store is None else {"prometheus__url": store.url, "prometheus__timeout": "1s"}
    return Driven(world, price__usd_per_hour="6", node__instance_type="x", **named, **flags)


def test_a_run_of_one_machine_is_whole_without_any_store(world: World) -> None:
    agent = agent_of(world)
    training(agent)
    costs = cost_file(world)
    assert costs["scope"] == "run"
    assert costs["cost_usd"] == costs["machine_cost_usd"] == pytest.approx(1.0)
    assert "missing" not in costs
    assert (live(agent)["scope"], live(agent)["part"]) == ("run", "")
    agent.close()


def test_without_a_store_a_run_over_two_machines_is_called_this_machines_part(world: World) -> None:
    agent = agent_of(world)
    training(agent, nodes=2)
    costs, shown = cost_file(world), live(agent)
    assert (costs["scope"], costs["machines"]) == ("machine", 2)
    assert "--prometheus.url" in costs["missing"]
    assert costs["cost_usd"] == pytest.approx(1.0)
    assert shown["part"] == "this machine's part of 2"
    assert shown["missing"] == costs["missing"]
    agent.close()


def test_a_run_that_began_above_zero_has_an_earlier_part_that_nobody_here_knows(world: World) -> None:
    agent = agent_of(world)
    training(agent, start=2.0)
    costs = cost_file(world)
    assert (costs["scope"], live(agent)["part"]) == ("machine", "this machine's part")
    agent.close()


def test_a_machine_that_never_had_rank_0_has_a_part_though_nobody_says_of_how_many(world: World) -> None:
    agent = agent_of(world)
    training(agent, rank=1, world=2)
    costs = cost_file(world)
    assert (costs["scope"], live(agent)["part"]) == ("machine", "this machine's part")
    assert "machines" not in costs
    agent.close()


def test_a_store_that_knows_this_machine_alone_does_not_make_it_a_whole_run_without_rank_0(
    world: World, store: PromqlServer
) -> None:
    agent = agent_of(world, store)
    training(agent, rank=1, world=2)
    store.costs = [(mine(agent), 0.9)]
    store.figures = [({"__name__": "run:epochcost_cost_usd:sum", "run": "r"}, 0.9)]
    assert agent.app.store is not None
    assert agent.app.store.ask()
    agent.run(6.0)
    costs = cost_file(world)
    assert (costs["scope"], costs["missing"]) == ("machine", "the store has 1 of its 2 or more machines")
    agent.close()


def test_a_world_whose_machines_nobody_counts_is_a_part_until_a_store_knows_them(
    world: World, store: PromqlServer
) -> None:
    agent = agent_of(world, store)
    training(agent, rank=0, world=2)
    assert cost_file(world)["scope"] == "machine"
    stored(store, agent, own=0.9, other=2.0)
    assert agent.app.store is not None
    assert agent.app.store.ask()
    agent.run(6.0)
    costs = cost_file(world)
    assert (costs["scope"], costs["machines"]) == ("run", 2)
    assert costs["cost_usd"] == pytest.approx(costs["machine_cost_usd"] + 2.0)
    agent.close()


def test_work_that_the_machine_before_had_done_is_replay_where_a_store_knows_it(
    world: World, store: PromqlServer
) -> None:
    agent = agent_of(world, store)
    agent.ask_price()
    world.say("start", epochs=10)
    world.say("resume", phase="train", epoch=2.0)
    agent.run(1.0)
    stored(store, agent, own=0.1, other=2.0)
    theirs = {**mine(agent), "epochcost_machine": "n2-00000002", "part": "p2"}
    beside = {**theirs, "epochcost_machine": "n3-00000003"}
    name = {"__name__": "part:epochcost_training_epochs:now"}
    store.figures += [
        ({**name, **theirs}, 2.5), ({**name, **beside}, 9.0), ({**name, **mine(agent)}, 2.0),
        ({"__name__": "part:epochcost_active:now", **beside}, 1.0),
    ]  # fmt: skip
    assert agent.app.store is not None
    assert agent.app.store.ask()
    for tenth in range(1, 11):
        agent.run(60.0, every=5.0)
        world.say("progress", epoch=2 + tenth / 10, step=tenth)
    agent.run(1.0)
    replay, useful = (agent.value("run_state_seconds_total", run="r", state=state) for state in ("replay", "useful"))
    assert (replay, useful) == (pytest.approx(240, abs=11), pytest.approx(301, abs=11))
    agent.close()


def test_a_training_that_begins_anew_here_after_it_finished_elsewhere_does_nothing_again(
    world: World, store: PromqlServer
) -> None:
    agent = agent_of(world, store)
    agent.ask_price()
    world.say("start", epochs=10)
    agent.run(1.0)
    stored(store, agent, own=0.1, other=2.0)
    theirs = {**mine(agent), "epochcost_machine": "n2-00000002", "part": "p2"}
    # As the rules have it: the part of the training that is over has no position in the one that runs.
    store.figures += [({"__name__": "part:epochcost_finished_timestamp_seconds:kept", **theirs}, world.wall - 60)]
    assert agent.app.store is not None
    assert agent.app.store.ask()
    for tenth in range(1, 11):
        agent.run(60.0, every=5.0)
        world.say("progress", epoch=tenth / 10, step=tenth)
    agent.run(1.0)
    assert agent.value("run_state_seconds_total", run="r", state="replay") in (None, 0)
    agent.close()


def test_a_run_that_was_elsewhere_between_two_attempts_here_is_a_part(world: World) -> None:
    agent = agent_of(world)
    training(agent)
    assert cost_file(world)["scope"] == "run"
    agent.world.say("end", status="preempted", epoch=2)
    agent.run(10.0)
    agent.world.say("start", file="again.jsonl", epochs=4)
    agent.world.say("resume", file="again.jsonl", epoch=3)
    agent.run(60.0, every=10.0)
    assert cost_file(world)["scope"] == "machine"
    assert live(agent)["part"] == "this machine's part"
    agent.close()


def test_a_run_that_goes_on_here_from_where_it_was_or_from_before_that_is_whole(world: World) -> None:
    agent = agent_of(world)
    training(agent)
    for file, epoch in (("again.jsonl", 2), ("third.jsonl", 1)):
        agent.world.say("end", file="again.jsonl" if epoch == 1 else "r.jsonl", status="preempted")
        agent.run(10.0)
        agent.world.say("start", file=file, epochs=4)
        agent.world.say("resume", file=file, epoch=epoch)
        agent.run(60.0, every=5.0)
        assert cost_file(world)["scope"] == "run"
    agent.close()


def test_with_a_store_the_dollars_are_the_whole_runs_and_this_machines_are_exact(
    world: World, store: PromqlServer
) -> None:
    agent = agent_of(world, store)
    training(agent, nodes=2)
    stored(store, agent, own=0.9, other=2.0, cluster="eu")
    assert agent.app.store is not None
    assert agent.app.store.ask()
    agent.run(1.0)
    costs, shown = cost_file(world), live(agent)
    own = costs["machine_cost_usd"]
    assert own == pytest.approx(1.0 + 6 / HOUR)
    assert costs["scope"] == "run"
    assert costs["cost_usd"] == shown["cost_usd"] == pytest.approx(own + 2.0)
    assert costs["cost_per_epoch_usd"] == shown["mean_epoch_cost_usd"] == pytest.approx(1.45)
    assert costs["projected_cost_usd"] == pytest.approx(own + 2.0 + 2.9)
    assert (shown["machines"], shown["part"], shown["machine_cost_usd"]) == (2, "", own)
    assert agent.value("collector_success", collector="store") in (1.0, None)
    agent.close()


def test_no_figure_of_a_store_enters_a_counter(world: World, store: PromqlServer) -> None:
    agent = agent_of(world, store)
    training(agent, nodes=2)
    before = agent.sum("run_cost_usd_total")
    stored(store, agent, own=0.9, other=2000.0)
    assert agent.app.store.ask()
    agent.app.sampling_loop.tick()
    assert agent.sum("run_cost_usd_total") == pytest.approx(before)
    assert agent.sum("run_state_cost_usd_total") == pytest.approx(before)
    agent.close()


def test_a_run_that_moved_here_is_whole_by_the_store_alone(world: World, store: PromqlServer) -> None:
    """It says nothing of nodes; the part on the machine before is in the store."""
    agent = agent_of(world, store)
    training(agent, start=2.0)
    stored(store, agent, own=1.0, other=3.0)
    assert agent.app.store.ask()
    agent.app.sampling_loop.tick()
    assert (cost_file(world)["scope"], cost_file(world)["machines"]) == ("run", 2)
    assert cost_file(world)["cost_usd"] == pytest.approx(4.0)
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
def test_a_store_that_lacks_something_leaves_a_part_a_part(
    world: World, store: PromqlServer, change: str, missing: str
) -> None:
    agent = agent_of(world, store)
    training(agent, nodes=2)
    stored(store, agent, own=50.0 if change == "another machine of this name" else 1.0, other=2.0)
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
    costs = cost_file(world)
    assert costs["scope"] == "machine"
    assert missing in costs["missing"]
    assert costs["cost_usd"] == pytest.approx(1.0)
    agent.close()


def test_a_run_of_the_same_name_in_another_cluster_is_another_run(world: World, store: PromqlServer) -> None:
    agent = agent_of(world, store)
    training(agent, nodes=2)
    stored(store, agent, own=1.0, other=2.0, cluster="eu")
    elsewhere = {"run": "r", "cluster": "us"}
    store.costs.append(({**elsewhere, "epochcost_machine": "n9", "part": "p9"}, 70.0))
    store.figures.append(({"__name__": "run:epochcost_cost_usd:sum", **elsewhere}, 70.0))
    assert agent.app.store.ask()
    agent.app.sampling_loop.tick()
    assert cost_file(world)["cost_usd"] == pytest.approx(3.0)
    assert cost_file(world)["machines"] == 2
    agent.close()


def test_what_is_beyond_every_figure_is_none_as_a_gap_is(world: World, store: PromqlServer) -> None:
    agent = agent_of(world, store)
    training(agent, nodes=2)
    store.body = ONE_RUN % b"Inf"
    assert agent.app.store is not None
    assert agent.app.store.ask()
    agent.run(6.0)
    costs = cost_file(world)
    assert (costs["scope"], costs["cost_usd"]) == ("machine", costs["machine_cost_usd"])
    assert "no figures for this machine's part" in costs["missing"]
    agent.close()


@pytest.mark.parametrize(
    ("answer", "says"),
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
def test_a_store_that_answers_badly_is_named_and_changes_nothing(
    world: World, store: PromqlServer, answer: dict[str, Any], says: str
) -> None:
    token = world.root / "token"
    token.write_text(SECRET)
    agent = agent_of(world, store, prometheus__bearer_token_file=str(token))
    training(agent, nodes=2)
    for name, value in answer.items():
        setattr(store, name, value)
    assert not agent.app.store.ask()
    agent.app.sampling_loop.tick()
    costs = cost_file(world)
    assert (costs["scope"], costs["cost_usd"]) == ("machine", pytest.approx(1.0))
    assert says in costs["missing"]
    assert SECRET not in json.dumps(costs)
    assert store.requests[-1][0]["Authorization"] == f"Bearer {SECRET}"
    assert agent.app.snapshot.health["store"].success is False
    assert any(problem.startswith("store: ") and says in problem for problem in agent.app.snapshot.problems)
    agent.close()


def test_an_answer_that_has_grown_old_is_no_longer_shown(world: World, store: PromqlServer) -> None:
    agent = agent_of(world, store)
    training(agent, nodes=2)
    stored(store, agent, own=1.0, other=2.0)
    assert agent.app.store.ask()
    agent.run(200.0, every=50.0)
    assert cost_file(world)["scope"] == "run"
    store.status, store.body = 503, b"down for today"
    assert not agent.app.store.ask()
    agent.run(200.0, every=50.0)
    assert cost_file(world)["scope"] == "machine"
    assert "HTTP 503" in cost_file(world)["missing"]
    agent.close()


def test_names_of_runs_are_never_part_of_the_query_language(world: World, store: PromqlServer) -> None:
    agent = agent_of(world, store)
    hostile = 'a"} or vector(1) # .*\\'
    agent.app.store._parts = {hostile: "p"}
    assert agent.app.store.ask()
    assert all(query.count('run=~"a\\"\\\\} or vector') == 0 for _, query in store.requests)
    assert all('run=~"a\\"\\\\}\\\\ or' in query for _, query in store.requests)
    agent.close()
