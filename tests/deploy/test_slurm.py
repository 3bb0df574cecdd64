"""A real Slurm of two nodes, the shipped prolog and epilog, real training runs and a real agent on each node."""

from __future__ import annotations

import json
import os
import re
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import yaml
from tests.deploy.conftest import ROOT
from tests.deploy.slurm_cluster import SBIN, Slurm, two_nodes
from tests.waiting import wait_for

from epochcost.demo.programs import free_port

HETEROGENEOUS = """\
#SBATCH --ntasks=1 --partition=gpu --gres=gpu:1 --mem=10 --account=physics
#SBATCH hetjob
#SBATCH --ntasks=2 --partition=spare --gres=gpu:1 --mem=10
"""


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    if os.geteuid() != 0 or not (SBIN / "slurmctld").exists():
        pytest.skip("needs root and Debian's slurm-wlm")
    with two_nodes() as it:
        yield it


def train(slurm: Slurm, epochs: int = 2) -> str:
    return f"PYTHONPATH={slurm.home}/lib /usr/bin/python3 {slurm.home}/train.py {epochs}"


def contains_line(pattern: str, file: Path) -> bool:
    return file.exists() and re.search(pattern, file.read_text()) is not None


def test_two_consecutive_training_runs_in_one_job_are_two_runs_of_it(slurm: Slurm) -> None:
    job = slurm.submit(f"{train(slurm)} && {train(slurm, 3)}")
    slurm.wait_until_ended(job)
    runs = slurm.of_job(job)
    assert len(runs) == 2
    ends = sorted(max(float(str(line["epoch"])) for line in lines if "epoch" in line) for lines in runs.values())
    assert ends == [2, 3]


@pytest.mark.parametrize("tasks", [1, 2])
def test_two_loops_of_a_batch_script_that_name_no_run_are_two_runs(slurm: Slurm, tasks: int) -> None:
    event = f"PYTHONPATH={slurm.home}/lib /usr/bin/python3 -m epochcost event"
    loop = f"{event} start experiment=$name epochs=1; {event} epoch_end epoch=1; {event} end"
    job = slurm.submit(f"for name in a b; do ({loop}) & done; wait", f"--ntasks={tasks}")
    slurm.wait_until_ended(job)
    runs = slurm.of_job(job)
    assert [[line["ev"] for line in lines] for lines in runs.values()] == [["start", "epoch_end", "end"]] * 2
    assert job in runs


def test_the_epilog_frees_what_the_prolog_wrote(slurm: Slurm) -> None:
    job = slurm.submit(f"cat {slurm.home}/held-one/*; {train(slurm)}")
    slurm.wait_until_ended(job)
    assert f"{job} root" in (slurm.home / f"out-{job}").read_text()
    wait_for(lambda: not "".join(f.read_text() for f in (slurm.home / "held-one").iterdir()), what="the epilog")


def test_tasks_of_an_array_are_runs_of_their_own(slurm: Slurm) -> None:
    job = slurm.submit(train(slurm), "--array=0-1")

    def tasks() -> set[str]:
        lines = [(run, line) for run, events in slurm.runs().items() for line in events]
        return {run for run, line in lines if line["ev"] == "end" and run.startswith(f"{job}_")}

    assert wait_for(lambda: len(tasks()) == 2 and tasks(), 90, "the ends of both") == {f"{job}_0", f"{job}_1"}


def test_the_epilog_of_an_array_task_finds_its_run_without_the_array_variables(slurm: Slurm) -> None:
    job = slurm.submit(f"{train(slurm)}; sleep 3", "--array=5-6")
    costs = slurm.home / "job-costs-one"
    for task in (5, 6):
        expected = rf"job \d+: run {job}_{task}, finished, .*\$\d+\.\d\d"
        wait_for(partial(contains_line, expected, costs), 60, f"task {task}'s line")


def test_a_requeued_job_continues_its_run_as_the_next_attempt(slurm: Slurm) -> None:
    job = slurm.submit(f"{train(slurm, 3)} stuck", "--requeue")

    def halfway() -> bool:
        return any(x["ev"] == "epoch_end" and x["epoch"] == 2 for lines in slurm.of_job(job).values() for x in lines)

    wait_for(halfway, 60, "two epochs of the first attempt")
    before = list(slurm.of_job(job))
    slurm.run("scontrol", "requeue", job)
    wait_for(lambda: slurm.state(job) == "PENDING", 60, "the job being requeued")
    # Slurm revokes the first attempt's credential to the second, and would fail ("Job credential revoked") an attempt
    # that starts within the very second: it is to start in the next.
    slurm.run("scontrol", "update", f"JobId={job}", "StartTime=now+1")
    slurm.wait_until_ended(job)
    assert list(slurm.of_job(job)) == before
    (run,) = before
    assert any(x.get("attempt") == 1 for x in slurm.of_job(job)[run])

    def info() -> str:
        return "".join(slurm.series("run_info", run))

    wait_for(lambda: f'launcher_job="{job}"' in info() and 'attempt="1"' in info(), what="the attempt in run_info")

    def figures(name: str) -> list[float]:
        return [float(line.split()[-1]) for line in slurm.series(name, run)]

    wait_for(lambda: figures("run_epochs_total") == [5.0], what="2 epochs of the first attempt and 3 of the second")
    assert figures("run_lost_epochs_total") == [2.0]
    assert figures("run_useful_epochs") == [3.0]


