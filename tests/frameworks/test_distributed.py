"""Two processes that really train together (DDP over gloo), on one node and as two nodes with an agent each."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.agent.agent_process import AgentProcess
from tests.frameworks.real import facts, launch
from tests.training.programs import PACKAGE, environment, events_by_file
from tests.waiting import wait_for

LOOP = """
import json, os, time, torch, epochcost
from torch.nn.parallel import DistributedDataParallel
torch.distributed.init_process_group("gloo")
net = DistributedDataParallel(torch.nn.Linear(4, 1))
optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
rows = torch.rand(40, 4)
sampler = torch.utils.data.distributed.DistributedSampler(rows)
loader = torch.utils.data.DataLoader(rows, batch_size=4, sampler=sampler)
with epochcost.run("ddp", epochs=3, batch_size=8, id="ddp-1") as run:
    for epoch in run.epochs():
        for batch in run.batches(loader):
            optimizer.zero_grad()
            net(batch).mean().backward()
            optimizer.step()
            time.sleep(0.2)
torch.distributed.destroy_process_group()
"""
SPAWNED = """
import os, sys, torch, epochcost
def train(rank, port):
    torch.distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    with epochcost.run("spawned", epochs=2) as run:
        for epoch in run.epochs():
            torch.distributed.barrier()
    os.write(1, f"{run.id}\\n".encode())  # in one piece: both ranks write into one pipe
    torch.distributed.destroy_process_group()
if __name__ == "__main__":
    torch.multiprocessing.spawn(train, (int(sys.argv[1]),), nprocs=2)
"""
LIGHTNING = """
import json, os, time, warnings
warnings.filterwarnings("ignore")
import torch, epochcost
import lightning as L

class Net(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
    def training_step(self, batch, index):
        return self.layer(batch).mean()
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)

if __name__ == "__main__":
    loader = torch.utils.data.DataLoader(torch.rand(40, 4), batch_size=4)
    L.Trainer(max_epochs=3, accelerator="cpu", devices=2, strategy=os.environ["STRATEGY"], logger=False,
        enable_progress_bar=False, callbacks=[epochcost.lightning_callback("net")]).fit(Net(), loader)
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def elastic(directory: Path, program: Path, *flags: str) -> subprocess.Popen[str]:
    """Start torchrun, which takes to its own port on the loopback."""
    command = [sys.executable, "-m", "torch.distributed.run", *flags, str(program)]
    environ = environment(directory, OMP_NUM_THREADS="1")
    return subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for_success(process: subprocess.Popen[str]) -> None:
    out, _ = process.communicate(timeout=240)
    assert process.returncode == 0, out[-3000:]


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "loop.py"
    path.write_text(textwrap.dedent(LOOP))
    return path


def test_two_ranks_of_one_node_are_one_run_whose_epochs_count_once(tmp_path: Path, program: Path):
    events = tmp_path / "events"
    address = ["--nnodes=1", "--nproc-per-node=2", "--master-addr=127.0.0.1", f"--master-port={free_port()}"]
    wait_for_success(elastic(events, program, *address))
    (lines,) = events_by_file(events).values()
    assert [facts(line, "epoch", "step") for line in lines if line["ev"] == "epoch_end"] == [(1, 5), (2, 10), (3, 15)]
    assert facts(lines[0], "rank", "local_rank", "world", "nodes") == (0, 0, 2, 1)
    assert facts(lines[-1], "status", "batch_size", "samples") == ("finished", 8, 120)


@pytest.fixture
def agents(tmp_path: Path) -> Iterator[list[AgentProcess]]:
    running: list[AgentProcess] = []
    for number in (0, 1):
        root = tmp_path / f"node{number}"
        root.mkdir()
        flags = [f"--node.name=node{number}", "--gpus.source=none", "--price.usd-per-hour=3600"]
        running.append(AgentProcess(root, *flags, env={"PYTHONPATH": str(PACKAGE)}))
    yield [one.up() for one in running]
    for one in running:
        one.end(signal.SIGKILL)


