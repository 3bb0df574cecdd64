"""A real Slurm of two nodes on this machine, the shipped prolog and epilog, and an agent for each node.

Slurm puts components of a heterogeneous job on different nodes, so one node never starts such a job.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.agent.agent_process import AgentProcess
from tests.deploy.conftest import ROOT
from tests.waiting import wait_for

from epochcost.demo.programs import free_port

SBIN = Path("/usr/sbin")
NODES = {"one": 2, "two": 1}
"""GPUs of each node."""
USD_PER_HOUR = {"one": 3600, "two": 1800}
CONF = """\
ClusterName=lab
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmctldPort={port}
AuthType=auth/munge
AuthInfo=socket={home}/munge/munge.sock
CryptoType=crypto/munge
StateSaveLocation={home}/state
SlurmdSpoolDir={home}/spool-%n
SlurmctldPidFile={home}/slurmctld.pid
SlurmdPidFile={home}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1
GresTypes=gpu
ReturnToService=2
MpiDefault=none
SwitchType=switch/none
Prolog={home}/prolog.sh
Epilog={home}/epilog.sh
TaskProlog={home}/task_prolog.sh
PrologFlags=Alloc
PropagateResourceLimits=NONE
{nodes}
PartitionName=gpu Nodes=one Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:4
PartitionName=spare Nodes=two MaxTime=INFINITE State=UP OverSubscribe=FORCE:4
PartitionName=wide Nodes=one,two MaxTime=INFINITE State=UP OverSubscribe=FORCE:4
"""
TRAINING = """
import os, sys, time, epochcost
epochs = int(sys.argv[1])
stuck = len(sys.argv) > 2 and not int(os.environ.get("SLURM_RESTART_COUNT", "0"))
with epochcost.run(experiment="slurm", epochs=epochs) as run:
    for epoch in run.epochs():
        if stuck and epoch == 2:
            time.sleep(300)  # until Slurm ends the job
        for batch in run.batches(range(5)):
            pass
"""


@dataclass
class Slurm:
    """A controller and two nodes that accept jobs."""

    home: Path
    environ: dict[str, str]
    agents: Mapping[str, AgentProcess]

    def run(self, *command: str) -> str:
        completed = subprocess.run(command, env=self.environ, capture_output=True, text=True, check=False, timeout=60)
        assert completed.returncode == 0, f"{command}: {completed.stderr}"
        return completed.stdout

    def submit(self, body: str, *flags: str, head: str = "#SBATCH --gres=gpu:1") -> str:
        script = self.home / f"job-{len(list(self.home.glob('job-*.sh')))}.sh"
        script.write_text(f"#!/bin/bash\n{head}\n{textwrap.dedent(body)}\n")
        return self.run("sbatch", "--parsable", f"--output={self.home}/out-%j", *flags, str(script)).strip()

    def as_nobody(self) -> tuple[str, ...]:
        """Flags for a job of another user."""
        out = self.home / "nobodys"
        out.mkdir(exist_ok=True)
        shutil.chown(out, "nobody")
        return "--uid=nobody", "--chdir=/tmp", f"--output={out}/out-%j"

    def state(self, job: str) -> str:
        return self.run("scontrol", "show", "job", job).partition("JobState=")[2].split()[0]

    def wait_until_ended(self, job: str) -> None:
        final = {"COMPLETED", "FAILED", "CANCELLED", "NODE_FAIL", "TIMEOUT"}
        wait_for(lambda: self.state(job) in final, 120, f"the end of job {job} ({self.home}/out-{job})")
        description = self.run("scontrol", "show", "job", job)
        assert "JobState=COMPLETED" in description, description + "".join(
            x.read_text() for x in self.home.glob(f"**/out-{job}")
        )

    def users(self, node: str = "one") -> Path:
        return self.home / f"users-{node}"

    def runs(self, node: str = "one") -> dict[str, list[dict[str, Any]]]:
        """Event lines by run."""
        lines_by_run: dict[str, list[dict[str, Any]]] = {}
        for file in sorted(self.users(node).glob("*/*.jsonl")):
            for line in map(json.loads, file.read_text().splitlines()):
                lines_by_run.setdefault(line["run"], []).append(line)
        return lines_by_run

    def of_job(self, job: str, node: str = "one") -> dict[str, list[dict[str, Any]]]:
        """Event lines of the runs that belong to a job."""
        return {run: lines for run, lines in self.runs(node).items() if any(x.get("job") == job for x in lines)}

    def series(self, name: str, run: str, node: str = "one") -> list[str]:
        """An agent's series of a run."""
        text = self.agents[node].get("/metrics")[1].splitlines()
        return [line for line in text if line.startswith(f"epochcost_{name}{{") and f'run="{run}"' in line]


