"""A state file of valid JSON with impossible values is set aside entirely; a state that is loaded is consistent."""

from __future__ import annotations

import copy
import json
import logging
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.agent.driven_agent import DrivenAgent, SimulatedMachine

State = dict[str, Any]
PRICE = 3.6
FLAGS = {"price__usd_per_hour": str(PRICE)}


def agent_with_history(root: Path) -> tuple[SimulatedMachine, State]:
    """A machine whose agent has seen two runs, an attempt, an end, epochs and a pause, and what it saved of it."""
    machine = SimulatedMachine(root)
    it = DrivenAgent(machine, **FLAGS)
    it.ask_price()
    it.run(20)
    for run in ("a", "b"):
        machine.write_event("start", run=run, epochs=4, experiment="e", nodes=1, world=1)
        machine.write_event("phase", run=run, phase="train", epoch=0)
    for epoch in (1, 2):
        it.run(5)
        machine.write_event("progress", run="a", step=epoch * 10, epoch=epoch, samples=epoch * 100)
        it.run(3)
        machine.write_event("epoch_end", run="a", epoch=epoch)
    it.run(2)
    machine.write_event("end", run="b", status="finished")
    it.run(4, utilization=0.3)
    it.save()
    it.kill()
    return machine, json.loads((root / "state" / "agent-state.json").read_text())


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> tuple[SimulatedMachine, State]:
    return agent_with_history(tmp_path_factory.mktemp("lived"))


class Resumed:
    """An agent that began with ``state`` on the machine of ``before``, a second later."""

    def __init__(self, before: tuple[SimulatedMachine, State], root: Path, text: str) -> None:
        was = before[0]
        shutil.copytree(was.root / "events", root / "events", copy_function=shutil.copy2)
        for path in was.events.glob("*.jsonl"):  # a file is identified by its inode
            text = text.replace(f"[{path.stat().st_ino}, ", f"[{(root / 'events' / path.name).stat().st_ino}, ")
        self.machine = SimulatedMachine(root, wall=was.wall + 1, mono=was.mono + 1, busy=was.busy, idle=was.idle + 1)
        (root / "state").mkdir()
        self.file = root / "state" / "agent-state.json"
        self.file.write_text(text)
        self.agent = DrivenAgent(self.machine, **FLAGS)
        self.agent.ask_price()

    @property
    def is_set_aside(self) -> bool:
        return any(path.name.startswith("agent-state.json.bad-") for path in self.file.parent.iterdir())


@pytest.fixture
def resumed(before: tuple[SimulatedMachine, State], tmp_path: Path) -> Iterator[Callable[[State], Resumed]]:
    agents: list[Resumed] = []

    def make(state: State) -> Resumed:
        agents.append(Resumed(before, tmp_path, json.dumps(state)))
        return agents[-1]

    yield make
    for one in agents:
        one.agent.close()


def ledger(state: State) -> State:
    document: State = state["meter"]["ledger"]
    return document


def shifted(state: State, seconds: float) -> None:
    ledger(state)["cursor"] += seconds


