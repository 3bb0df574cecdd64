"""The identity of this process, from the launcher's environment."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epochcost.progress.parse import safe_run
from epochcost.training.job import Job, job_run_id, launched_job, safe, users_run_name, visible_gpus


@pytest.mark.parametrize(
    ("environ", "team"),
    [
        ({}, ""),
        ({"SLURM_JOB_ACCOUNT": "physics"}, "physics"),
        ({"EPOCHCOST_TEAM": "vision", "SLURM_JOB_ACCOUNT": "physics"}, "vision"),
        ({"EPOCHCOST_TEAM": "  ", "SLURM_JOB_ACCOUNT": "physics"}, "physics"),
    ],
)
def test_the_team_is_the_configured_one_or_else_slurms_account(environ, team):
    assert launched_job(environ).team == team


@pytest.mark.parametrize(
    ("environ", "run"),
    [
        ({"EPOCHCOST_RUN": "a", "SLURM_JOB_ID": "7"}, "a"),
        ({"SLURM_JOB_ID": "7", "TORCHELASTIC_RUN_ID": "t"}, "7"),
        ({"TORCHELASTIC_RUN_ID": "t", "WANDB_RUN_ID": "w"}, "t"),
        ({"TORCHELASTIC_RUN_ID": "none", "WANDB_RUN_ID": "w"}, "w"),
        ({"KUBERNETES_JOB_NAME": "train-llm"}, "train-llm"),
        ({"EPOCHCOST_RUN": " "}, None),
        ({}, None),
    ],
)
def test_a_run_is_named_by_its_launcher(environ: dict[str, str], run: str | None):
    assert (users_run_name(environ, "") or job_run_id(environ)) == (run or "")


def test_a_run_with_a_given_name_keeps_it():
    assert users_run_name({"EPOCHCOST_RUN": "a"}, "mine") == "mine"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, Job()),
        (
            {"RANK": "9", "LOCAL_RANK": "1", "WORLD_SIZE": "16", "LOCAL_WORLD_SIZE": "8", "GROUP_RANK": "1"},
            Job(rank=9, local_rank=1, node_rank=1, nodes=2, world=16),
        ),
        (
            {"SLURM_PROCID": "4", "SLURM_LOCALID": "0", "SLURM_NODEID": "1", "SLURM_NTASKS": "8", "SLURM_NNODES": "2"},
            Job(rank=4, local_rank=0, node_rank=1, nodes=2, world=8),
        ),
        (
            {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "8", "SLURM_LOCALID": "3", "SLURM_JOB_NUM_NODES": "1"},
            Job(rank=0, local_rank=0, nodes=1, world=8),
        ),
        (
            {
                "OMPI_COMM_WORLD_RANK": "3",
                "OMPI_COMM_WORLD_LOCAL_RANK": "1",
                "OMPI_COMM_WORLD_SIZE": "4",
                "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
            },
            Job(rank=3, local_rank=1, nodes=2, world=4),
        ),
        (
            {"PMI_RANK": "2", "MPI_LOCALRANKID": "0", "PMI_SIZE": "4", "MPI_LOCALNRANKS": "2"},
            Job(rank=2, local_rank=0, nodes=2, world=4),
        ),
        (
            {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "8", "LOCAL_SIZE": "8"},
            Job(rank=0, local_rank=0, nodes=1, world=8),
        ),
        ({"RANK": "many", "LOCAL_RANK": "-1", "WORLD_SIZE": ""}, Job()),
    ],
)
def test_ranks_come_from_the_innermost_launcher(environ: dict[str, str], expected: Job):
    assert launched_job(environ) == expected


@pytest.mark.parametrize(("local_rank", "writes"), [(None, True), (0, True), (1, False)])
def test_each_node_has_one_writer(local_rank: int | None, writes: bool):
    assert Job(local_rank=local_rank).writes is writes


@pytest.mark.parametrize(
    ("environ", "gpus"),
    [
        ({}, None),
        ({"CUDA_VISIBLE_DEVICES": "0,1, 2"}, ("0", "1", "2")),
        ({"CUDA_VISIBLE_DEVICES": ""}, ()),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, ()),
        ({"CUDA_VISIBLE_DEVICES": "GPU-a,MIG-b"}, ("GPU-a", "MIG-b")),
        ({"NVIDIA_VISIBLE_DEVICES": "all"}, None),
        ({"NVIDIA_VISIBLE_DEVICES": "GPU-a,GPU-b"}, ("GPU-a", "GPU-b")),
        # Within a container "0" is the container's first device, not the node's.
        ({"NVIDIA_VISIBLE_DEVICES": "GPU-a,GPU-b", "CUDA_VISIBLE_DEVICES": "0,1"}, ("GPU-a", "GPU-b")),
        ({"NVIDIA_VISIBLE_DEVICES": "GPU-a,GPU-b", "CUDA_VISIBLE_DEVICES": "1"}, None),
        ({"NVIDIA_VISIBLE_DEVICES": "all", "CUDA_VISIBLE_DEVICES": "1"}, ("1",)),
        # Slurm numbers the devices of a confined job from 0; its own lists are the node's.
        ({"SLURM_JOB_GPUS": "4,5,6,7", "CUDA_VISIBLE_DEVICES": "0,1,2,3"}, ("4", "5", "6", "7")),
        ({"SLURM_JOB_GPUS": "4,5,6,7", "CUDA_VISIBLE_DEVICES": "4,5,6,7"}, ("4", "5", "6", "7")),
        ({"SLURM_JOB_GPUS": "4,5,6,7", "CUDA_VISIBLE_DEVICES": "1"}, ("5",)),
        ({"SLURM_JOB_GPUS": "4,5,6,7", "CUDA_VISIBLE_DEVICES": "6"}, ("6",)),
        ({"SLURM_JOB_GPUS": "0,1", "CUDA_VISIBLE_DEVICES": "1"}, ("1",)),
        ({"SLURM_JOB_GPUS": "1,2,5", "CUDA_VISIBLE_DEVICES": "1"}, ("1", "2", "5")),  # 1, or the second: 2
        ({"SLURM_JOB_GPUS": "4,5", "CUDA_VISIBLE_DEVICES": "GPU-a"}, ("GPU-a",)),
        ({"SLURM_JOB_GPUS": "4,5", "CUDA_VISIBLE_DEVICES": ""}, ()),
        ({"SLURM_JOB_GPUS": "4,5", "CUDA_VISIBLE_DEVICES": "9"}, ("9",)),
        ({"SLURM_JOB_GPUS": "4,5"}, ("4", "5")),
        ({"SLURM_JOB_GPUS": ""}, None),
        ({"SLURM_JOB_GPUS": "0,1,2,3", "SLURM_STEP_GPUS": "2,3", "CUDA_VISIBLE_DEVICES": "0,1"}, ("2", "3")),
        (
            {"SLURM_STEP_GPUS": "4,5", "SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_NUM_NODES": "2"}
            | {"CUDA_VISIBLE_DEVICES": "0"},
            ("4", "5"),
        ),
        (
            {"SLURM_STEP_GPUS": "4,5", "SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NUM_NODES": "2"}
            | {"CUDA_VISIBLE_DEVICES": "0"},
            ("4",),
        ),
        ({"SLURM_JOB_GPUS": "4,5", "NVIDIA_VISIBLE_DEVICES": "GPU-a"}, ("GPU-a",)),
        ({"HIP_VISIBLE_DEVICES": "2,3"}, ("2", "3")),
        ({"ROCR_VISIBLE_DEVICES": "4,5,6", "HIP_VISIBLE_DEVICES": "1"}, ("5",)),
        ({"ROCR_VISIBLE_DEVICES": "4,5,6", "HIP_VISIBLE_DEVICES": "7"}, ("4", "5", "6")),
        ({"ROCR_VISIBLE_DEVICES": "4,5,6", "CUDA_VISIBLE_DEVICES": "0,2"}, ("4", "6")),
        ({"ROCR_VISIBLE_DEVICES": "4"}, ("4",)),
    ],
)
def test_gpus_are_what_the_whole_job_may_see(environ: dict[str, str], gpus: tuple[str, ...] | None):
    assert visible_gpus(environ) == gpus


@given(st.text(max_size=300))
def test_writer_and_reader_make_an_id_safe_in_the_same_way(name: str):
    assert safe(name) == safe_run(name)
    assert safe(safe(name)) == safe(name)


@given(st.text(max_size=300), st.text(max_size=300))
def test_different_ids_stay_different_and_fit_a_file_name(one: str, other: str):
    assert (safe(one) == safe(other)) == (one == other)
    assert set(safe(one)) <= set(string.ascii_letters + string.digits + "._:@+=-")
    assert 0 < len(safe(one)) <= 120
    assert not safe(one).startswith(".")
