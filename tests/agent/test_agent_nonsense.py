"""Whatever one program reports, another's run is metered as if it were alone, and the node's states sum to its cost."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.agent.driven_agent import DrivenAgent, SimulatedMachine

BEATS = 24
OURS = ("run_epoch", "run_epochs_total", "run_seconds_total", "run_steps_total", "run_epoch_seconds_sum",
        "run_epoch_seconds_count", "run_useful_epochs", "run_lost_epochs_total")  # fmt: skip
AMOUNTS = st.sampled_from([0, 0.5, 1, 3, 7.25, 1e12, 2**62]) | st.floats(0, 1e12)
WHOLES = st.sampled_from([0, 1, 5, 2**62]) | st.integers(0, 2**63 - 1)
EVENTS = st.fixed_dictionaries(
    {"ev": st.sampled_from(["start", "progress", "epoch_end", "phase", "checkpoint", "resume", "end", "gone", "?"])},
    optional={
        "ts": st.floats(-1e6, 1e6),  # beside now
        "mono": st.floats(-1e6, 1e9),
        "epoch": AMOUNTS,
        "epochs": AMOUNTS,
        "budget_usd": AMOUNTS,
        "step": WHOLES,
        "steps": WHOLES,
        "samples": WHOLES,
        "tokens": WHOLES,
        "batch_size": WHOLES,
        "samples_per_epoch": WHOLES,
        "memory_peak_bytes": WHOLES,
        "phase": st.sampled_from(["startup", "train", "data", "eval", "checkpoint", "restore", "lunch"]),
        "status": st.sampled_from(["finished", "failed", "preempted"]),
        "gpus": st.lists(st.text(max_size=5), max_size=3),
        "pid": WHOLES,
        "lock": st.booleans(),
        "experiment": st.text(max_size=9),
        "world": WHOLES,
        "nodes": WHOLES,
    },
)
LINES = EVENTS | st.binary(max_size=60)
NONSENSE = st.lists(st.tuples(st.integers(0, BEATS - 1), st.integers(0, 2), LINES), max_size=30)


def metered_beside(root: Path, nonsense: list[tuple[int, int, dict[str, Any] | bytes]]) -> dict[str, float | None]:
    """The metrics of a run of six epochs beside programs that report ``nonsense``."""
    machine = SimulatedMachine(root)
    agent = DrivenAgent(machine, price__usd_per_hour="3600")
    try:
        agent.ask_price()
        machine.write_event("start", run="ours", epochs=6)
        machine.write_event("phase", run="ours", phase="train", epoch=0)
        for tick in range(BEATS):
            for _, writer, line in (one for one in nonsense if one[0] == tick):
                with (machine.events / f"theirs-{writer}.jsonl").open("ab") as file:
                    file.write(with_clocks(machine, writer, line))
            machine.write_event("progress", run="ours", epoch=(tick + 1) / 4, step=tick + 1)
            if tick % 4 == 3:
                machine.write_event("epoch_end", run="ours", epoch=(tick + 1) / 4, step=tick + 1)
            agent.run(1)
        machine.write_event("end", run="ours", epoch=6, status="finished")
        agent.run(2)
        samples = agent.scrape()
        bill = sum(value for (name, _), value in samples.items() if name == "epochcost_node_cost_usd_total")
        seconds = sum(value for (name, _), value in samples.items() if name == "epochcost_node_seconds_total")
        assert bill == pytest.approx(seconds, rel=1e-9)  # at a dollar a second
        return {name: samples.get((f"epochcost_{name}", (("run", "ours"),))) for name in OURS}
    finally:
        agent.close()


def with_clocks(machine: SimulatedMachine, writer: int, line: dict[str, Any] | bytes) -> bytes:
    if isinstance(line, bytes):
        return line.replace(b"\n", b" ") + b"\n"
    least = {"v": 1, "run": f"theirs-{writer}"}
    ts = machine.wall + float(str(line.get("ts", 0.0)))
    return json.dumps({**least, "mono": machine.mono, **line, "ts": ts}).encode() + b"\n"


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float | None]:
    return metered_beside(tmp_path_factory.mktemp("alone"), [])


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(NONSENSE)
def test_reports_of_other_programs_do_not_affect_a_run(
    alone: dict[str, float | None], nonsense: list[tuple[int, int, dict[str, Any] | bytes]]
) -> None:
    with tempfile.TemporaryDirectory() as root:
        assert metered_beside(Path(root), nonsense) == alone
    assert alone["run_epoch"] == 6
    assert alone["run_epoch_seconds_count"] == 6