IMPOSSIBLE: dict[str, Callable[[State], object]] = {
    "a cursor a day ahead": lambda s: shifted(s, 86400.0),
    "a cursor a day back, and spans after it": lambda s: shifted(s, -86400.0),
    "a clock a day ahead": lambda s: s["clock"].update(offset=s["clock"]["offset"] + 86400.0),
    "a clock of the stone age": lambda s: s["clock"].update(offset=-1e9),
    "saved later in this boot than now": lambda s: s["clock"].update(mono=s["clock"]["mono"] + 500.0),
    "a writer that spoke tomorrow": lambda s: s["clock"]["writers"].update(x=[None, s["clock"]["offset"] + 1e6]),
    "a boot that the clock does not know": lambda s: s.update(boot_id=None),
    "jumps that were taken back": lambda s: s["clock"].update(jumps=-1),
    "a price as text": lambda s: ledger(s).update(price=[[None, "3.6"]]),
    "a price of nothing": lambda s: ledger(s).update(price=[[None, 0.0]]),
    "a price below nothing": lambda s: ledger(s).update(price=[[None, -3.6]]),
    "prices in no order": lambda s: ledger(s).update(price=[[5.0, 1.0], [4.0, 2.0]]),
    "an infinite price": lambda s: ledger(s).update(price=[[None, math.inf]]),
    "no layout": lambda s: ledger(s).update(layout=[]),
    "a device twice": lambda s: ledger(s).update(layout=ledger(s)["layout"] * 2),
    "a device that weighs less than nothing": lambda s: ledger(s).update(layout=[["cpu", "cpu", -1.0]]),
    "a span without length": lambda s: ledger(s)["book"]["spans"].insert(0, [5.0, 5.0, [[None, "vacant", 3.0]]]),
    "a span that ends before it begins": lambda s: ledger(s)["book"]["spans"][0].__setitem__(1, 1.0),
    "spans that overlap": lambda s: ledger(s)["book"]["spans"].append(ledger(s)["book"]["spans"][0]),
    "seconds below nothing": lambda s: ledger(s)["book"]["spans"][0][2][0].__setitem__(2, -500.0),
    "more seconds than the span has": lambda s: ledger(s)["book"]["spans"][0][2][0].__setitem__(2, 500.0),
    "a state that there is not": lambda s: ledger(s)["book"]["spans"][0][2][0].__setitem__(1, "wasted"),
    "folded dollars below nothing": lambda s: ledger(s)["book"]["folded"].__setitem__(1, [[None, "vacant", -1.0]]),
    "folded dollars of no seconds": lambda s: ledger(s)["book"]["folded"].__setitem__(1, [[None, "vacant", 5.0]]),
    "settled NaN": lambda s: s["meter"]["settled"].update({"node/vacant": math.nan}),
    "a fortune settled": lambda s: s["meter"]["settled"].update({"node/vacant": 1e9}),
    "seconds of a device below nothing": lambda s: ledger(s)["devices"]["cpu"][0].update(vacant=-1.0),
    "more use than seconds": lambda s: ledger(s)["devices"]["cpu"].__setitem__(1, 1e9),
    "counts below nothing": lambda s: s["meter"]["applied"].update(accepted=-5),
    "a boot tomorrow": lambda s: s["meter"].update(boot_ts=s["meter"]["boot_ts"] + 1e6),
    "no meter": lambda s: s.pop("meter"),
    "no clock": lambda s: s.pop("clock"),
    "a file read below nothing": lambda s: s["files"]["files"][0].__setitem__(3, -5),
    "a file of a run that is a number": lambda s: s["files"]["files"][0].__setitem__(9, 7),
    "too few words for what it is priced as": lambda s: s.update(priced_as=["aws"]),
}

IMPOSSIBLE_RUN: dict[str, Callable[[State], object]] = {
    "a process that ended before it began": lambda s: a_member(s).__setitem__(1, 1e9),
    "a process that begins tomorrow": lambda s: a_member(s).__setitem__(0, a_member(s)[0] + 86400),
    "a process too short": lambda s: ledger(s)["runs"]["a"]["members"].update(x=[1.0]),
    "a share of two nodes": lambda s: ledger(s)["runs"]["a"]["share"].__setitem__(1, [2.0]),
    "an epoch that ended tomorrow": lambda s: an_epoch(s).__setitem__(2, an_epoch(s)[2] + 86400),
    "an epoch of text": lambda s: an_epoch(s).__setitem__(0, "first"),
    "a position below nothing": lambda s: ledger(s)["runs"]["a"]["epochs"].update(position=-2.0),
    "work below nothing": lambda s: ledger(s)["runs"]["a"]["epochs"].update(executed=-2.0),
    "a batch below nothing": lambda s: ledger(s)["runs"]["a"]["facts"].update(batch_size=-20),
    "machines below nothing": lambda s: ledger(s)["runs"]["a"]["facts"].update(nodes=-1),
    "a budget as text": lambda s: ledger(s)["runs"]["a"]["facts"].update(budget_usd="much"),
    "a record that is a list": lambda s: ledger(s)["runs"].update(a=[]),
    "no record at all": lambda s: ledger(s)["runs"].update(b=None),
    "both of them": lambda s: ledger(s)["runs"].update(a=1, b={}),
    "no share": lambda s: ledger(s)["runs"]["a"].pop("share"),
    "a user that is a fraction": lambda s: ledger(s)["runs"]["a"].update(user=9007199254740992.0),
    "a user by name": lambda s: ledger(s)["runs"]["a"].update(user="ann"),
}


