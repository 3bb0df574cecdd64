"""GPU owners: runs, Slurm jobs, containers, users; the shares of one GPU always sum to 1."""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epochcost.model import GpuOwner, GpuSample, RunId
from epochcost.owners.cgroup import Workload, workload_of
from epochcost.owners.feed import FRESH_SECONDS, OwnerFeed
from epochcost.owners.owner_source import OwnerError, label
from epochcost.owners.processes import FIRST_PID_NAMESPACE, ProcessOwners
from epochcost.owners.runs import run_owners
from epochcost.owners.shares import MAX_OWNERS, combined
from epochcost.owners.slurm import SlurmAllocations
from epochcost.owners.slurm_jobs import SlurmJobs, jobs_by_pid, listed_pids

GPUS = [GpuSample("0", "GPU-a"), GpuSample("1", "GPU-b")]
ID = "3f8a1c9d2b7e" + "0123456789abcdef" * 3 + "0123"
ID2 = "a" * 64
ME = pwd.getpwuid(os.getuid()).pw_name


# -- shares ------------------------------------------------------------------------------------------------------------


def test_the_first_layer_that_knows_a_gpu_names_its_owners():
    runs = run_owners({"GPU-a": (RunId("r1"), RunId("r2"))})
    pods = [GpuOwner("GPU-a", "kubernetes", "p", 1.0), GpuOwner("GPU-b", "kubernetes", "q", 1.0)]
    assert [(o.uuid, o.owner, o.share_ratio) for o in combined([runs, pods])] == [
        ("GPU-a", "r1", 0.5),
        ("GPU-a", "r2", 0.5),
        ("GPU-b", "q", 1.0),
    ]


def test_later_layers_add_what_they_agree_on():
    runs = run_owners({"GPU-a": (RunId("r"),), "GPU-b": (RunId("r"),)})
    pods = [GpuOwner("GPU-a", "kubernetes", "p", 1.0, "team-a", "main")]
    users = [
        GpuOwner("GPU-a", "user", "ann", 1.0, user="ann"),
        GpuOwner("GPU-b", "user", "ann", 1.0, user="ann"),
        GpuOwner("GPU-b", "user", "bob", 1.0, user="bob"),
    ]
    assert combined([runs, pods, users]) == (
        GpuOwner("GPU-a", "run", "r", 1.0, "team-a", "main", "ann"),
        GpuOwner("GPU-b", "run", "r", 1.0),
    )


def test_a_gpu_of_very_many_is_shown_as_a_few_and_the_others():
    owners = combined([[GpuOwner("GPU-a", "user", f"u{i:03}", 1 + i) for i in range(500)]])
    assert len(owners) == MAX_OWNERS
    assert owners[0].owner == "u499"
    assert (owners[-1].kind, owners[-1].owner) == ("others", "others")
    assert sum(owner.share_ratio for owner in owners) == pytest.approx(1, abs=1e-12)


OWNERS = st.lists(
    st.builds(
        GpuOwner,
        uuid=st.sampled_from(["GPU-a", "GPU-b", "GPU-c"]),
        kind=st.sampled_from(["run", "kubernetes", "slurm", "container", "user"]),
        owner=st.sampled_from("abcdefghijklmnopqrstuvwxyz"),
        share_ratio=st.floats(0, 1e12),
        user=st.sampled_from(["", "ann", "bob"]),
    ),
    max_size=60,
)


@given(st.lists(OWNERS, max_size=4))
def test_the_shares_of_each_gpu_always_sum_to_one(layers: list[list[GpuOwner]]):
    owners = combined(layers)
    for uuid in {owner.uuid for owner in owners}:
        shares = [owner.share_ratio for owner in owners if owner.uuid == uuid]
        assert sum(shares) == pytest.approx(1, abs=1e-9)
        assert all(0 <= share <= 1 for share in shares)
    identities = [(o.uuid, o.kind, o.owner, o.namespace, o.container, o.user) for o in owners]
    assert len(identities) == len(set(identities))  # no series twice


