"""A real Slurm of one node with two GPUs, the shipped prolog and epilog, real trainings and a real agent."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.agent.test_agent_process import AgentProcess
from tests.deploy.conftest import ROOT
from tests.waiting import wait_for

from epochcost.demo.programs import free_port

SBIN = Path("/usr/sbin")
CONF = """\
ClusterName=lab
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmctldPort={ctl}
SlurmdPort={node}
AuthType=auth/munge
AuthInfo=socket={home}/munge/munge.sock
CryptoType=crypto/munge
StateSaveLocation={home}/state
SlurmdSpoolDir={home}/spool
SlurmctldPidFile={home}/slurmctld.pid
SlurmdPidFile={home}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
GresTypes=gpu
ReturnToService=2
MpiDefault=none
SwitchType=switch/none
Prolog={scripts}/prolog.sh
Epilog={scripts}/epilog.sh
TaskProlog={scripts}/task_prolog.sh
PrologFlags=Alloc
PropagateResourceLimits=NONE
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=1000 Gres=gpu:2 State=UNKNOWN
PartitionName=gpu Nodes={host} Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:4
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
    """A controller and a node that accept jobs."""

    home: Path
    environ: dict[str, str]
    events: Path

    def run(self, *command: str) -> str:
        done = subprocess.run(command, env=self.environ, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def submit(self, body: str, *flags: str) -> str:
        script = self.home / f"job-{len(list(self.home.glob('job-*')))}.sh"
        script.write_text(f"#!/bin/bash\n{textwrap.dedent(body)}\n")
        return self.run(
            "sbatch", "--parsable", "--gres=gpu:1", f"--output={self.home}/out-%j", *flags, str(script)
        ).strip()

    def state(self, job: str) -> str:
        return self.run("scontrol", "show", "job", job).partition("JobState=")[2].split()[0]

    def ended(self, job: str) -> None:
        done = {"COMPLETED", "FAILED", "CANCELLED", "NODE_FAIL", "TIMEOUT"}
        wait_for(lambda: self.state(job) in done, 120, f"the end of job {job} ({self.home}/out-{job})")
        assert self.state(job) == "COMPLETED", (self.home / f"out-{job}").read_text()

    def runs(self) -> dict[str, list[dict[str, Any]]]:
        """Event lines by run."""
        found: dict[str, list[dict[str, Any]]] = {}
        for file in sorted((self.events.parent / "users").glob("*/*.jsonl")):
            for line in map(json.loads, file.read_text().splitlines()):
                found.setdefault(line["run"], []).append(line)
        return found


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    home = Path(tempfile.mkdtemp(prefix="epochcost-agent-"))  # where other users may go
    home.chmod(0o755)
    flags = ("--gpus.source=none", "--price.usd-per-hour=3600", f"--events.user-dirs={home}/users/*")
    started = AgentProcess(home, *flags).up()
    yield started
    started.end(15)
    shutil.rmtree(home)


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory, agent: AgentProcess) -> Iterator[Slurm]:
    if os.geteuid() != 0 or not (SBIN / "slurmctld").exists():
        pytest.skip("needs root and Debian's slurm-wlm")
    home = Path("/tmp") / f"epochcost-slurm-{os.getpid()}"  # munge wants short paths, of root alone
    for folder in ("munge", "state", "spool", "gpus"):
        (home / folder).mkdir(parents=True, mode=0o755)
    (home / "train.py").write_text(TRAINING)
    ctl, node = free_port("127.0.0.1", 0), free_port("127.0.0.1", 0)
    text = CONF.format(
        host=socket.gethostname().partition(".")[0], home=home, ctl=ctl, node=node, cpus=os.cpu_count(), scripts=home
    )
    into = f"EPOCHCOST_JOB_LOG='tee -a {home}/job-costs' PATH=$PATH:{Path(sys.executable).parent}"
    url = f"EPOCHCOST_AGENT_URL=http://127.0.0.1:{agent.port}"
    settings = f"export EPOCHCOST_SLURM_DIR={home}/held EPOCHCOST_USERS_DIR={agent.events.parent}/users {url} {into}\n"
    for script in (ROOT / "deploy" / "slurm").glob("*.sh"):
        shebang, rest = script.read_text().split("\n", 1)
        (home / script.name).write_text(f"{shebang}\n{settings}{rest}")
        (home / script.name).chmod(0o755)
    (home / "slurm.conf").write_text(text)
    for gpu in ("gpu0", "gpu1"):
        subprocess.run(["mknod", home / "gpus" / gpu, "c", "1", "3"], check=True)
    (home / "gres.conf").write_text(f"AutoDetect=off\nName=gpu File={home}/gpus/gpu[0-1]\n")
    (home / "munge" / "key").write_bytes(os.urandom(128))
    (home / "munge" / "key").chmod(0o400)
    environ = {**os.environ, "SLURM_CONF": str(home / "slurm.conf"), "PYTHONPATH": str(ROOT / "exporter")}
    munge = home / "munge"
    commands = (
        [SBIN / "munged", "-F", "-f", f"--socket={munge}/munge.sock", f"--key-file={munge}/key",
         f"--pid-file={munge}/pid", f"--log-file={munge}/log", f"--seed-file={munge}/seed"],
        [SBIN / "slurmctld", "-D"],
        [SBIN / "slurmd", "-D"],
    )  # fmt: skip
    programs = []
    try:
        for command in commands:
            with (home / f"{Path(command[0]).name}.log").open("wb") as log:  # type: ignore[arg-type]
                programs.append(subprocess.Popen(command, env=environ, stdout=log, stderr=log))  # type: ignore[arg-type]
            if len(programs) == 1:
                wait_for((munge / "munge.sock").exists, what="munged")
        it = Slurm(home, environ, agent.events)
        ready = ["sinfo", "-h", "-o", "%T"]

        def idle() -> bool:
            done = subprocess.run(ready, env=environ, capture_output=True, text=True, check=False)
            return done.stdout.strip() == "idle"

        wait_for(idle, 60, f"the node being idle ({home}/slurmd.log, slurmctld.log)")
        yield it
    finally:
        for program in reversed(programs):
            program.terminate()
            program.wait(20)
        shutil.rmtree(home, ignore_errors=True)


