"""A real kernel: cells that are run again, broken off, left open."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.training.programs import environment, events_by_file

manager = pytest.importorskip("jupyter_client.manager")
pytest.importorskip("ipykernel")
Cell = Callable[..., str]
PLAIN = """
import time
epochcost.start("plain", epochs=2, batch_size=2)
for epoch in range(2):
    for batch in range(5):
        time.sleep({seconds}); epochcost.step()
    epochcost.epoch_end()
epochcost.end()
"""


@pytest.fixture
def cell(tmp_path: Path) -> Iterator[Cell]:
    """Runs a cell to its end, or interrupts it when a run has begun; returns what the user saw."""
    kernel = manager.KernelManager(kernel_name="python3")
    kernel.start_kernel(env=environment(tmp_path, HOME=str(tmp_path)), cwd=str(tmp_path))
    client = kernel.client()
    client.start_channels()
    client.wait_for_ready(60)

    def run(code: str, *, interrupt: bool = False) -> str:
        before = len(events_by_file(tmp_path))
        asked, seen = client.execute(code), ""
        while interrupt and len(events_by_file(tmp_path)) == before:
            time.sleep(0.05)
        if interrupt:
            kernel.interrupt_kernel()
        while True:
            message = client.get_iopub_msg(timeout=60)
            if message["parent_header"].get("msg_id") != asked:
                continue
            kind, content = message["msg_type"], message["content"]
            seen += content["text"] if kind == "stream" else content["ename"] if kind == "error" else ""
            seen += content["data"].get("text/html", "") if kind == "execute_result" else ""
            if kind == "status" and content["execution_state"] == "idle":
                return seen

    run("import epochcost, os")
    yield run
    client.stop_channels()
    kernel.shutdown_kernel(now=True)


def ends(tmp_path: Path) -> list[tuple[object, ...]]:
    files = sorted(events_by_file(tmp_path).values(), key=lambda lines: float(str(lines[0]["mono"])))
    return [(lines[0]["experiment"], lines[-1].get("status"), lines[-1].get("epoch")) for lines in files]


def test_cells_are_runs_that_end(tmp_path: Path, cell: Cell):
    shown = cell(PLAIN.format(seconds=30), interrupt=True)
    assert "KeyboardInterrupt" in shown
    assert "ended, because its cell was interrupted" in shown
    assert cell(PLAIN.format(seconds=0)) == ""
    opened = "run = epochcost.run('cells', epochs=2); run.start(); run"
    shown = cell(opened)
    assert "stays open until epochcost.end()" in shown
    assert "<th>epoch</th><td>not known</td>" in shown
    assert "all planned epochs are done" in cell("for epoch in run.epochs(): list(run.batches(range(3)))")
    cell("for epoch in run.epochs(): list(run.batches(range(3)))")
    assert ends(tmp_path) == [
        ("plain", "failed", None),
        ("plain", "finished", 2),
        ("cells", "finished", 2),
        ("cells", "finished", 4),
    ]
