"""Machine and part labels of series, and where progress is counted: at /metrics of a real agent."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.agent.driven_agent import T0, DrivenAgent, SimulatedMachine

from epochcost.agent.event_order import in_order
from epochcost.model import EventKind, RunId, TrainingEvent

STATE_OF_VERSION_1 = Path(__file__).with_name("states") / "version_1.json"
PROGRESS = (
    "run_epoch", "run_epochs_total", "run_useful_epochs", "run_lost_epochs_total", "run_epochs_planned",
    "run_steps_total", "run_samples_total", "run_tokens_total", "run_epoch_seconds_sum", "run_epoch_seconds_count",
    "run_phase_seconds_total", "run_last_epoch_seconds", "run_current_epoch_seconds", "run_start_epoch",
    "run_epoch_cost_usd_count", "run_attempt_timestamp_seconds",
)  # fmt: skip
EVERYWHERE = (
    "run_seconds_total", "run_state_seconds_total", "run_state_cost_usd_total", "run_cost_usd_total",
    "run_epoch_cost_usd_sum", "run_last_epoch_cost_usd", "run_current_epoch_cost_usd", "run_gpus",
    "run_node_share_ratio", "run_info", "run_leader",
)  # fmt: skip


@pytest.fixture
def agent(machine: SimulatedMachine) -> Iterator[Callable[..., DrivenAgent]]:
    agents: list[DrivenAgent] = []

    def make(**flags: str) -> DrivenAgent:
        agents.append(DrivenAgent(machine, **{"price__usd_per_hour": "3.6", **flags}))
        agents[-1].ask_price()
        return agents[-1]

    yield make
    for one in agents:
        one.close()


def names(it: DrivenAgent) -> set[str]:
    return {name.removeprefix("epochcost_") for name, _ in it.scrape()}


def parts(it: DrivenAgent) -> dict[str, str]:
    it.app.sampling_loop.tick()
    assert it.app.snapshot is not None
    return {view.run: view.part for view in it.app.snapshot.runs}


def whole_epochs(it: DrivenAgent, file: str, first: int, last: int, **start: Any) -> None:
    """A process trains epochs of 10 s each, 5 steps of 4 samples in each of them."""
    w = it.machine
    w.write_event("start", file=file, epochs=6, **start)
    if first:
        w.write_event("resume", file=file, epoch=first, step=5 * first, samples=20 * first, tokens=100 * first)
    w.write_event("phase", file=file, phase="train", epoch=first)
    for epoch in range(first + 1, last + 1):
        it.run(5)
        at = epoch - 0.5
        w.write_event("progress", file=file, epoch=at, step=int(5 * at), samples=int(20 * at), tokens=int(100 * at))
        it.run(5)
        w.write_event("epoch_end", file=file, epoch=epoch, step=5 * epoch, samples=20 * epoch, tokens=100 * epoch)
    it.run(1)


def test_with_rank_zero_progress_is_counted_and_without_it_only_cost(agent: Callable[..., DrivenAgent]) -> None:
    it = agent()
    whole_epochs(it, "a.jsonl", 0, 2, rank=0, local_rank=0, world=16, nodes=2)
    assert set(PROGRESS) | set(EVERYWHERE) <= names(it)
    assert it.value("run_leader", run="r") == 1
    assert it.value("run_start_epoch", run="r") == 0


def test_without_rank_zero_only_cost_is_counted(agent: Callable[..., DrivenAgent]) -> None:
    it = agent()
    whole_epochs(it, "a.jsonl", 0, 2, rank=8, local_rank=0, world=16, nodes=2)
    assert not set(PROGRESS) & names(it)
    assert set(EVERYWHERE) <= names(it)
    assert it.value("run_leader", run="r") == 0
    # Every machine follows epochs, because it has to report their cost.
    assert it.value("run_epoch_cost_usd_sum", run="r") == pytest.approx(0.02, abs=1e-12)
    assert it.value("run_last_epoch_cost_usd", run="r") == pytest.approx(0.01, abs=1e-12)


@pytest.mark.parametrize(
    ("fields", "leads"),
    [
        ({}, 1),
        ({"rank": 0}, 1),
        ({"rank": 3, "world": 4}, 0),
        ({"node_rank": 0, "local_rank": 0, "nodes": 2}, 1),
        ({"node_rank": 1, "local_rank": 0, "nodes": 2}, 0),
        ({"world": 16, "nodes": 2}, 1),
    ],
)
def test_the_leader_follows_from_the_ranks_and_without_a_world_is_the_only_machine(
    agent: Callable[..., DrivenAgent], fields: dict[str, int], leads: int
) -> None:
    it = agent()
    it.machine.write_event("start", **fields)  # type: ignore[arg-type]
    it.run(2)
    assert it.value("run_leader", run="r") == leads


def test_the_launcher_of_the_ranks_does_not_count_as_a_rank(agent: Callable[..., DrivenAgent]) -> None:
    it = agent()
    it.machine.write_event("start", file="launcher.jsonl", launcher="exec")
    it.run(2)
    whole_epochs(it, "worker.jsonl", 0, 1, rank=8, local_rank=0, world=16)
    assert it.value("run_leader", run="r") == 0
    assert "run_steps_total" not in names(it)


def test_ranks_that_move_between_starts_count_the_work_done_while_rank_zero_was_here(
    agent: Callable[..., DrivenAgent],
) -> None:
    it = agent()
    whole_epochs(it, "a.jsonl", 0, 2, rank=0, world=16)
    it.machine.write_event("end", file="a.jsonl", status="failed")
    it.run(1)
    assert it.value("run_leader", run="r") == 0  # its last process has ended: another machine may lead now
    sums = {name: it.sum(name) for name in PROGRESS if name != "run_current_epoch_seconds"}
    assert (sums["run_epochs_total"], sums["run_steps_total"], sums["run_epoch_seconds_count"]) == (2, 10, 2)

    whole_epochs(it, "b.jsonl", 2, 4, rank=8, world=16)
    assert {name: it.sum(name) for name in sums} == sums
    assert "run_current_epoch_seconds" not in names(it)
    assert it.value("run_epoch_cost_usd_sum", run="r") == pytest.approx(0.04, abs=1e-12)
    it.machine.write_event("end", file="b.jsonl", status="failed")
    it.run(1)

    whole_epochs(it, "c.jsonl", 4, 5, rank=0, world=16)
    assert it.value("run_leader", run="r") == 1
    assert it.value("run_epochs_total", run="r") == 3
    assert it.value("run_epoch", run="r") == 5
    assert it.value("run_steps_total", run="r") == 15
    assert it.value("run_tokens_total", run="r") == 300
    assert it.value("run_epoch_seconds_count", run="r") == it.value("run_epoch_cost_usd_count", run="r") == 3
    assert it.value("run_epoch_seconds_sum", run="r") == pytest.approx(30, abs=1e-6)
    assert it.value("run_start_epoch", run="r") == 0
    assert it.value("run_epoch_cost_usd_sum", run="r") == pytest.approx(0.05, abs=1e-12)


def test_counts_of_ranks_outlive_a_kill(machine: SimulatedMachine, agent: Callable[..., DrivenAgent]) -> None:
    it = agent()
    whole_epochs(it, "a.jsonl", 0, 2, rank=0, world=16)
    machine.write_event("end", file="a.jsonl", status="failed")
    whole_epochs(it, "b.jsonl", 2, 3, rank=8, world=16)
    it.save()
    before, part = {name: it.sum(name) for name in PROGRESS}, parts(it)
    it.kill()
    it = agent()
    it.run(1)
    assert {name: it.sum(name) for name in PROGRESS} == before
    assert parts(it) == part


def test_a_part_begins_where_its_run_resumed(agent: Callable[..., DrivenAgent]) -> None:
    it = agent()
    whole_epochs(it, "a.jsonl", 3, 5)
    assert it.value("run_start_epoch", run="r") == 3
    assert it.value("run_epochs_total", run="r") == 2
    it.machine.write_event("end", file="a.jsonl", status="failed")
    whole_epochs(it, "b.jsonl", 1, 2)  # from an older checkpoint
    assert it.value("run_start_epoch", run="r") == 1


def test_a_part_stays_with_its_ledger_and_after_its_loss_another_begins(
    machine: SimulatedMachine, agent: Callable[..., DrivenAgent]
) -> None:
    it = agent()
    machine.write_event("start", run="a")
    machine.write_event("start", run="b")
    it.run(3)
    first = parts(it)
    assert len(set(first.values())) == 2  # both began in one second
    it.save()
    it.kill()
    it = agent()
    it.run(1)
    assert parts(it) == first
    it.kill()
    shutil.rmtree(machine.root / "state")
    for file in machine.events.glob("*.jsonl"):
        file.unlink()
    it = agent()
    machine.write_event("start", run="a", file="a2.jsonl")
    it.run(1)
    assert parts(it)["a"] not in first.values()


def test_launcher_fields_become_metadata_of_the_run(agent: Callable[..., DrivenAgent]) -> None:
    it = agent()
    it.machine.write_event("start", job="4711_2", launcher="slurm", attempt=3, nodes=2, world=16, experiment="lm")
    it.machine.write_event("start", file="exec.jsonl", launcher="exec")
    it.run(1)
    ((_, labels),) = [series for series in it.scrape() if series[0] == "epochcost_run_info"]
    assert dict(labels) == {
        "run": "r", "experiment": "lm", "framework": "", "nodes": "2", "world": "16", "launcher": "slurm",
        "launcher_job": "4711_2", "attempt": "3", "team": "", "owner_user": "",
        "slurm_account": "", "slurm_partition": "", "slurm_job_id": "",
    }  # fmt: skip


def test_without_a_launchers_count_attempts_are_those_seen_on_this_machine(
    agent: Callable[..., DrivenAgent],
) -> None:
    it = agent()
    for number in (1, 2):
        it.machine.write_event("start", file=f"{number}.jsonl")
        it.run(1)
        ((_, labels),) = [series for series in it.scrape() if series[0] == "epochcost_run_info"]
        assert dict(labels)["attempt"] == str(number)
        it.machine.write_event("end", file=f"{number}.jsonl", status="failed")
        it.run(1)


def test_the_state_of_the_previous_version_is_loaded(
    machine: SimulatedMachine, agent: Callable[..., DrivenAgent]
) -> None:
    (machine.root / "state").mkdir()
    shutil.copy(STATE_OF_VERSION_1, machine.root / "state" / "agent-state.json")
    machine.advance(80)
    it = agent()
    it.run(1)
    assert it.value("run_cost_usd_total", run="done") == pytest.approx(0.02, abs=1e-12)
    assert it.value("run_cost_usd_total", run="going") == pytest.approx(0.054, abs=1e-9)  # it was running all the time
    assert it.value("run_epochs_total", run="going") == 1.75
    assert it.value("run_steps_total", run="going") == 17
    assert it.value("run_epoch_seconds_count", run="done") == it.value("run_epoch_cost_usd_count", run="done") == 2
    assert it.value("run_start_epoch", run="going") == 0
    assert (it.value("run_leader", run="going"), it.value("run_leader", run="done")) == (1, 0)
    assert len(set(parts(it).values())) == 2
    assert all(parts(it).values())


def test_state_that_was_saved_on_another_machine_is_set_aside_with_the_reason(
    machine: SimulatedMachine, agent: Callable[..., DrivenAgent], caplog: pytest.LogCaptureFixture
) -> None:
    it = agent()
    machine.write_event("start")
    it.run(2)
    it.save()
    it.kill()
    path = machine.root / "state" / "agent-state.json"
    state = json.loads(path.read_text())
    assert state["machine"]["name"] == it.app.machine.name
    if not state["machine"]["ids"]:
        pytest.skip("nothing tells this machine from another")
    state["machine"] |= {"name": "other-1", "ids": dict.fromkeys(state["machine"]["ids"], "00000000")}
    path.write_text(json.dumps(state))
    it = agent()
    assert "it belongs to machine other-1, but this is n1-" in caplog.text
    assert list(path.parent.glob("agent-state.json.bad-*"))
    assert it.app.machine.name.startswith("n1-")


def test_a_machine_keeps_its_name_as_long_as_its_state(
    machine: SimulatedMachine, agent: Callable[..., DrivenAgent]
) -> None:
    it = agent()
    it.run(1)
    it.save()
    it.kill()
    name = it.app.machine.name
    assert agent(node__name="renamed").app.machine.name == name
    assert machine.wall > T0


@pytest.mark.parametrize("invalid", [{"name": 4}, {"name": "a\nb", "ids": {}}, {"name": "", "ids": {}}, [], 7])
def test_an_invalid_saved_name_is_set_aside(
    machine: SimulatedMachine, agent: Callable[..., DrivenAgent], caplog: pytest.LogCaptureFixture, invalid: object
) -> None:
    it = agent()
    it.run(1)
    it.save()
    it.kill()
    path = machine.root / "state" / "agent-state.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "machine": invalid}))
    agent()
    assert "cannot be used and is set aside" in caplog.text


def figures(it: DrivenAgent) -> dict[str, float | None]:
    names = ("run_epoch", "run_start_epoch", "run_epochs_total", "run_cost_usd_total", "run_epoch_cost_usd_sum",
             "run_epoch_seconds_count")  # fmt: skip
    return {name: it.value(name, run="r") for name in names}


def test_a_run_that_moved_to_another_machine_is_the_sum_of_its_parts(tmp_path: Path) -> None:
    first, second = (DrivenAgent(SimulatedMachine(tmp_path / name), price__usd_per_hour="3.6") for name in ("a", "b"))
    for it in (first, second):
        it.ask_price()
        it.run(1)
    first.machine.write_event("start", epochs=8)
    first.machine.write_event("phase", phase="train", epoch=0)
    for epoch in range(1, 7):
        first.run(10)
        first.machine.write_event("epoch_end", epoch=epoch)
    first.run(4)
    first.machine.write_event("progress", epoch=6.4)
    first.run(1)
    first.machine.write_event("end", status="preempted", epoch=6.4)
    first.run(1)
    second.machine.write_event("start", epochs=8)
    second.machine.write_event("resume", epoch=5)
    second.machine.write_event("phase", phase="train", epoch=5)
    for epoch in range(6, 9):
        second.run(10)
        second.machine.write_event("epoch_end", epoch=epoch)
    second.run(1)
    parts = [figures(it) for it in (first, second)]
    assert [part["run_start_epoch"] for part in parts] == [0, 5]
    executed = sum(part["run_epochs_total"] or 0 for part in parts)
    useful = max(part["run_epoch"] or 0 for part in parts) - min(part["run_start_epoch"] or 0 for part in parts)
    assert (executed, useful, executed - useful) == pytest.approx((9.4, 8, 1.4))
    assert sum(part["run_cost_usd_total"] or 0 for part in parts) == pytest.approx(0.065 + 0.031, abs=1e-12)
    dollars, count = (
        sum(part[f"run_epoch_{name}"] or 0 for part in parts) for name in ("cost_usd_sum", "seconds_count")
    )
    assert (dollars, count) == (pytest.approx(0.090, abs=1e-12), 9)
    assert [it.value("run_leader", run="r") for it in (first, second)] == [0, 1]
    for it in (first, second):
        it.close()


def test_two_machines_at_once_count_progress_once_and_cost_on_both(tmp_path: Path) -> None:
    both = [DrivenAgent(SimulatedMachine(tmp_path / name), price__usd_per_hour="3.6") for name in ("a", "b")]
    for rank, it in zip((0, 8), both, strict=True):
        it.ask_price()
        it.run(1)
        whole_epochs(it, "r.jsonl", 0, 3, rank=rank, world=16, nodes=2, local_rank=0)
    assert [it.value("run_epochs_total", run="r") for it in both] == [3, None]
    assert [it.value("run_epoch_cost_usd_sum", run="r") for it in both] == [pytest.approx(0.030, abs=1e-12)] * 2
    for it in both:
        it.close()


def test_a_process_that_replaces_a_dead_one_starts_after_its_death() -> None:
    def reported_event(kind: EventKind, t: float, writer: str, run: str = "r") -> TrainingEvent:
        return TrainingEvent(kind, t, RunId(run), writer)

    start, gone, progress = EventKind.START, EventKind.GONE, EventKind.PROGRESS
    events = [
        reported_event(gone, 9, "a"),
        reported_event(start, 5, "b"),
        reported_event(progress, 6, "b"),
        reported_event(progress, 4, "a"),
        reported_event(start, 3, "x", "s"),
    ]
    assert [(e.kind.value, e.t, e.writer) for e in in_order(events)] == [
        ("start", 3, "x"), ("progress", 4, "a"), ("gone", 5, "a"), ("start", 5, "b"), ("progress", 6, "b")
    ]  # fmt: skip
    beside = [
        reported_event(gone, 9, "a"),
        reported_event(start, 5, "b"),
        reported_event(progress, 6, "a"),
    ]  # which was alive after that start
    assert [(e.kind.value, e.t) for e in in_order(beside)] == [("start", 5), ("progress", 6), ("gone", 9)]


def test_the_position_of_a_finished_training_is_exported_and_later_epochs_continue_from_it(
    machine: SimulatedMachine, agent: Callable[..., DrivenAgent]
) -> None:
    it = agent()
    whole_epochs(it, "first.jsonl", 0, 2)
    it.app.sampling_loop.tick()
    assert it.value("run_finished_epochs", run="r") is None
    machine.write_event("end", file="first.jsonl", status="finished")
    it.app.sampling_loop.tick()
    assert it.value("run_finished_epochs", run="r") == 2
    assert it.value("run_finished_timestamp_seconds", run="r") == pytest.approx(machine.wall)
    assert it.value("run_before_epochs", run="r") is None
    started_at = machine.wall + 10
    it.run(10.0)
    whole_epochs(it, "second.jsonl", 0, 1)
    it.app.sampling_loop.tick()
    assert it.value("run_before_epochs", run="r") == 2
    assert it.value("run_attempt_timestamp_seconds", run="r") == pytest.approx(started_at, abs=1)
    assert it.value("run_epoch", run="r") == 3


def test_epochs_that_rank_zero_ended_elsewhere_are_not_counted_here_when_it_comes(
    agent: Callable[..., DrivenAgent],
) -> None:
    it = agent()
    whole_epochs(it, "a.jsonl", 0, 2, rank=1, world=2)
    it.machine.write_event("end", file="a.jsonl", status="preempted")
    it.run(1)
    whole_epochs(it, "b.jsonl", 2, 4, rank=0, world=1)
    assert it.value("run_epoch_seconds_count", run="r") == 2
    assert it.value("run_epoch_seconds_sum", run="r") == 20
    assert it.value("run_epoch_cost_usd_count", run="r") == 2
    assert it.value("run_epochs_total", run="r") == 2