def train(slurm: Slurm, epochs: int = 2) -> str:
    return f"{sys.executable} {slurm.home}/train.py {epochs}"


def test_two_trainings_one_after_the_other_in_one_job_are_two_runs_of_it(slurm: Slurm) -> None:
    job = slurm.submit(f"{train(slurm)} && {train(slurm, 3)}")
    slurm.ended(job)
    runs = {name: lines for name, lines in slurm.runs().items() if any(line.get("job") == job for line in lines)}
    assert len(runs) == 2
    ends = sorted(max(float(str(line["epoch"])) for line in lines if "epoch" in line) for lines in runs.values())
    assert ends == [2, 3]


def test_the_epilog_frees_what_the_prolog_wrote(slurm: Slurm) -> None:
    job = slurm.submit(f"cat {slurm.home}/held/*; {train(slurm)}")
    slurm.ended(job)
    assert f"{job} root" in (slurm.home / f"out-{job}").read_text()
    wait_for(lambda: not "".join(f.read_text() for f in (slurm.home / "held").iterdir()), what="the epilog")


def test_tasks_of_an_array_are_runs_of_their_own(slurm: Slurm) -> None:
    job = slurm.submit(train(slurm), "--array=0-1")

    def tasks() -> set[str]:
        lines = [(run, line) for run, found in slurm.runs().items() for line in found]
        return {run for run, line in lines if line["ev"] == "end" and run.startswith(f"{job}_")}

    assert wait_for(lambda: len(tasks()) == 2 and tasks(), 90, "the ends of both") == {f"{job}_0", f"{job}_1"}


