"""A real kernel: cells that are rerun, interrupted, left open."""

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
    """Runs a cell to its end, or interrupts it when a run has begun; returns the displayed output."""
    kernel = manager.KernelManager(kernel_name="python3")
    kernel.start_kernel(env=environment(tmp_path, HOME=str(tmp_path)), cwd=str(tmp_path))
    client = kernel.client()
    client.start_channels()
    client.wait_for_ready(60)

    def run(code: str, *, interrupt: bool = False) -> str:
        before = len(events_by_file(tmp_path))
        request, output = client.execute(code), ""
        while interrupt and len(events_by_file(tmp_path)) == before:
            time.sleep(0.05)
        if interrupt:
            kernel.interrupt_kernel()
        while True:
            message = client.get_iopub_msg(timeout=60)
            if message["parent_header"].get("msg_id") != request:
                continue
            kind, content = message["msg_type"], message["content"]
            output += content["text"] if kind == "stream" else content["ename"] if kind == "error" else ""
            output += content["data"].get("text/html", "") if kind == "execute_result" else ""
            if kind == "status" and content["execution_state"] == "idle":
                return output

    run("import epochcost, os")
    yield run
    client.stop_channels()
    kernel.shutdown_kernel(now=True)


def ends(tmp_path: Path) -> list[tuple[object, ...]]:
    files = sorted(events_by_file(tmp_path).values(), key=lambda lines: float(str(lines[0]["mono"])))
    return [(lines[0]["experiment"], lines[-1].get("status"), lines[-1].get("epoch")) for lines in files]


def test_cells_are_runs_that_end(tmp_path: Path, cell: Cell):
    output = cell(PLAIN.format(seconds=30), interrupt=True)
    assert "KeyboardInterrupt" in output
    assert "ended, because its cell was interrupted" in output
    assert cell(PLAIN.format(seconds=0)) == ""
    unclosed = "run = epochcost.run('cells', epochs=2); run.start(); run"
    output = cell(unclosed)
    assert "stays open until epochcost.end()" in output
    assert "<th>epoch</th><td>not known</td>" in output
    assert "all planned epochs are done" in cell("for epoch in run.epochs(): list(run.batches(range(3)))")
    cell("for epoch in run.epochs(): list(run.batches(range(3)))")
    assert ends(tmp_path) == [
        ("plain", "failed", None),
        ("plain", "finished", 2),
        ("cells", "finished", 2),
        ("cells", "finished", 4),
    ]