@contextmanager
def two_nodes() -> Iterator[Slurm]:
    """Agents and Slurm, ended afterwards."""
    home = Path(tempfile.mkdtemp(prefix="epochcost-slurm-", dir="/tmp"))  # munge wants short paths
    with ExitStack() as ending:
        ending.callback(shutil.rmtree, home, ignore_errors=True)
        home.chmod(0o755)  # where other users may go
        for folder in ("munge", "state", "gpus"):
            (home / folder).mkdir(mode=0o755)
        agents = {}
        for node in NODES:
            (home / node).mkdir()
            flags = ("--gpus.source=none", f"--price.usd-per-hour={USD_PER_HOUR[node]}", f"--machine.name=node-{node}")
            agents[node] = AgentProcess(home / node, *flags, f"--events.user-dirs={home}/users-{node}/*")
            ending.callback(agents[node].end)
        _write_settings(home, agents)
        environ = {**os.environ, "SLURM_CONF": f"{home}/slurm.conf", "PYTHONPATH": str(ROOT / "exporter")}
        _start(home, environ, ending)
        for agent in agents.values():
            agent.up()
        it = Slurm(home, environ, agents)
        wait_for(lambda: set(it.run("sinfo", "-h", "-o", "%T").split()) == {"idle"}, 60, f"idle nodes ({home}/*.log)")
        yield it


def _write_settings(home: Path, agents: Mapping[str, AgentProcess]) -> None:
    host = socket.gethostname().partition(".")[0]
    where = f"NodeAddr=127.0.0.1 NodeHostname={host} CPUs={os.cpu_count()} RealMemory=1000 State=UNKNOWN"
    nodes, gres, number = [], ["AutoDetect=off"], 0
    for node, gpus in NODES.items():
        nodes.append(f"NodeName={node} Port={free_port('127.0.0.1', 0)} Gres=gpu:{gpus} {where}")
        for _ in range(gpus):
            subprocess.run(["mknod", home / "gpus" / f"gpu{number}", "c", "1", "3"], check=True)
            gres.append(f"NodeName={node} Name=gpu File={home}/gpus/gpu{number}")
            number += 1
    text = CONF.format(host=host, home=home, port=free_port("127.0.0.1", 0), nodes="\n".join(nodes))
    (home / "slurm.conf").write_text(text)
    (home / "gres.conf").write_text("\n".join(gres) + "\n")
    (home / "munge" / "key").write_bytes(os.urandom(128))
    (home / "munge" / "key").chmod(0o400)
    (home / "train.py").write_text(TRAINING)
    shutil.copytree(ROOT / "exporter" / "epochcost", home / "lib" / "epochcost")  # where every user may read
    for node, agent in agents.items():
        (home / f"settings-{node}").write_text(
            f"export EPOCHCOST_SLURM_DIR={home}/held-{node} EPOCHCOST_USERS_DIR={home}/users-{node}\n"
            f"export EPOCHCOST_AGENT_URL=http://127.0.0.1:{agent.port}\n"
            f"export EPOCHCOST_JOB_LOG='tee -a {home}/job-costs-{node}' PATH=$PATH:{Path(sys.executable).parent}\n"
        )
    for script in (ROOT / "deploy" / "slurm").glob("*.sh"):
        shebang, rest = script.read_text().split("\n", 1)
        (home / script.name).write_text(f"{shebang}\n. {home}/settings-$SLURMD_NODENAME\n{rest}")
        (home / script.name).chmod(0o755)


def _start(home: Path, environ: dict[str, str], ending: ExitStack) -> None:
    munge = home / "munge"
    commands: list[list[str | Path]] = [
        [SBIN / "munged", "-F", "-f", f"--socket={munge}/munge.sock", f"--key-file={munge}/key",
         f"--pid-file={munge}/pid", f"--log-file={munge}/log", f"--seed-file={munge}/seed"],
        [SBIN / "slurmctld", "-D"],
    ]  # fmt: skip
    commands += [[SBIN / "slurmd", "-D", "-N", node] for node in NODES]
    for number, command in enumerate(commands):
        with (home / f"{number}-{Path(command[0]).name}.log").open("wb") as log:
            program = subprocess.Popen(command, env=environ, stdout=log, stderr=log)
        ending.callback(program.wait, 20)
        ending.callback(program.terminate)
        if number == 0:
            wait_for((munge / "munge.sock").exists, what="munged")