def a_member(state: State) -> list[Any]:
    return next(iter(ledger(state)["runs"]["b"]["members"].values()))  # type: ignore[no-any-return]


def an_epoch(state: State) -> list[Any]:
    return ledger(state)["runs"]["a"]["epochs"]["finished"][0]  # type: ignore[no-any-return]


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_an_impossible_state_is_set_aside_entirely_with_the_reason(
    before: tuple[SimulatedMachine, State],
    resumed: Callable[[State], Resumed],
    what: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    state = copy.deepcopy(before[1])
    IMPOSSIBLE[what](state)
    it = resumed(state)
    assert it.is_set_aside
    (messages,) = (r.getMessage() for r in caplog.records if "is set aside as" in r.getMessage())
    assert messages.rpartition(": ")[2].strip()
    it.agent.run(6)
    check_invariants(
        it, caplog, seconds=5.0, accounted=29.0
    )  # from the first event that is found, 20 s after the first agent


@pytest.mark.parametrize("what", IMPOSSIBLE_RUN)
def test_only_the_record_of_an_impossible_run_is_set_aside_and_rebuilt_from_its_events(
    before: tuple[SimulatedMachine, State],
    resumed: Callable[[State], Resumed],
    what: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    state = copy.deepcopy(before[1])
    IMPOSSIBLE_RUN[what](state)
    it = resumed(state)
    (aside,) = (path for path in it.file.parent.iterdir() if path.name.startswith("agent-state.json.bad-"))
    runs_set_aside = json.loads(aside.read_text())["runs"]
    assert all(
        json.dumps(one["record"]) == json.dumps(ledger(state)["runs"][run]) for run, one in runs_set_aside.items()
    )
    messages = [r.getMessage() for r in caplog.records if "is set aside in" in r.getMessage()]
    assert len(messages) == len(runs_set_aside)
    assert all(one["reason"] for one in runs_set_aside.values())
    it.agent.run(5)
    assert it.agent.sum("node_seconds_total") == pytest.approx(19 + 16 + 2 + 4 + 1 + 5)
    assert it.agent.sum("node_cost_usd_total") == pytest.approx(47 * PRICE / 3600)
    check_invariants(it, caplog, seconds=3.0)
    for run in ("a", "b"):
        assert it.agent.value("run_seconds_total", run=run) == pytest.approx(16 + 2 + 4 + 1 + 8 if run == "a" else 18)
    assert it.agent.value("run_epochs_total", run="a") == 2
    assert it.agent.value("run_epoch_cost_usd_sum", run="a") == pytest.approx(dollars_of_two_epochs(before))


def test_an_impossible_run_whose_file_has_other_runs_is_set_aside_with_everything(
    before: tuple[SimulatedMachine, State], resumed: Callable[[State], Resumed]
) -> None:
    state = copy.deepcopy(before[1])
    runs = ledger(state)["runs"]
    (member,) = runs["a"]["members"]
    runs["b"]["members"][member] = next(iter(runs["b"]["members"].values()))
    runs["a"]["share"] = "half"
    it = resumed(state)
    it.agent.run(1)
    assert it.is_set_aside
    assert it.agent.sum("node_seconds_total") < 40


def dollars_of_two_epochs(before: tuple[SimulatedMachine, State]) -> float:
    """Dollars of run a while run b shared the machine."""
    epochs = ledger(before[1])["runs"]["a"]["epochs"]["finished"]
    return math.fsum((end - start) / 2 * PRICE / 3600 for _, start, end, *_ in epochs)


def test_the_state_of_a_killed_agent_is_loaded(
    before: tuple[SimulatedMachine, State], resumed: Callable[[State], Resumed], caplog: pytest.LogCaptureFixture
) -> None:
    it = resumed(before[1])
    assert not it.is_set_aside
    it.agent.run(5)
    assert it.agent.sum("node_seconds_total") == pytest.approx(19 + 16 + 2 + 4 + 1 + 5)
    assert it.agent.sum("node_cost_usd_total") == pytest.approx(47 * PRICE / 3600)
    assert it.agent.value("run_epochs_total", run="a") == 2


def test_a_state_without_a_saved_clock_is_loaded(
    before: tuple[SimulatedMachine, State], resumed: Callable[[State], Resumed]
) -> None:
    state = copy.deepcopy(before[1])
    del state["clock"]["mono"]
    assert not resumed(state).is_set_aside


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.sampled_from([math.nan, math.inf, -math.inf, -1.0, 0, 1e9, 1.7e9, 1e12, 4e15]),
    st.text(max_size=8),
    st.sampled_from(["vacant", "finished", "train", "../x", "cpu"]),
    st.lists(st.floats(), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


def paths_in(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every path in a JSON document."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from paths_in(inner, (*path, key))


@st.composite
def mutations(draw: st.DrawFn, state: State) -> State:
    """``state`` with one to three paths_in replaced, removed, moved, reversed or doubled."""
    mutated = copy.deepcopy(state)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(sorted(paths_in(mutated), key=repr)))
        holder = mutated
        for key in path[:-1]:
            holder = holder[key]
        value = holder[path[-1]]
        kind = draw(st.sampled_from(["replace", "remove", "move", "turn", "double"]))
        if kind == "remove":
            del holder[path[-1]]
        elif kind == "move" and isinstance(value, (int, float)) and not isinstance(value, bool):
            holder[path[-1]] = value + draw(st.sampled_from([-86400.0, -30.0, -0.001, 0.001, 30.0, 86400.0, 1e9]))
        elif kind == "turn" and isinstance(value, (int, float)):
            holder[path[-1]] = -value
        elif kind == "double" and isinstance(value, list):
            holder[path[-1]] = value * 2
        else:
            holder[path[-1]] = draw(ODD)
    return mutated


def check_invariants(
    it: Resumed, caplog: pytest.LogCaptureFixture, seconds: float, accounted: float | None = None
) -> None:
    """Every invariant of an agent that has ticked for ``seconds``."""
    assert not [r.getMessage() for r in caplog.records if r.exc_info]
    samples = it.agent.scrape()
    bad = {key: v for key, v in samples.items() if not math.isfinite(v) or (v < -1e-9 and "provisional" not in key[0])}
    assert not bad
    assert it.agent.value("sample_timestamp_seconds") == pytest.approx(it.machine.wall, abs=61)
    total = it.agent.sum("node_seconds_total")
    if accounted is not None:
        assert total == pytest.approx(accounted)
        assert it.agent.sum("node_cost_usd_total") == pytest.approx(accounted * PRICE / 3600)
    dollars, was = it.agent.sum("node_cost_usd_total"), it.agent.sum("node_seconds_total")
    it.agent.run(seconds)
    assert it.agent.sum("node_seconds_total") == pytest.approx(was + seconds)
    assert it.agent.sum("node_cost_usd_total") >= dollars - 1e-9
    assert not [r.getMessage() for r in caplog.records if r.exc_info]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_a_mutated_state_is_rejected_or_all_invariants_hold_afterwards(
    before: tuple[SimulatedMachine, State],
    tmp_path_factory: pytest.TempPathFactory,
    caplog: pytest.LogCaptureFixture,
    data: st.DataObject,
) -> None:
    caplog.clear()
    caplog.set_level(logging.WARNING, "epochcost")
    state = data.draw(mutations(before[1]))
    it = Resumed(before, tmp_path_factory.mktemp("mutated"), json.dumps(state))
    try:
        it.agent.run(3)
        check_invariants(it, caplog, seconds=4.0)
        it.agent.save()
    finally:
        it.agent.close()
        shutil.rmtree(it.machine.root)