def test_a_requeued_job_goes_on_with_its_run_as_its_next_attempt(slurm: Slurm, agent: AgentProcess) -> None:
    job = slurm.submit(f"{train(slurm, 3)} stuck", "--requeue")

    def mine() -> dict[str, list[dict[str, Any]]]:
        return {run: lines for run, lines in slurm.runs().items() if any(x.get("job") == job for x in lines)}

    def halfway() -> bool:
        return any(x["ev"] == "epoch_end" and x["epoch"] == 2 for lines in mine().values() for x in lines)

    wait_for(halfway, 60, "two epochs of the first attempt")
    before = list(mine())
    slurm.run("scontrol", "requeue", job)
    wait_for(lambda: slurm.state(job) == "PENDING", 60, "the job being requeued")
    slurm.run("scontrol", "update", f"JobId={job}", "StartTime=now")
    slurm.ended(job)
    assert list(mine()) == before
    (run,) = before
    assert any(x.get("attempt") == 1 for x in mine()[run])

    def info() -> str:
        return next((x for x in agent.get("/metrics")[1].splitlines() if "run_info{" in x and f'run="{run}"' in x), "")

    wait_for(lambda: f'launcher_job="{job}"' in info() and 'attempt="1"' in info(), what="the attempt in run_info")

    def figures(name: str) -> list[float]:
        text = agent.get("/metrics")[1].splitlines()
        return [float(x.split()[-1]) for x in text if x.startswith(f"epochcost_{name}{{") and f'run="{run}"' in x]

    wait_for(lambda: figures("run_epochs_total") == [5.0], what="2 epochs of the first attempt and 3 of the second")
    assert figures("run_lost_epochs_total") == [2.0]
    assert figures("run_useful_epochs") == [3.0]


def test_each_user_reports_into_a_directory_of_his_own_and_cannot_see_the_others(
    slurm: Slurm, agent: AgentProcess
) -> None:
    out = slurm.home / "nobodys"
    out.mkdir()
    shutil.chown(out, "nobody")
    shutil.copytree(ROOT / "exporter" / "epochcost", slurm.home / "lib" / "epochcost")  # where nobody may read
    run = f"PYTHONPATH={slurm.home}/lib /usr/bin/python3 {slurm.home}/train.py 2"
    job = slurm.submit(train(slurm))
    flags = ("--uid=nobody", "--chdir=/tmp", f"--output={out}/log")
    other = slurm.submit(f"ls {agent.events.parent}/users/root || echo refused; {run}", *flags)
    slurm.ended(job)
    wait_for(lambda: slurm.state(other) in {"COMPLETED", "FAILED"}, 60, "nobody's job")
    assert slurm.state(other) == "COMPLETED", (out / "log").read_text()
    users = agent.events.parent / "users"
    assert {(folder.name, folder.stat().st_mode & 0o777, folder.owner()) for folder in users.iterdir()} == {
        ("root", 0o700, "root"), ("nobody", 0o700, "nobody"),
    }  # fmt: skip
    assert "refused" in (out / "log").read_text()

    def owned() -> bool:
        lines = [x for x in agent.get("/metrics")[1].splitlines() if x.startswith("epochcost_run_info{")]
        return any(f'launcher_job="{other}"' in x and 'owner_user="nobody"' in x for x in lines)

    wait_for(owned, what="nobody's run, shown as nobody's")


def test_the_epilog_says_what_the_job_cost(slurm: Slurm) -> None:
    job = slurm.submit(f"{train(slurm)} && {train(slurm, 3)} && sleep 3")
    slurm.ended(job)
    costs = slurm.home / "job-costs"
    said = wait_for(lambda: costs.exists() and f"job {job}: 2 runs" in costs.read_text() and costs.read_text(), 30)
    assert re.search(rf"job {job}: 2 runs, \$\d+\.\d\d on this machine", said)
