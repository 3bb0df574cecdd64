"""Another user's lines, of every kind and at any time, beside a victim's run: the victim's figures are unaffected."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest
from tests.agent.driven_agent import DrivenAgent, SimulatedMachine

VICTIM, MALLORY = 1001, 65534
EPOCHS, EPOCH_SECONDS = 6, 10
NAMESPACE = Path("/proc/self/ns/pid")
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other users")


def write_line(machine: SimulatedMachine, user: int, name: str, **line: object) -> None:
    path = machine.events / name
    with path.open("a") as out:
        out.write(json.dumps({"v": 1, **line}) + "\n")
    os.chown(path, user, user)


def hostile(machine: SimulatedMachine, rng: random.Random) -> dict[str, object]:
    """A valid line or nearly one, about the past, the present or the future."""
    now = machine.wall
    distances = (0, 1, 60, 3600, 86_400, 3e8)
    times = [*(now + d for d in distances), *(now - d for d in distances), 0, 9e9, 1e11 - 1, 1e-300]
    choices: dict[str, list[object]] = {
        "mono": [machine.mono, 0, 1e10, machine.mono + 1e6],
        "continues": ["v.jsonl", "m0.jsonl", "../v.jsonl", "x" * 250 + ".jsonl"],
        "epoch": [0, 1, 5, 1e9, 0.5],
        "step": [0, 7, 2**62],
        "gpus": [[], ["0"], [0, 1, 2], ["GPU-x"]],
        "rank": [0, 1, 2**40],
        "pid": [1, os.getpid(), 2**22],
        "pidns": [NAMESPACE.stat().st_ino, 5],
        "lock": [True, False],
        "nodes": [1, 2, 2**30],
        "budget_usd": [1e-9, 1e11],
        "phase": ["train", "data", "eval"],
        "status": ["failed", "finished", "preempted"],
        "epochs": [1, 1e9],
    }
    line = {key: rng.choice(values) for key, values in choices.items() if rng.random() < 0.35}
    line["ev"] = rng.choice(["start", "resume", "progress", "phase", "epoch_end", "end", "retract", "unknown"])
    line["run"] = rng.choice(["v", "v", "v", "m", f"v~{MALLORY}", "w\u202e", "../x", "a" * 300])
    line["ts"] = rng.choice(times)
    return line


def metered(root: Path, seed: int | None) -> dict[str, float]:
    machine = SimulatedMachine(root)
    machine.events.chmod(0o1777)
    agent = DrivenAgent(machine, price__usd_per_hour="3600")
    agent.ask_price()
    rng = random.Random(seed)
    try:
        agent.run(3)
        write_line(machine, VICTIM, "v.jsonl", ev="start", ts=machine.wall, mono=machine.mono, run="v", epochs=EPOCHS)
        for epoch in range(1, EPOCHS + 1):
            for _ in range(EPOCH_SECONDS):
                for _ in range(rng.randint(0, 6) if seed is not None else 0):
                    write_line(machine, MALLORY, f"m{rng.randrange(5)}.jsonl", **hostile(machine, rng))
                agent.run(1.0)
            write_line(
                machine, VICTIM, "v.jsonl", ev="epoch_end", ts=machine.wall, mono=machine.mono, run="v", epoch=epoch
            )
        write_line(machine, VICTIM, "v.jsonl", ev="end", ts=machine.wall, mono=machine.mono, run="v", status="finished")
        agent.run(30)
        agent.save()
        agent.kill()
        agent = DrivenAgent(machine, price__usd_per_hour="3600")  # and after a restart it is the same
        agent.ask_price()
        agent.run(3)
        names = ("epochs_total", "seconds_total", "useful_epochs", "lost_epochs_total", "last_epoch_seconds")
        figures = {name: agent.value(f"run_{name}", run="v") or 0.0 for name in names}
        return {**figures, "usd": agent.dollars("run_cost_usd", run="v"), "node_usd": agent.dollars("node_cost_usd")}
    finally:
        agent.close()


@pytest.mark.parametrize("seed", range(4))
def test_hostile_lines_change_only_the_share_of_the_machine(tmp_path: Path, seed: int):
    calm, beside = metered(tmp_path / "calm", None), metered(tmp_path / "beside", seed)
    seconds = EPOCHS * EPOCH_SECONDS
    assert calm["usd"] == pytest.approx(seconds)
    assert beside["usd"] == pytest.approx(seconds / 2, abs=1.5), "two users: a half each, whatever the other says"
    assert beside["node_usd"] == pytest.approx(calm["node_usd"], abs=1e-6)
    for name in calm.keys() - {"usd", "node_usd"}:
        assert beside[name] == pytest.approx(calm[name], abs=1e-6), name


@pytest.mark.parametrize("seed", [3, 4, 7, 17, 25, 28])
def test_no_lines_make_the_ledger_impossible_for_the_next_agent(tmp_path: Path, seed: int):
    machine, rng = SimulatedMachine(tmp_path), random.Random(seed)
    machine.events.chmod(0o1777)
    agent = DrivenAgent(machine, price__usd_per_hour="3600")
    agent.ask_price()
    try:
        agent.run(3.0)
        for second in range(25):
            for _ in range(rng.randint(0, 8)):
                write_line(machine, MALLORY, f"m{rng.randrange(5)}.jsonl", **hostile(machine, rng))
            agent.ask_price()
            agent.run(1.0)
            if second % 8 == 7:
                agent.save()
                agent.kill()
                agent = DrivenAgent(machine, price__usd_per_hour="3600")
        assert not list((tmp_path / "state").glob("*.bad-*"))
        assert agent.dollars("node_cost_usd") == pytest.approx(28.0, abs=2.0)
    finally:
        agent.close()