def test_each_user_reports_into_a_directory_of_their_own_and_cannot_see_the_others(slurm: Slurm) -> None:
    job = slurm.submit(train(slurm))
    other = slurm.submit(f"ls {slurm.users()}/root || echo refused; {train(slurm)}", *slurm.as_nobody())
    slurm.wait_until_ended(job)
    wait_for(lambda: slurm.state(other) in {"COMPLETED", "FAILED"}, 60, "nobody's job")
    assert slurm.state(other) == "COMPLETED", (slurm.home / "nobodys" / f"out-{other}").read_text()
    assert {(folder.name, folder.stat().st_mode & 0o777, folder.owner()) for folder in slurm.users().iterdir()} == {
        ("root", 0o700, "root"), ("nobody", 0o700, "nobody"),
    }  # fmt: skip
    assert "refused" in (slurm.home / "nobodys" / f"out-{other}").read_text()

    def owned() -> bool:
        return any('owner_user="nobody"' in line for line in slurm.series("run_info", other))

    wait_for(owned, what="nobody's run, shown as nobody's")


def test_the_epilog_prints_the_cost_of_the_job(slurm: Slurm) -> None:
    job = slurm.submit(f"{train(slurm)} && {train(slurm, 3)} && sleep 3")
    slurm.wait_until_ended(job)
    costs = slurm.home / "job-costs-one"
    summary = wait_for(lambda: costs.exists() and f"job {job}: 2 runs" in costs.read_text() and costs.read_text(), 30)
    assert re.search(rf"job {job}: 2 runs, \$\d+\.\d\d on this machine", summary)


def test_a_job_on_two_nodes_is_one_run_with_a_part_on_each(slurm: Slurm) -> None:
    job = slurm.submit(f"srun env {train(slurm, 3)}", "--partition=wide", "--nodes=2", "--ntasks-per-node=1")
    slurm.wait_until_ended(job)
    assert list(slurm.of_job(job)) == list(slurm.of_job(job, "two")) == [f"{job}.0"]
    parts_are_right(slurm, job, f"{job}.0", world=2, partitions={"one": "wide", "two": "wide"}, epochs=3)


def test_components_of_a_heterogeneous_job_are_one_job_each_machine_in_its_own_partition(slurm: Slurm) -> None:
    job = slurm.submit(f"srun --het-group=0,1 env {train(slurm, 3)}", head=HETEROGENEOUS)
    slurm.wait_until_ended(job)
    assert list(slurm.of_job(job)) == list(slurm.of_job(job, "two")) == [f"{job}.0"]
    parts_are_right(slurm, job, f"{job}.0", world=3, partitions={"one": "gpu", "two": "spare"}, epochs=3)
    for node in slurm.agents:
        assert 'slurm_account="physics"' in "".join(slurm.series("run_info", f"{job}.0", node))


def parts_are_right(slurm: Slurm, job: str, run: str, *, world: int, partitions: dict[str, str], epochs: int) -> None:
    """One run of one job: rank 0 counts on its machine alone, dollars are counted on each."""
    for node, partition in partitions.items():
        facts = f'launcher_job="{job}"', f'nodes="{len(partitions)}"', f'world="{world}"'
        (info,) = wait_for(partial(slurm.series, "run_info", run, node), what=f"the run on node {node}")
        assert not [fact for fact in (*facts, f'slurm_partition="{partition}"') if fact not in info], info
        assert wait_for(partial(slurm.series, "run_cost_usd_total", run, node), what="its dollars")
    wait_for(lambda: [x.split()[-1] for x in slurm.series("run_epochs_total", run)] == [f"{epochs}.0"], what="epochs")
    assert slurm.series("run_epochs_total", run, "two") == []


