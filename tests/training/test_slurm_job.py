"""Job metadata from Slurm's environment; the environments are those of a real Slurm 22.05."""

from __future__ import annotations

import pytest

from epochcost.training.job import launched_job
from epochcost.training.slurm_job import holds, job_id, partition

BATCH = {
    "SLURM_JOB_ID": "31", "SLURM_HET_SIZE": "2", "SLURM_JOB_ID_HET_GROUP_0": "31", "SLURM_JOB_ID_HET_GROUP_1": "32",
    "SLURM_JOB_PARTITION": "cpu", "SLURM_JOB_PARTITION_HET_GROUP_0": "cpu", "SLURM_JOB_PARTITION_HET_GROUP_1": "gpu",
    "SLURM_JOB_NODELIST_HET_GROUP_0": "c1", "SLURM_JOB_NODELIST_HET_GROUP_1": "g[01-12,20]", "SLURMD_NODENAME": "c1",
    "SLURM_JOB_ACCOUNT": "physics",
}  # fmt: skip
STEP = {**BATCH, "SLURM_JOB_PARTITION": "gpu", "SLURM_STEP_ID": "0"}
"""Of both components: the partition is the last one's on every node."""
PROLOG = {"SLURM_JOB_ID": "32", "SLURM_HET_JOB_ID": "31", "SLURM_JOB_PARTITION": "gpu"}


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({}, ""),
        ({"SLURM_JOB_ID": "7"}, "7"),
        ({"SLURM_JOB_ID": "8", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "1"}, "7_1"),
        (BATCH, "31"),
        (STEP, "31"),
        (PROLOG, "31"),
        ({**BATCH, "SLURM_JOB_ID": "32"}, "31"),
        ({"SLURM_JOB_ID": "7", "SLURM_HET_JOB_ID": "0"}, "7"),
        # Submitted from inside of that job, whose variables it inherits.
        ({**BATCH, "SLURM_JOB_ID": "40"}, "40"),
        ({**BATCH, "SLURM_JOB_ID": "40", "SLURM_ARRAY_JOB_ID": "40", "SLURM_ARRAY_TASK_ID": "3"}, "40_3"),
        ({"SLURM_JOB_ID": " ", "SLURM_HET_JOB_ID": "31"}, ""),
    ],
)
def test_all_components_are_one_job(environ: dict[str, str], name: str) -> None:
    assert job_id(environ) == name


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({}, ""),
        ({"SLURM_JOB_ID": "7", "SLURM_JOB_PARTITION": "gpu"}, "gpu"),
        (BATCH, "cpu"),
        (STEP, "cpu"),
        ({**STEP, "SLURMD_NODENAME": "g07"}, "gpu"),
        ({**STEP, "SLURMD_NODENAME": "g13"}, ""),  # of neither: not known
        ({**STEP, "SLURMD_NODENAME": ""}, ""),
        ({**STEP, "SLURMD_NODENAME": "", "SLURM_JOB_PARTITION_HET_GROUP_0": "gpu"}, "gpu"),
        ({**STEP, "SLURM_JOB_NODELIST_HET_GROUP_1": "c[1-3]"}, ""),  # in both
        ({**STEP, "SLURM_JOB_ID": "40", "SLURM_JOB_PARTITION": "debug"}, "debug"),
    ],
)
def test_each_machine_is_in_the_partition_of_its_component(environ: dict[str, str], name: str) -> None:
    assert partition(environ) == name


@pytest.mark.parametrize(
    ("listed", "node", "expected"),
    [
        ("gpu1", "gpu1", True),
        ("gpu1", "gpu10", False),
        ("gpu1,gpu10", "gpu10", True),
        ("gpu[1-12]", "gpu7", True),
        ("gpu[1-12]", "gpu07", False),
        ("gpu[01-12]", "gpu07", True),
        ("gpu[01-12]", "gpu7", False),
        ("gpu[008-101]", "gpu100", True),
        ("gpu[08-101]", "gpu100", True),
        ("gpu[1,3,5-7],login", "gpu4", False),
        ("gpu[1,3,5-7],login", "gpu6", True),
        ("gpu[1,3,5-7],login", "login", True),
        ("rack[1-2]n[1-4]", "rack2n3", True),
        ("rack[1-2]n[1-4]", "rack3n3", False),
        ("a.b[1-2]", "aXb1", False),
        ("gpu[0-2]", "gpu0", True),
        ("", "gpu1", False),
        ("gpu1", "", False),
        ("gpu[", "gpu1", False),
        ("gpu[]", "gpu1", False),
        ("gpu[x-y]", "gpu1", False),
        ("gpu[1-99999999999999999999]", "gpu5", False),  # no list that Slurm writes
        ("gpu[1-9]", "gpu٣", False),
    ],
)
def test_a_node_is_found_in_a_list_of_hosts(listed: str, node: str, expected: bool) -> None:
    assert holds(listed, node) is expected


def test_account_and_partition_are_slurms_even_with_a_configured_team() -> None:
    job = launched_job({**STEP, "EPOCHCOST_TEAM": "language"})
    assert (job.team, job.slurm_account, job.slurm_partition) == ("language", "physics", "cpu")
    task = launched_job({"SLURM_JOB_ID": "71", "SLURM_ARRAY_JOB_ID": "70", "SLURM_ARRAY_TASK_ID": "1"})
    assert (task.job, task.slurm_job_id) == ("70_1", "71")
    assert (
        launched_job({"SLURM_JOB_ACCOUNT": "physics", "SLURM_JOB_PARTITION": "gpu"}).slurm_partition == ""
    )  # no job of Slurm