# -- control groups ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cgroup", "place"),
    [
        ("0::/user.slice/user-1000.slice/session-3.scope", Workload()),
        ("0::/", Workload()),
        ("", Workload()),
        ("nonsense\n::\n4:memory", Workload()),
        ("9:memory:/slurm/uid_1000/job_4711/step_0/task_0\n1:name=systemd:/", Workload("4711")),
        ("9:memory:/slurm_node7/uid_1000/job_4711/step_batch", Workload("4711")),
        ("0::/system.slice/slurmstepd.scope/job_4711/step_0/user/task_0", Workload("4711")),
        ("0::/system.slice/node7_slurmstepd.scope/job_8/step_extern/user", Workload("8")),
        (f"0::/system.slice/docker-{ID}.scope", Workload("", ID[:12])),
        (f"12:devices:/docker/{ID}\n0::/", Workload("", ID[:12])),
        (f"0::/docker/{ID2}/docker/{ID}", Workload("", ID[:12])),
        (f"0::/kubepods.slice/kubepods-pod1_2.slice/cri-containerd-{ID}.scope", Workload("", ID[:12])),
        (f"0::/kubepods/burstable/pod12-34/{ID}", Workload("", ID[:12])),
        (f"0::/system.slice/containerd.service/kubepods-pod1.slice:cri-containerd:{ID}", Workload("", ID[:12])),
        (f"0::/machine.slice/libpod-{ID}.scope/container", Workload("", ID[:12])),
        (f"0::/kubepods.slice/crio-{ID}.scope", Workload("", ID[:12])),
        (f"0::/default/{ID}", Workload("", ID[:12])),
        ("0::/system.slice/slurmstepd.scope/s0ABCDEFGHJ000/step_0/user/task_0", Workload(sluid="s0ABCDEFGHJ000")),
        ("9:memory:/slurm/uid_1/s0ABCDEFGHJ001/step_0\n0::/", Workload(sluid="s0ABCDEFGHJ001")),
        ("0::/system.slice/slurmstepd.scope/system/x", Workload(unknown="slurm")),
        ("0::/system.slice/slurmstepd.scope/job-12/step_0", Workload(unknown="slurm")),
        ("0::/kubepods.slice/kubepods-pod1.slice/cri-next-of-another-form.scope", Workload(unknown="kubernetes")),
        ("0::/machine.slice/machine-vm1.scope", Workload(unknown="container")),
        ("0::/workload.slice/x", Workload(unknown="other")),
        ("0::/system.slice/train.service", Workload()),
        ("0::/init.scope", Workload()),
        (f"0::/docker/{ID[:63]}", Workload(unknown="container")),
        (f"9:cpu:/slurm/uid_1/job_5/step_0\n8:x:/docker/{ID}", Workload("5", ID[:12])),
        ("0::/user.slice/job_12/step_0", Workload()),  # any user can create a directory of that name
    ],
)
def test_a_control_group_identifies_the_job_or_the_container(cgroup: str, place: Workload):
    assert workload_of(cgroup) == place


@given(st.text(max_size=2000))
def test_no_control_group_creates_arbitrary_labels(cgroup: str):
    place = workload_of(cgroup)
    assert place.slurm_job == "" or place.slurm_job.isdecimal()
    assert len(place.container) in (0, 12)


# -- processes ---------------------------------------------------------------------------------------------------------


class Driver:
    """The driver's list of processes."""

    def __init__(self, pids: Mapping[str, Mapping[int, int | None]]) -> None:
        self.listed = pids

    def pids(self) -> Mapping[str, Mapping[int, int | None]]:
        return self.listed


class DeadDriver:
    def pids(self) -> Mapping[str, Mapping[int, int | None]]:
        raise OSError("nvmlInit: Driver Not Loaded")


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "self/ns").mkdir(parents=True)
    (tmp_path / "self/ns/pid").symlink_to(FIRST_PID_NAMESPACE)
    return tmp_path


def process(proc: Path, pid: int, cgroup: str = "0::/user.slice", uid: int | None = None) -> None:
    (proc / str(pid)).mkdir()
    (proc / str(pid) / "cgroup").write_text(cgroup + "\n")
    uid = os.getuid() if uid is None else uid
    (proc / str(pid) / "status").write_text(f"Name:\tpython3\nUid:\t{uid}\t0\t0\t0\nGid:\t0\t0\t0\t0\n")
    (proc / str(pid) / "cmdline").write_text("python train.py --api-key=secret")


