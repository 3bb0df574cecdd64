"""What a guard must remember even if the agent's state is lost: otherwise a restart would end kept runs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from tests.agent.driven_agent import DrivenAgent, SimulatedMachine
from tests.guard.guarded_agent import STALLED, advance, begin, guarded, post

from epochcost.agent.device_activity import Idle
from epochcost.agent.guard_memory import NAME, GuardMemory
from epochcost.agent.guard_observation import Facts, Observer
from epochcost.agent.meter import Meter
from epochcost.agent.meter_inputs import Inputs, Quote
from epochcost.ledger import Ledger
from epochcost.model import GpuReading, GpuSample, HostReading, Node, PriceStep

FULL = os.statvfs_result((4096, 4096, 100, 0, 0, 100, 50, 50, 0, 255))


def again(it: DrivenAgent, machine: SimulatedMachine, text: str, *, state: str = "{") -> DrivenAgent:
    """A new agent, whose state differs from the saved one."""
    it.save()
    it.kill()
    (machine.root / "state" / "agent-state.json").write_text(state)
    return guarded(machine, text)


def keep_posted_at(it: DrivenAgent) -> float | None:
    return it.value("guard_actions_total", policy="hung", step="ask", result="done")


def test_a_keep_by_link_survives_the_loss_of_the_agents_state(machine: SimulatedMachine, tmp_path: Path) -> None:
    text = STALLED.format(mark=tmp_path / "mark")
    it = guarded(machine, text)
    begin(machine)
    advance(it, machine, 60)
    it.run(450)
    assert it.app.guarding is not None
    link = it.app.guarding.guard.keeps.link("r", it.app.clock.now())
    assert post(it, {"subject": "r", "link": link, "for": "1h", "why": "looking"})[0] == 200
    it.run(5)
    it = again(it, machine, text)
    machine.write_event("progress", run="r", step=1)  # it reports, and hangs again
    it.run(1800)
    assert keep_posted_at(it) is None
    assert it.value("guard_keep_until_timestamp_seconds", run="r", by="whoever had the link", why="looking")
    it.run(1800 + 450)
    assert keep_posted_at(it) == 1
    it.close()


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"guard": 7}', '{"t": 1, "wall_ts": 1, "guard": {"v": 9}, "seen": {}}']
)
def test_if_keeps_cannot_be_read_either_nothing_is_decided(
    machine: SimulatedMachine,
    tmp_path: Path,
    content: str,
) -> None:
    text = "longest_keep: 20m\n" + STALLED.format(mark=tmp_path / "mark")
    it = guarded(machine, text)
    begin(machine)
    advance(it, machine, 60)
    it.save()
    it.kill()
    for name, damaged_text in (("agent-state.json", "{"), (NAME, content)):
        (machine.root / "state" / name).write_text(damaged_text)
    it = guarded(machine, text)
    machine.write_event("progress", run="r", step=1)
    it.run(1150)
    assert keep_posted_at(it) is None
    assert it.app.snapshot is not None
    assert it.app.snapshot.guard is not None
    assert it.app.snapshot.guard.void == "the keeps were lost with the agent's state"
    it = again(it, machine, text)  # nor by a further restart
    assert it.value("guard_evidence") in (0, None)
    it.run(90)
    assert it.value("guard_evidence") == 1
    it.close()


def test_a_fault_of_the_guard_is_logged_once_and_its_waits_begin_again(
    machine: SimulatedMachine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    it = guarded(machine, STALLED.format(mark=tmp_path / "mark"))
    begin(machine)
    advance(it, machine, 60)
    it.run(300)
    assert it.app.guarding is not None
    for fault in (ValueError("odd"), ValueError("odd"), KeyError("gone")):
        it.app.guarding.failed(fault)
    texts = [record.message for record in caplog.records if record.levelname == "ERROR"]
    assert texts == ["guard: failed with an unexpected error"] * 2
    it.run(200)  # 500 s of evidence, and 200 since the fault
    assert keep_posted_at(it) is None
    it.run(300)
    assert keep_posted_at(it) == 1
    it.close()


def test_keeps_that_cannot_be_saved_are_logged_once_and_saved_when_they_can_be(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    memory = GuardMemory(tmp_path / "away" / NAME, lambda: 1_795_000_000.0)
    for t in (0.0, 1.0):
        memory.save({"users": [], "keeps": {}}, {}, t)
    assert [record.message.partition(":")[0] for record in caplog.records] == ["guard"]
    assert memory.error.endswith(f"{NAME}: No such file or directory")
    (tmp_path / "away").mkdir()
    memory.save({"users": [], "keeps": {}}, {}, 2.0)
    assert memory.error == ""
    assert memory.load(3.0) == ({"users": [], "keeps": {}}, {}, 1.0)


@pytest.mark.parametrize("state", ["kept", "{"])
def test_a_disk_that_was_full_before_a_restart_makes_no_run_hung(
    machine: SimulatedMachine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    state: str,
) -> None:
    text = STALLED.format(mark=tmp_path / "mark")
    it = guarded(machine, text)
    begin(machine)
    advance(it, machine, 60)
    with monkeypatch.context() as disk:
        disk.setattr(os, "statvfs", lambda _: FULL)
        it.run(5)
    it.save()
    it.kill()
    if state != "kept":
        (machine.root / "state" / "agent-state.json").write_text(state)
    it = guarded(machine, text)
    it.run(3600)
    assert keep_posted_at(it) is None
    machine.write_event("progress", run="r", step=9)  # it has continued, and hangs now
    it.run(600)
    assert keep_posted_at(it) == 1
    it.close()


def test_a_run_that_fell_silent_while_unobserved_may_have_met_a_full_disk(
    machine: SimulatedMachine,
    tmp_path: Path,
) -> None:
    text = STALLED.format(mark=tmp_path / "mark")
    it = guarded(machine, text)
    begin(machine)
    advance(it, machine, 60)
    it.save()
    it.kill()
    machine.advance(600)
    it = guarded(machine, text)
    it.run(3600)
    assert keep_posted_at(it) is None
    it.close()


def test_the_saved_file_is_the_agents_alone_and_minimal(
    machine: SimulatedMachine,
    tmp_path: Path,
) -> None:
    it = guarded(machine, STALLED.format(mark=tmp_path / "mark"))
    begin(machine)
    advance(it, machine, 60)
    file = machine.root / "state" / NAME
    assert file.stat().st_mode & 0o777 == 0o600
    before = file.stat().st_mtime_ns
    it.run(60)
    assert file.stat().st_mtime_ns == before  # not each second
    document = json.loads(file.read_text())
    assert set(document) == {"t", "wall_ts", "guard", "seen"}
    assert [uid for uid, _ in document["guard"]["users"]] == [os.geteuid()]
    it.close()


def seen_by(observer: Observer, t: float, *uuids: str, boot_ts: float = 100.0) -> tuple[str, ...]:
    meter = Meter(Ledger(), Node("n"))
    meter.begin_boot(t - 1, boot_ts, [])
    gpus = tuple(GpuSample(str(n), uuid, utilization_ratio=0.0, power_watts=50.0) for n, uuid in enumerate(uuids))
    quote = Quote((PriceStep(0.0, 2.0),), None, "x", t)
    for at in (t - 1, t):
        snapshot = meter.tick(at, Inputs(gpus=GpuReading(at, gpus, "x"), host=HostReading(at, 0.1), quote=quote))
    return observer.observe(snapshot, Facts(t, 5.0)).void


def test_a_gpu_lost_before_a_restart_is_missing_after_it_and_forgotten_at_the_next_boot() -> None:
    observer = Observer(Idle())
    assert not seen_by(observer, 1001.0, "a", "b")
    later = Observer(Idle())
    later.restore(json.loads(json.dumps(observer.state())))
    assert seen_by(later, 1002.0, "a") == ("1 GPUs that were present are missing",)
    assert not [void for void in seen_by(later, 1003.0, "a", boot_ts=900.0) if "were present" in void]