def of_run(agent: AgentProcess, metric: str) -> float | None:
    match = re.search(rf'^epochcost_{metric}{{[^}}]*run="ddp-1"[^}}]*}} (\S+)$', agent.get("/metrics")[1], re.MULTILINE)
    return None if match is None else float(match[1])


def test_two_nodes_are_one_run_whose_money_adds_up(tmp_path: Path, program: Path, agents: list[AgentProcess]):
    meeting = ["--nnodes=2", "--nproc-per-node=1", "--master-addr=127.0.0.1", f"--master-port={free_port()}"]
    nodes = [
        elastic(agents[number].events, program, *meeting, f"--node-rank={number}", "--local-addr=127.0.0.1")
        for number in (0, 1)
    ]
    for node in nodes:
        wait_for_success(node)
    wait_for(
        lambda: all('state="finished"} 1' in agent.get("/metrics")[1] for agent in agents),
        what="both agents seeing the end",
    )
    cost = 0.0
    for number, agent in enumerate(agents):
        (lines,) = events_by_file(agent.events).values()
        assert facts(lines[0], "run", "rank", "node_rank", "nodes", "world") == ("ddp-1", number, number, 2, 2)
        leads = number == 0  # progress is counted where global rank 0 is, money everywhere
        assert of_run(agent, "run_epoch") == (3 if leads else None)
        seconds = lines[-1]["mono"] - lines[0]["mono"]  # type: ignore[operator]
        assert of_run(agent, "run_cost_usd_total") == pytest.approx(seconds, rel=0.01)  # at $1 a second
        cost += of_run(agent, "run_cost_usd_total") or 0.0
        assert of_run(agent, "run_epoch_cost_usd_count") == (3 if leads else None)
    assert cost == pytest.approx(2 * seconds, rel=0.1)


@pytest.mark.parametrize("strategy", ["ddp", "ddp_spawn"])
def test_lightning_starts_its_own_processes_and_one_of_them_reports(tmp_path: Path, strategy: str):
    path = tmp_path / "net.py"
    path.write_text(textwrap.dedent(LIGHTNING))
    launch(
        f"import subprocess, sys; sys.exit(subprocess.call([sys.executable, {str(path)!r}]))",
        tmp_path,
        STRATEGY=strategy,
    )
    (lines,) = events_by_file(tmp_path).values()
    assert [facts(line, "epoch", "step") for line in lines if line["ev"] == "epoch_end"] == [(1, 5), (2, 10), (3, 15)]
    assert facts(lines[-1], "status", "world", "rank", "batch_size") == ("finished", 2, 0, 8)


@pytest.mark.parametrize("nodes", [{"SLURM_JOB_NUM_NODES": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}, {}])
def test_ranks_that_a_program_starts_itself_are_one_run_of_their_job(tmp_path: Path, nodes: dict[str, str]):
    """Their ranks come from torch, not from a launcher."""
    program = tmp_path / "train.py"
    program.write_text(SPAWNED)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = environment(tmp_path / "events", SLURM_JOB_ID="77", **nodes)
    completed = subprocess.run(
        [sys.executable, program, str(port)], env=env, capture_output=True, text=True, timeout=120, check=True
    )
    assert completed.stdout.split() == ["77", "77"]
    starts = [lines[0] for lines in events_by_file(tmp_path / "events").values()]
    assert {line["run"] for line in starts} == {"77"}
    assert sorted((line["rank"], line["world"]) for line in starts) == ([(0, 2)] if nodes else [(0, 2), (1, 2)])


def test_ranks_that_a_program_starts_itself_are_one_run_without_any_launcher(tmp_path: Path):
    program = tmp_path / "train.py"
    program.write_text(SPAWNED)
    events = tmp_path / "events"
    ids = []
    for _ in range(2):
        completed = subprocess.run(
            [sys.executable, program, str(free_port())],
            env=environment(events), capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
        first, second = completed.stdout.split()
        assert first == second
        ids.append(first)
    assert ids[0] != ids[1], "another world is another training run"
    starts = [lines[0] for lines in events_by_file(events).values()]
    reported = sorted((facts(line, "run", "rank", "world", "nodes") for line in starts), key=repr)
    assert reported == sorted(((one, rank, 2, 1) for one in ids for rank in (0, 1)), key=repr)