def test_a_gpu_belongs_to_its_processes_by_the_memory_they_hold(proc: Path):
    process(proc, 10, "0::/system.slice/slurmstepd.scope/job_7/step_0/user/task_0")
    process(proc, 11, f"0::/system.slice/docker-{ID}.scope", uid=4_000_000_000)
    process(proc, 12)
    source = ProcessOwners(Driver({"GPU-a": {10: 600, 11: 300, 12: 100}, "GPU-x": {12: 5}}), proc=proc)
    assert combined([source.owners(GPUS)]) == (
        GpuOwner("GPU-a", "slurm", "7", 0.6, user=ME),
        GpuOwner("GPU-a", "container", ID[:12], 0.3, container=ID[:12], user="4000000000"),
        GpuOwner("GPU-a", "user", ME, 0.1, user=ME),
    )


@pytest.mark.parametrize("used_bytes", [(None, None), (500, None), (0, 0)])
def test_if_the_memory_is_unknown_the_shares_are_equal(proc: Path, used_bytes: tuple[int | None, int | None]):
    process(proc, 10)
    process(proc, 11, f"0::/docker/{ID}")
    source = ProcessOwners(Driver({"GPU-a": dict(zip((10, 11), used_bytes, strict=True))}), proc=proc)
    assert [owner.share_ratio for owner in combined([source.owners(GPUS)])] == [0.5, 0.5]


def test_two_processes_of_one_user_are_one_owner(proc: Path):
    process(proc, 10)
    process(proc, 11)
    source = ProcessOwners(Driver({"GPU-a": {10: 1, 11: 3}}), proc=proc)
    assert combined([source.owners(GPUS)]) == (GpuOwner("GPU-a", "user", ME, 1.0, user=ME),)


SLUID = "s0ABCDEFGHJ000"
STEP = f"0::/system.slice/slurmstepd.scope/{SLUID}/step_0/user/task_0"


def test_a_job_without_a_number_in_its_path_comes_from_slurms_process_list_once(proc: Path):
    process(proc, 10, STEP)
    process(proc, 11, STEP)
    requested = []

    def listed() -> str:
        requested.append(1)
        return "PID      JOBID    STEPID   LOCALID GLOBALID\n10       4711     0        0       0\n-1 - - - -\n"

    source = ProcessOwners(Driver({"GPU-a": {10: 1, 11: 1}}), proc=proc, slurm_jobs=SlurmJobs(listed))
    for _ in range(3):
        assert combined([source.owners(GPUS)]) == (GpuOwner("GPU-a", "slurm", "4711", 1.0, user=ME),)
    assert len(requested) == 1
    assert not source.not_understood


def test_without_that_list_slurms_own_variable_identifies_the_job(proc: Path):
    process(proc, 10, STEP)
    (proc / "10" / "environ").write_bytes(b"API_KEY=secret\0SLURM_JOB_ID=4712\0X=SLURM_JOB_ID=1\0")
    source = ProcessOwners(Driver({"GPU-a": {10: 1}}), proc=proc, slurm_jobs=SlurmJobs(lambda: ""))
    assert combined([source.owners(GPUS)]) == (GpuOwner("GPU-a", "slurm", "4712", 1.0, user=ME),)
    assert not source.not_understood


@pytest.mark.parametrize(
    "environ", [None, b"", b"SLURM_JOB_ID=", b"SLURM_JOB_ID=../x\0", b"SLURM_JOB_ID=99999999999\0", b"\xff" * 100]
)
def test_an_unidentified_job_has_slurms_name_for_it_and_is_counted_and_logged_once(
    proc: Path, environ: bytes | None, caplog: pytest.LogCaptureFixture
):
    process(proc, 10, STEP)
    if environ is not None:
        (proc / "10" / "environ").write_bytes(environ)
    source = ProcessOwners(Driver({"GPU-a": {10: 1}}), proc=proc, slurm_jobs=SlurmJobs(lambda: "no list\n"))
    for _ in range(3):
        assert combined([source.owners(GPUS)]) == (GpuOwner("GPU-a", "slurm", SLUID, 1.0, user=ME),)
        assert source.not_understood == {"slurm": 1}
    assert len([r for r in caplog.records if SLUID in r.getMessage()]) == 1


def test_a_path_of_unknown_form_belongs_to_the_user_and_is_counted(proc: Path):
    process(proc, 10, "0::/kubepods.slice/cri-next-of-another-form.scope")
    process(proc, 11, "0::/workload.slice/x")
    process(proc, 12)
    source = ProcessOwners(Driver({"GPU-a": {10: 1, 11: 1}, "GPU-b": {10: 1, 12: 1}}), proc=proc)
    assert {owner.kind for owner in source.owners(GPUS)} == {"user"}
    assert source.not_understood == {"kubernetes": 1, "other": 1}