def test_a_step_of_each_component_is_a_run_of_the_same_job_and_each_nodes_epilog_knows_it(slurm: Slurm) -> None:
    each = " & ".join(f"srun --het-group={group} env {train(slurm, 2 + group)}" for group in (0, 1))
    job = slurm.submit(f"{each} & wait; sleep 3", head=HETEROGENEOUS)
    slurm.wait_until_ended(job)
    runs = {**slurm.of_job(job), **slurm.of_job(job, "two")}
    assert sorted(runs) == [f"{job}.0", f"{job}.1"]
    assert all(any(line["ev"] == "end" and line["status"] == "finished" for line in lines) for lines in runs.values())
    for node in slurm.agents:
        costs = slurm.home / f"job-costs-{node}"
        wait_for(
            partial(contains_line, rf"job {job}: run {job}\.[01], finished, .*\$\d+\.\d\d", costs),
            30,
            f"epilog of {node}",
        )
    assert not [x for node in slurm.agents for x in (slurm.home / f"held-{node}").iterdir() if x.read_text()]


@pytest.mark.parametrize("inside", ["array", "het"])
def test_a_job_submitted_from_inside_another_is_a_job_of_its_own(slurm: Slurm, inside: str) -> None:
    """Although it inherits the other one's variables."""
    inner = slurm.home / f"inner-{inside}.sh"
    inner.write_text(f"#!/bin/bash\n{train(slurm)}\n")
    flags, head = (("--array=3-3",), "#SBATCH --gres=gpu:1") if inside == "array" else ((), HETEROGENEOUS)
    submits = f"sbatch --parsable --gres=gpu:1 --output={slurm.home}/inner-%j {inner} >{slurm.home}/inner-{inside}"
    outer = slurm.submit(f"{submits}; {train(slurm, 3)}", *flags, head=head)
    wait_for(lambda: (slurm.home / f"inner-{inside}").exists() and slurm.state(outer) == "COMPLETED", 90, "the outer")
    job = (slurm.home / f"inner-{inside}").read_text().strip()
    slurm.wait_until_ended(job)
    name = f"{outer}_3" if inside == "array" else outer
    if inside == "het":
        assert (list(slurm.of_job(job)), list(slurm.of_job(name))) == ([job], [name])
    else:  # Slurm leaves the array's variables to it: on one node the events reported there identify it
        assert len(slurm.of_job(name)) == 2


def test_dollars_by_account_partition_and_user_join_with_slurm_metrics(slurm: Slurm, tmp_path: Path) -> None:
    """By a real Prometheus with the shipped rules."""
    targets = [f"127.0.0.1:{agent.port}" for agent in slurm.agents.values()]
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [f"{ROOT}/prometheus/rules/epochcost-*.yml"],
        "scrape_configs": [{"job_name": "agents", "static_configs": [{"targets": targets}]}],
    }
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    at = f"127.0.0.1:{free_port('127.0.0.1', 0)}"
    command = ["prometheus", f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data"]
    job = slurm.submit(f"srun --het-group=0,1 env {train(slurm, 3)} stuck", *slurm.as_nobody(), head=HETEROGENEOUS)
    with (tmp_path / "log").open("wb") as log:
        store = subprocess.Popen([*command, f"--web.listen-address={at}"], stdout=log, stderr=log)
    try:
        with failure_shows(lambda: f"{rates(at)}\n{slurm.run('scontrol', 'show', 'job')}"):
            wait_for(lambda: rates(at).keys() == {"gpu", "spare"} and all(rates(at).values()), 120, "both partitions")
            # A rule reads the machine's rate of one evaluation earlier: that is less, the fewer samples there are.
            wait_for(lambda: rates(at)["gpu"] / rates(at)["spare"] == pytest.approx(2, rel=0.05), 120, "twice as much")
        queue = slurm.run("squeue", "-h", "-t", "RUNNING", "-o", "%a %P %u").splitlines()
        assert {("physics", "gpu", "nobody"), ("physics", "spare", "nobody")} == {tuple(row.split()) for row in queue}
    finally:
        store.terminate()
        store.wait(20)
        slurm.run("scancel", job)


@contextmanager
def failure_shows(details: Callable[[], str]) -> Iterator[None]:
    """A failure inside the block also shows ``details()``."""
    try:
        yield
    except AssertionError as err:
        raise AssertionError(f"{err}\n{details()}") from err


def rates(at: str) -> dict[str, float]:
    """Dollars an hour of account physics and user ``nobody`` by partition."""
    query = 'sum by (partition) (slurm:epochcost_cost_usd_per_hour:rate5m{account="physics", user="nobody"})'
    try:
        with urllib.request.urlopen(f"http://{at}/api/v1/query?{urllib.parse.urlencode({'query': query})}") as response:
            result = json.load(response)["data"]["result"]
    except OSError:
        return {}
    return {series["metric"]["partition"]: float(series["value"][1]) for series in result}
