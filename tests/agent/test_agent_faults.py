"""Faults around an agent and their handling: a clear error, no data lost, nothing else affected."""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from tests.agent.driven_agent import DrivenAgent, SimulatedMachine

from epochcost.agent.agent_memory import pause_after_saving
from epochcost.agent.agent_state_file import StateError, StateFile
from epochcost.agent.collectors import collectors
from epochcost.guarded_collector import Guarded
from epochcost.ledger import Ledger

log = logging.getLogger("test")


@pytest.fixture
def it(machine: SimulatedMachine) -> Iterator[DrivenAgent]:
    one = DrivenAgent(machine, price__usd_per_hour="3.6")
    one.ask_price()
    yield one
    one.close()


def test_a_damaged_state_is_set_aside_and_the_agent_starts_fresh(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for content in (b"{", b"\xff\xfe", b"[]", b'{"version": 99}', b'{"version": 1, "meter": {}}'):
        state = tmp_path / "state"
        state.mkdir(exist_ok=True)
        (state / "agent-state.json").write_bytes(content)
        caplog.clear()
        one = DrivenAgent(SimulatedMachine(tmp_path))
        one.run(1)
        one.close()
        assert any(path.name.startswith("agent-state.json.bad-") for path in state.iterdir()), content
        assert "set aside" in caplog.text
        for path in state.iterdir():
            path.unlink()


def test_a_state_with_nonsense_numbers_is_not_loaded_in_part(tmp_path: Path) -> None:
    machine = SimulatedMachine(tmp_path)
    first = DrivenAgent(machine, price__usd_per_hour="3.6")
    first.ask_price()
    first.run(10)
    first.save()
    first.kill()
    path = tmp_path / "state" / "agent-state.json"
    state = json.loads(path.read_text())
    state["files"] = {"v": 1, "files": [{"inode": "nonsense"}]}
    path.write_text(json.dumps(state))
    second = DrivenAgent(machine, price__usd_per_hour="3.6")
    second.run(5)
    assert second.sum("node_seconds_total") == pytest.approx(4)  # opened at its first tick
    second.close()


def test_a_second_agent_on_the_same_state_is_rejected_by_name(it: DrivenAgent, tmp_path: Path) -> None:
    pid = os.fork()
    if pid == 0:  # another process, because a process does not lock itself out
        try:
            StateFile(tmp_path / "state")
        except StateError as err:
            os._exit(7 if "another epochcost agent" in str(err) else 8)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


def test_a_state_directory_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("not a directory")
    with pytest.raises(StateError, match=r"state: cannot keep the agent's state here"):
        StateFile(tmp_path / "state")


def test_an_unwritable_state_is_logged_and_metering_continues(it: DrivenAgent, tmp_path: Path) -> None:
    it.run(5)
    state = tmp_path / "state"
    (state / "agent-state.json").unlink(missing_ok=True)
    (state / "agent-state.json").mkdir()  # blocks the new file
    it.save()
    it.run(5)
    assert it.value("collector_success", collector="state") == 0
    assert it.sum("node_seconds_total") == pytest.approx(9)
    assert any("state" in problem for problem in it.app.snapshot.problems)  # type: ignore[union-attr]


@pytest.mark.parametrize(("took", "pause"), [(0.0, 5.0), (0.0004, 5.0), (0.02, 20.0), (3.0, 60.0)])
def test_a_state_that_takes_long_to_save_is_saved_less_often(took: float, pause: float) -> None:
    assert pause_after_saving(took) == pytest.approx(pause)


def test_one_failing_collector_fails_neither_the_scrape_nor_the_others(it: DrivenAgent) -> None:
    it.run(2)

    class Broken:
        def collect(self) -> Iterator[object]:
            yield next(iter(collectors(lambda: it.app.snapshot)["node"].collect()))  # type: ignore[arg-type,return-value]
            raise RuntimeError("half-way")

    registry = CollectorRegistry(auto_describe=False)
    guarded = Guarded(Broken(), "broken", log)  # type: ignore[arg-type]
    registry.register(guarded)  # type: ignore[arg-type]
    registry.register(collectors(lambda: it.app.snapshot)["own"])  # type: ignore[arg-type,return-value]
    text = generate_latest(registry).decode()
    assert "epochcost_build_info" in text
    assert "epochcost_node_info" not in text
    assert guarded.error == "RuntimeError: half-way"


def test_a_row_that_cannot_be_built_affects_no_other_and_is_reported(
    it: DrivenAgent, machine: SimulatedMachine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for run in ("bad", "good"):
        machine.write_event("start", run=run, epochs=3)
        machine.write_event("phase", run=run, phase="train", epoch=0)
    it.run(3)
    for run in ("bad", "good"):
        machine.write_event("epoch_end", run=run, epoch=1)
    it.run(2)
    complete = it.scrape()
    assert it.value("collector_success", collector="metrics_run") == 1
    snapshot = it.app.snapshot
    assert snapshot is not None
    (bad,) = (run for run in snapshot.runs if run.run == "bad")
    assert bad.settled is not None
    settled = replace(bad.settled, epochs_usd="much")  # type: ignore[arg-type]
    bad_run = replace(bad, seconds="many", settled=settled)  # type: ignore[arg-type]
    node = replace(snapshot.node, unpriced_seconds="some")  # type: ignore[arg-type]
    other_runs = tuple(run for run in snapshot.runs if run.run != "bad")
    it.app.sampling_loop._snapshot = replace(snapshot, runs=(bad_run, *other_runs), node=node)
    missing = complete.keys() - it.scrape().keys()
    assert {(name, dict(labels).get("run")) for name, labels in missing} == {
        ("epochcost_run_seconds_total", "bad"),
        ("epochcost_run_epoch_cost_usd_sum", "bad"),
        ("epochcost_run_epoch_cost_usd_count", "bad"),
        ("epochcost_node_unpriced_seconds", None),
    }
    for collector, success in {"run": 0, "node": 0, "epoch": 0, "gpu": 1, "owner": 1}.items():
        assert it.value("collector_success", collector=f"metrics_{collector}") == success
    assert "some of its metrics are absent: epochcost_run_seconds_total: ValueError: could not convert" in caplog.text
    it.app.sampling_loop._snapshot = snapshot
    it.scrape()
    assert it.value("collector_success", collector="metrics_run") == 1


def test_a_scrape_before_the_first_sample_is_not_an_error(it: DrivenAgent, caplog: pytest.LogCaptureFixture) -> None:
    assert it.scrape() == {}
    assert not caplog.records
    it.run(2)
    assert it.scrape()


def test_a_machine_whose_proc_cannot_be_read_is_unknown_and_never_idle(it: DrivenAgent) -> None:
    it.run(3)
    (it.machine.proc / "stat").write_text("nonsense\n")
    until = it.machine.wall + 5
    while it.machine.wall < until:
        it.machine.wall += 1
        it.machine.mono += 1
        it.app.sampling_loop.tick()
    assert it.value("collector_success", collector="host") == 0
    assert it.value("node_cpu_utilization_ratio") is None
    assert it.value("node_seconds_total", state="unknown") == pytest.approx(5)
    assert any("host" in problem for problem in it.app.snapshot.problems)  # type: ignore[union-attr]


def test_hostile_run_ids_become_labels_that_prometheus_can_read(it: DrivenAgent) -> None:
    it.run(1)
    for run in ("../../etc/passwd", 'quote"\\', "line\nbreak", "x" * 5000, "\u202e rtl", ""):
        it.machine.write_event("start", run=run, file=f"{abs(hash(run))}.jsonl")
    it.run(2)
    runs = {dict(labels)["run"] for (name, labels) in it.scrape() if name == "epochcost_run_cost_usd_total"}
    assert len(runs) == 5  # the empty id is rejected
    assert all(len(run) <= 120 and "\n" not in run and "/" not in run for run in runs)
    assert it.value("progress_events_total", result="malformed") == 1
    assert not (it.machine.root / "etc").exists()


def test_bad_lines_are_counted_and_the_other_runs_are_exact(it: DrivenAgent) -> None:
    it.run(1)
    it.machine.write_event("start", run="good")
    it.machine.write_event("phase", run="good", phase="train", epoch=0)
    bad = it.machine.events / "bad.jsonl"
    bad.write_bytes(
        b'{"v":1,"ev":"start"\n' + b"x" * 10_000_000 + b"\n" + os.urandom(100_000) + b"\n"
        b'{"v":1,"ev":"progress","ts":1700000001,"run":"b","epoch":-1}\n{"v":1,"ev":"progress","ts":NaN,"run":"b"}\n'
        b'{"v":7,"ev":"start","ts":1700000001,"run":"b"}\n'
    )
    it.run(10)
    it.machine.write_event("epoch_end", run="good", epoch=1)
    it.run(2)
    assert it.value("run_last_epoch_cost_usd", run="good") == pytest.approx(0.010, abs=1e-12)
    assert it.value("progress_events_total", result="malformed") >= 3  # type: ignore[operator]
    assert it.value("progress_events_total", result="too_long") >= 1  # type: ignore[operator]
    assert it.value("progress_events_total", result="unknown_version") == 1


@pytest.mark.parametrize("epoch", ["-1", "NaN", "Infinity", "1e999", "true", '"one"'])
def test_an_impossible_epoch_is_counted_as_bad_and_the_run_continues(it: DrivenAgent, epoch: str) -> None:
    it.run(1)
    it.machine.write_event("start")
    it.machine.write_event("phase", phase="train", epoch=0)
    it.run(5)
    with (it.machine.events / "r.jsonl").open("a") as out:
        out.write(f'{{"v":1,"ev":"epoch_end","ts":{it.machine.wall},"run":"r","epoch":{epoch}}}\n')
    it.run(5)
    it.machine.write_event("epoch_end", epoch=1)
    it.run(1)
    assert it.value("progress_events_total", result="malformed") == 1
    assert it.value("run_epoch", run="r") == 1
    assert it.value("run_last_epoch_cost_usd", run="r") == pytest.approx(0.010, abs=1e-12)


def test_two_processes_with_the_same_run_id_are_one_run_that_is_charged_once(it: DrivenAgent) -> None:
    it.run(1)
    for file in ("one.jsonl", "two.jsonl"):
        it.machine.write_event("start", run="same", file=file)
        it.machine.write_event("phase", run="same", file=file, phase="train", epoch=0)
    it.run(10)
    for file in ("one.jsonl", "two.jsonl"):
        it.machine.write_event("epoch_end", run="same", file=file, epoch=1)
    it.run(1)
    it.machine.write_event("end", run="same", file="one.jsonl", status="finished")
    it.run(4)
    assert it.value("run_epoch_cost_usd_count", run="same") == 1
    assert it.value("run_last_epoch_cost_usd", run="same") == pytest.approx(0.010, abs=1e-12)
    assert it.value("run_state", run="same", state="training") == 1  # its other process keeps running
    assert it.value("run_cost_usd_total", run="same") == pytest.approx(0.015, abs=1e-12)
    assert it.sum("node_cost_usd_total") == pytest.approx(0.015, abs=1e-12)  # from the first tick on


def test_with_ten_thousand_runs_the_scrape_stays_small_and_the_first_run_exact(it: DrivenAgent) -> None:
    it.run(1)
    it.machine.write_event("start", run="mine")
    it.run(1)
    for i in range(10_000):
        it.machine.write_event("start", run=f"flood-{i}", file="flood.jsonl")
    it.run(3)
    samples = it.scrape()
    assert len({dict(labels)["run"] for (name, labels) in samples if name == "epochcost_run_info"}) == 50
    assert it.value("progress_refused_total", user=str(os.getuid()), reason="runs") == 10_000 - 99
    assert it.value("run_cost_usd_total", run="mine") == pytest.approx(0.001 + 0.003 / 100, rel=1e-9)


def test_an_unknown_price_is_absent_and_reported(tmp_path: Path) -> None:
    one = DrivenAgent(SimulatedMachine(tmp_path))
    one.machine.write_event("start")
    one.run(5)
    names = {name for name, _ in one.scrape()}
    assert not [name for name in names if "usd" in name]
    assert one.value("collector_success", collector="price") == 0
    assert one.value("node_unpriced_seconds") == pytest.approx(5)
    assert any("price unknown" in problem for problem in one.app.snapshot.problems)  # type: ignore[union-attr]
    one.close()


def test_an_unreachable_poller_is_reported_and_seconds_continue(tmp_path: Path) -> None:
    with socket.socket() as unused_port:
        unused_port.bind(("127.0.0.1", 0))
        one = DrivenAgent(
            SimulatedMachine(tmp_path),
            prices__url=f"http://127.0.0.1:{unused_port.getsockname()[1]}",
            node__purchase_option="owned",
        )
        assert not one.ask_price()
        one.run(3)
        assert "127.0.0.1" in one.app.snapshot.problems[-1]  # type: ignore[union-attr]
        assert one.sum("node_seconds_total") == pytest.approx(2)
        one.close()


def test_the_ledger_rejects_a_state_of_another_version() -> None:
    with pytest.raises(ValueError, match="version 99"):
        Ledger.restored({"version": 99})