@pytest.mark.parametrize("listed", ["exit 1", "echo 10 42 0 0 0; sleep 60", "echo 10 42 0 0 0", "kill -9 $$"])
def test_slurms_own_program_is_queried_and_may_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listed: str):
    program = tmp_path / "scontrol"
    program.write_text(f"#!/bin/sh\n[ $1 = listpids ] || exit 9\n{listed}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr("epochcost.owners.slurm_jobs.QUESTION_SECONDS", 0.5)
    assert jobs_by_pid(listed_pids()) == ({10: "42"} if listed.endswith("0") and "sleep" not in listed else {})


def test_a_process_that_has_gone_is_left_out(proc: Path):
    process(proc, 10)
    source = ProcessOwners(Driver({"GPU-a": {10: 1, 99: 3}, "GPU-b": {98: 1}}), proc=proc)
    assert combined([source.owners(GPUS)]) == (GpuOwner("GPU-a", "user", ME, 1.0, user=ME),)


@pytest.mark.parametrize(
    ("kinds", "kind"), [(("slurm",), "slurm"), (("container", "user"), "container"), (("user",), "user"), ((), None)]
)
def test_only_the_configured_kinds_are_reported(proc: Path, kinds: tuple[str, ...], kind: str | None):
    process(proc, 10, f"9:cpu:/slurm/uid_1/job_5/step_0\n8:x:/docker/{ID}")
    owners = ProcessOwners(Driver({"GPU-a": {10: 1}}), kinds, proc).owners(GPUS)
    assert [owner.kind for owner in owners] == ([kind] if kind else [])


def test_in_its_own_pid_namespace_the_pids_mean_other_processes_and_there_are_no_owners(proc: Path):
    process(proc, 10)
    (proc / "self/ns/pid").unlink()
    (proc / "self/ns/pid").symlink_to("pid:[4026532561]")
    assert ProcessOwners(Driver({"GPU-a": {10: 1}}), proc=proc).owners(GPUS) == []


def test_a_driver_that_does_not_respond_is_an_error(proc: Path):
    with pytest.raises(OwnerError, match="processes on the GPUs: nvmlInit: Driver Not Loaded"):
        ProcessOwners(DeadDriver(), proc=proc).owners(GPUS)
    with pytest.raises(OwnerError, match="self/ns/pid: No such file"):
        ProcessOwners(Driver({}), proc=proc / "nothing").owners(GPUS)


def test_command_lines_are_never_read_and_environments_only_where_slurm_hides_the_job(
    proc: Path, monkeypatch: pytest.MonkeyPatch
):
    read: list[tuple[int, str]] = []
    original = ProcessOwners._bytes

    def spied(self: ProcessOwners, pid: int, name: str, most: int) -> bytes:
        read.append((pid, name))
        return original(self, pid, name, most)

    monkeypatch.setattr(ProcessOwners, "_bytes", spied)
    for pid, cgroup in {10: STEP, 11: STEP.replace(SLUID, "job_5"), 12: f"0::/docker/{ID}", 13: "0::/odd"}.items():
        process(proc, pid, cgroup)
        (proc / str(pid) / "environ").write_bytes(b"SLURM_JOB_ID=5\0")
    ProcessOwners(Driver({"GPU-a": dict.fromkeys((10, 11, 12, 13), 1)}), proc=proc).owners(GPUS)
    assert {name for _, name in read} == {"cgroup", "status", "environ"}
    assert [pid for pid, name in read if name == "environ"] == [10]


# -- Slurm's prolog ----------------------------------------------------------------------------------------------------


def test_the_prologs_files_give_the_jobs_by_index_or_uuid(tmp_path: Path):
    (tmp_path / "0").write_text("4711 ann\n4712 bob\n")
    (tmp_path / "GPU-b").write_text("88_3\n\n")
    assert combined([SlurmAllocations(tmp_path).owners(GPUS)]) == (
        GpuOwner("GPU-a", "slurm", "4711", 0.5, user="ann"),
        GpuOwner("GPU-a", "slurm", "4712", 0.5, user="bob"),
        GpuOwner("GPU-b", "slurm", "88_3", 1.0),
    )


def test_without_the_directory_or_with_empty_files_no_gpu_has_an_owner(tmp_path: Path):
    assert SlurmAllocations(tmp_path / "nothing").owners(GPUS) == []
    (tmp_path / "0").write_text("")
    assert SlurmAllocations(tmp_path).owners(GPUS) == []


def test_a_nonsensical_line_is_left_out_and_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (tmp_path / "0").write_bytes(b"\xff\xfe rm -rf\n4711 ann\n4712 ann extra\n")
    source = SlurmAllocations(tmp_path)
    assert [owner.owner for owner in source.owners(GPUS)] == ["4711"]
    source.owners(GPUS)
    assert caplog.text.count("is not a job ID with an optional user") == 1
    assert "line 1" in caplog.text
    assert "rm -rf" not in caplog.text


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path):
    (tmp_path / "1").mkdir()
    with pytest.raises(OwnerError, match=r"/1: not a regular file"):
        SlurmAllocations(tmp_path).owners(GPUS)


def refusal(directory: Path) -> str:
    started_at = time.monotonic()
    with pytest.raises(OwnerError) as caught:
        SlurmAllocations(directory).owners(GPUS)
    assert time.monotonic() - started_at < 5.0  # a pipe would block forever
    assert "secretpin" not in str(caught.value)
    return str(caught.value)


def test_files_of_other_users_make_no_owners_and_are_not_repeated(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (tmp_path / "secret").write_text("4242424242 secretpin\n")
    his = tmp_path / "his"
    his.mkdir(mode=0o755)
    (his / "0").write_text("666 root\n")
    (tmp_path / "link").symlink_to(his)
    assert "symbolic link" in refusal(tmp_path / "link")
    his.chmod(0o1777)
    assert "can be written by others" in refusal(his)
    his.chmod(0o755)
    if os.geteuid() == 0:
        os.chown(his, 65534, 65534)
        assert "belongs to user 65534" in refusal(his)
        os.chown(his, 0, 0)
        os.chown(his / "0", 65534, 65534)
        assert "belongs to user 65534" in refusal(his)
    (his / "0").unlink()
    (his / "GPU-a").symlink_to(tmp_path / "secret")
    assert "symbolic link" in refusal(his)
    (his / "GPU-a").unlink()
    (his / "GPU-a").hardlink_to(tmp_path / "secret")
    assert "another hard link" in refusal(his)
    (his / "GPU-a").unlink()
    os.mkfifo(his / "GPU-a")
    assert "not a regular file" in refusal(his)
    assert "secretpin" not in caplog.text


@pytest.mark.parametrize("uuid", ["..", ".", "", "\x00", "../secret", "a\x00b", "x" * 300])
def test_the_name_of_a_gpu_cannot_escape_the_directory(tmp_path: Path, uuid: str):
    (tmp_path / "slurm").mkdir()
    (tmp_path / "secret").write_text("1 root\n")
    gpu = GpuSample(uuid, uuid)
    assert SlurmAllocations(tmp_path / "slurm").owners([gpu]) == []


# -- repeated polling ------------------------------------------------------------------------------------------


class FixedOwners:
    name = "fixed"
    not_understood: Mapping[str, int] = {}

    def __init__(self) -> None:
        self.result: list[GpuOwner] | Exception = [GpuOwner("GPU-a", "user", "ann", 1.0)]

    def owners(self, gpus: object) -> list[GpuOwner]:
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


def test_a_result_is_valid_for_half_a_minute():
    clock = [0.0]
    source = FixedOwners()
    feed = OwnerFeed(source, lambda: GPUS, lambda: clock[0])
    assert feed.owners() == ()
    feed.ask()
    assert [owner.owner for owner in feed.owners()] == ["ann"]
    source.result = OwnerError("the kubelet is being updated")
    clock[0] = FRESH_SECONDS
    feed.ask()
    assert feed.error == "the kubelet is being updated"
    assert feed.owners() != ()
    clock[0] = FRESH_SECONDS + 1
    assert feed.owners() == ()
    source.result = []
    feed.ask()
    assert feed.error == ""
    assert feed.owners() == ()


def test_a_mistake_in_a_source_is_an_error_of_that_source():
    source = FixedOwners()
    source.result = ZeroDivisionError("by a mistake of ours")
    feed = OwnerFeed(source, lambda: GPUS)
    feed.ask()
    assert feed.error == "ZeroDivisionError: by a mistake of ours"


def test_without_gpus_no_source_is_queried():
    feed = OwnerFeed(FixedOwners(), list)
    feed.ask()
    assert feed.last_duration is None


@given(st.text(max_size=400))
def test_a_label_is_one_short_line(text: str):
    assert label(text).isprintable()
    assert len(label(text)) <= 200
