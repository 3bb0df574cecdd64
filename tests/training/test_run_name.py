"""The id of a run within its job: the same after a requeue, another one for another training run."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.training.programs import begin, environment, events_by_file, train

SLURM = {"SLURM_JOB_ID": "77"}
JOBS = [
    SLURM,
    {"TORCHELASTIC_RUN_ID": "77"},
    {"WANDB_RUN_ID": "77"},
    {"KUBERNETES_JOB_NAME": "77"},
]
SWEEP = """
import epochcost
for trial in range(3):
    with epochcost.run("sweep", epochs=2) as run:
        for _ in run.epochs():
            list(run.batches(range(3)))
    print(run.id)
"""
ONE = "import epochcost\nwith epochcost.run('x', epochs=1) as run:\n    list(run.epochs())\nprint(run.id)"
FAILS = "import epochcost\nwith epochcost.run('x', epochs=1) as run:\n    print(run.id, flush=True)\n    1 / 0"
STAYS = """
import sys, epochcost
with epochcost.run("x", epochs=1) as run:
    print(run.id, flush=True)
    sys.stdin.readline()
"""


def ids(tmp_path: Path, code: str = ONE, **environ: str) -> list[str]:
    return train(code, tmp_path, **environ).out.split()  # type: ignore[arg-type]


@pytest.mark.parametrize("job", JOBS, ids=lambda job: next(iter(job)))
def test_training_runs_of_one_process_are_separate_and_the_same_after_a_requeue(tmp_path: Path, job):
    first, requeued = tmp_path / "first", tmp_path / "elsewhere"
    assert ids(first, SWEEP, **job) == ids(requeued, SWEEP, **job) == ["77", "77-2", "77-3"]
    for lines in events_by_file(first).values():
        assert (lines[0]["job"], lines[-1]["epoch"], lines[-1]["status"]) == ("77", 2, "finished")


def test_a_requeue_on_the_same_machine_gives_the_same_ids(tmp_path: Path):
    first = ids(tmp_path, SWEEP, **SLURM)
    assert ids(tmp_path, SWEEP, **SLURM, SLURM_RESTART_COUNT="1") == first
    attempts = [lines[0].get("attempt") for lines in events_by_file(tmp_path).values()]
    assert sorted(attempts, key=str) == [1, 1, 1, None, None, None]


def test_a_name_given_by_the_user_is_used_unchanged(tmp_path: Path):
    assert ids(tmp_path, SWEEP, **SLURM, EPOCHCOST_RUN="mine") == ["mine"] * 3


def test_without_a_launcher_every_training_has_an_id_of_its_own(tmp_path: Path):
    made_up = ids(tmp_path, SWEEP)
    assert len(set(made_up)) == 3
    assert all(name.startswith("sweep-") for name in made_up)
    assert all("job" not in lines[0] for lines in events_by_file(tmp_path).values())


def test_a_process_after_one_that_finished_is_a_run_of_its_own(tmp_path: Path):
    assert [ids(tmp_path, **SLURM) for _ in range(3)] == [["77"], ["77-2"], ["77-3"]]


def test_a_process_after_one_that_failed_continues_the_same_run(tmp_path: Path):
    assert train(FAILS, tmp_path, **SLURM).code == 1  # type: ignore[arg-type]
    assert ids(tmp_path, **SLURM) == ["77"]


def test_a_process_of_another_experiment_is_a_run_of_its_own_and_again_after_a_requeue(tmp_path: Path):
    killed_program = ONE.replace("list(run.epochs())", "print(run.id, flush=True); os.kill(os.getpid(), 9)")
    other = "import os\n" + killed_program.replace("'x'", "'y'")
    assert train(FAILS, tmp_path, **SLURM).code == 1  # type: ignore[arg-type]
    assert [ids(tmp_path, other, **SLURM) for _ in range(2)] == [["77-2"], ["77-2"]]
    again = {**SLURM, "SLURM_RESTART_COUNT": "1"}
    assert ids(tmp_path, ONE.replace("'x'", "'y'"), **again) == ["77-2"]
    assert ids(tmp_path, ONE, **again) == ["77"]


def test_a_process_without_an_experiment_continues_the_failed_run(tmp_path: Path):
    assert train(FAILS, tmp_path, **SLURM).code == 1  # type: ignore[arg-type]
    assert ids(tmp_path, ONE.replace("'x', ", ""), **SLURM) == ["77"]


@pytest.fixture
def beside(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A training run of the job that runs in parallel."""
    program = begin(STAYS, tmp_path, **SLURM)
    assert program.stdout is not None
    assert program.stdout.readline() == "77\n"
    yield program
    program.communicate("\n", timeout=30)


MADE_BEFORE = """
import sys, epochcost
made = epochcost.run("x", epochs=1)
print("made", flush=True)
sys.stdin.readline()
with made as run:
    print(run.id, flush=True)
    sys.stdin.readline()
"""


def test_processes_that_are_started_in_the_same_instant_are_different_runs(tmp_path: Path):
    programs = [begin(MADE_BEFORE, tmp_path, **SLURM) for _ in range(3)]
    try:
        for program in programs:
            assert program.stdout is not None
            assert program.stdout.readline() == "made\n"  # all have found the job's own id free
        for program in programs:
            assert program.stdin is not None
            program.stdin.write("\n")
            program.stdin.flush()
        ids = {program.stdout.readline().strip() for program in programs if program.stdout}
        assert len(ids) == 3
        assert "77" in ids
    finally:
        for program in programs:
            program.communicate("\n", timeout=30)
    assert {lines[0]["run"] for lines in events_by_file(tmp_path).values()} == ids


def test_a_training_that_was_made_before_another_finished_is_a_run_of_its_own(tmp_path: Path):
    program = begin(MADE_BEFORE, tmp_path, **SLURM)
    assert program.stdout is not None
    assert program.stdout.readline() == "made\n"
    assert ids(tmp_path, **SLURM) == ["77"]
    assert program.communicate("\n\n", timeout=30)[0] == "77-2\n"


def test_two_runs_created_in_one_process_before_either_starts_keep_their_ids(tmp_path: Path):
    code = """
    import epochcost
    first, second = epochcost.run("x", epochs=1), epochcost.run("x", epochs=1)
    said = [first.id, second.id]
    with second, first:
        print(*said, first.id, second.id)
    """
    assert ids(tmp_path, code, **SLURM) == ["77", "77-2", "77", "77-2"]


def test_a_requeued_process_finds_its_own_id_in_any_order_of_starts(tmp_path: Path):
    failing = STAYS.replace("stdin.readline()", "stdin.readline() and 1 / 0")  # it fails: the job is requeued
    first, second = begin(failing, tmp_path, **SLURM), None
    try:
        assert first.stdout is not None
        assert first.stdout.readline() == "77\n"
        second = begin(failing + "#other", tmp_path, **SLURM)
        assert second.stdout is not None
        second_id = second.stdout.readline()
        assert second_id.startswith("77-")
    finally:
        for program in filter(None, (first, second)):
            program.communicate("\n", timeout=30)
    again = {"SLURM_RESTART_COUNT": "1"}
    late = begin(failing + "#other", tmp_path, **SLURM, **again)  # now it is the first
    try:
        assert late.stdout is not None
        assert late.stdout.readline() == second_id
        assert ids(tmp_path, failing.replace("stdin.readline()", "stdout"), **SLURM, **again) == ["77"]
    finally:
        late.communicate("\n", timeout=30)


def test_a_training_that_is_not_reported_makes_no_directory_to_look_for_its_id(tmp_path: Path):
    assert ids(tmp_path / "events", **SLURM, EPOCHCOST_DISABLE="1") == ["77"]
    assert not (tmp_path / "events").exists()


def test_a_held_lock_of_the_directory_does_not_block_a_training(tmp_path: Path):
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)  # any user who can read it may
        assert ids(tmp_path, **SLURM) == ["77"]
    finally:
        os.close(fd)


@pytest.mark.usefixtures("beside")
def test_parallel_processes_are_different_runs(tmp_path: Path):
    (other,) = ids(tmp_path, **SLURM)
    assert other.startswith("77-")
    (again,) = ids(tmp_path, **SLURM, SLURM_RESTART_COUNT="1")
    assert again == other


def test_a_killed_process_does_not_count_as_parallel(tmp_path: Path, beside: subprocess.Popen[str]):
    beside.send_signal(signal.SIGKILL)
    beside.wait()
    assert ids(tmp_path, **SLURM) == ["77"]


@pytest.fixture
def over_http(tmp_path: Path) -> dict[str, str]:
    """The job of processes that report to an agent over the network, which need not be there."""
    (tmp_path / "tmp").mkdir()
    return {**SLURM, "EPOCHCOST_URL": "http://127.0.0.1:1", "TMPDIR": str(tmp_path / "tmp")}


def test_over_the_network_processes_find_their_ids_as_over_files(tmp_path: Path, over_http: dict[str, str]):
    events = tmp_path / "events"
    program = begin(STAYS, events, **over_http)
    assert program.stdout is not None
    assert program.stdout.readline() == "77\n"
    (beside,) = ids(events, **over_http)
    assert beside.startswith("77-")
    program.communicate("\n", timeout=30)
    assert [ids(events, **over_http) for _ in range(2)] == [["77-2"], ["77-3"]]
    assert ids(events, **over_http, SLURM_RESTART_COUNT="1") == [beside]
    assert not events.exists()


def test_over_the_network_the_run_of_a_killed_process_is_continued(tmp_path: Path, over_http: dict[str, str]):
    program = begin(STAYS, tmp_path / "events", **over_http)
    assert program.stdout is not None
    assert program.stdout.readline() == "77\n"
    program.kill()
    program.communicate(timeout=30)
    assert ids(tmp_path, **over_http) == ["77"]


@pytest.mark.parametrize("claims", ["a file", "a link", "anybody's"])
def test_where_no_id_can_be_claimed_a_training_continues_without_one(
    tmp_path: Path, over_http: dict[str, str], claims: str
):
    path = tmp_path / "tmp" / f"epochcost-{os.getuid()}"
    if claims == "a file":
        path.touch()
    elif claims == "a link":
        path.symlink_to(tmp_path)
    else:
        path.mkdir()
        path.chmod(0o777)
    completed = train(ONE, tmp_path / "events", **over_http)  # type: ignore[arg-type]
    assert (completed.code, completed.out, completed.err) == (0, "77\n", "")


def in_container(directory: Path, name: str, code: str) -> subprocess.Popen[str]:
    """A training process that calls its machine ``name``, as containers do."""
    second_id = ["unshare", "--map-root-user", "--uts", "sh", "-c", 'hostname "$1"; shift; exec "$@"', "sh", name]
    return subprocess.Popen(
        [*second_id, sys.executable, "-c", code],
        env=environment(directory, **SLURM),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.skipif(
    subprocess.run(["unshare", "--map-root-user", "--uts", "true"], capture_output=True, check=False).returncode != 0,
    reason="no namespaces on this machine",
)
def test_containers_that_share_the_directory_see_one_another(tmp_path: Path):
    first, other_ids = in_container(tmp_path, "tune-aaaaa", STAYS), list[str]()
    try:
        assert first.stdout is not None
        assert first.stdout.readline() == "77\n"
        other_ids = [in_container(tmp_path, name, ONE).communicate(timeout=60)[0] for name in ("tune-bbbbb", "77-2")]
    finally:
        first.communicate("\n", timeout=30)
    assert all(one.startswith("77-") for one in other_ids)
    assert in_container(tmp_path, "tune-ccccc", ONE).communicate(timeout=60)[0] == "77-2\n"


def test_another_runs_file_is_not_mistaken_for_a_containers(tmp_path: Path):
    assert ids(tmp_path, SWEEP, **SLURM) == ["77", "77-2", "77-3"]
    (tmp_path / "77-tune-a-7-abcdef.jsonl").write_text('{"run":"77-tune","ev":"end","status":"finished"}\n')
    (tmp_path / "77-tune-b-7-abcdef.jsonl").write_text("[7]\n")
    assert ids(tmp_path, **SLURM) == ["77-4"]
    assert ids(tmp_path, **SLURM, EPOCHCOST_RUN="77-tune") == ["77-tune"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"SLURM_STEP_ID": "0"}, {"SLURM_STEP_ID": "1"}),
        (
            {"SLURM_ARRAY_JOB_ID": "70", "SLURM_ARRAY_TASK_ID": "1"},
            {"SLURM_ARRAY_JOB_ID": "70", "SLURM_ARRAY_TASK_ID": "2"},
        ),
        ({"WANDB_SWEEP_ID": "s", "WANDB_RUN_ID": "a"}, {"WANDB_SWEEP_ID": "s", "WANDB_RUN_ID": "b"}),
    ],
    ids=["steps", "array tasks", "trials of a sweep"],
)
def test_steps_tasks_and_trials_are_different_runs(tmp_path: Path, one: dict[str, str], other: dict[str, str]):
    first = ids(tmp_path / "1", **SLURM, **one)
    assert first != ids(tmp_path / "2", **SLURM, **other)
    assert first == ids(tmp_path / "3", **SLURM, **one)


def test_an_arrays_task_is_the_job(tmp_path: Path):
    assert ids(tmp_path, **SLURM, SLURM_ARRAY_JOB_ID="70", SLURM_ARRAY_TASK_ID="3") == ["70_3"]


def test_the_components_of_a_heterogeneous_job_are_one_job(tmp_path: Path):
    first, second = ({**SLURM, "SLURM_JOB_ID": number, "SLURM_HET_JOB_ID": "77"} for number in ("77", "78"))
    assert ids(tmp_path / "1", **first) == ids(tmp_path / "2", **second) == ["77"]


@pytest.mark.parametrize("step", ["4294967290", "4294967291", "batch", ""])
def test_a_batch_script_is_not_a_step(tmp_path: Path, step: str):
    assert ids(tmp_path, **SLURM, SLURM_STEP_ID=step) == ["77"]


def test_ranks_of_one_world_are_one_run_whatever_starts_them(tmp_path: Path):
    torchrun = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    assert ids(tmp_path, **SLURM, **torchrun) == ["77"]
    openmpi = {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_LOCAL_RANK": "0", "OMPI_COMM_WORLD_SIZE": "2"}
    on_first, on_second = dict(openmpi), {**openmpi, "SLURM_STEP_ID": "0"}  # mpirun starts a step on other nodes only
    assert ids(tmp_path / "1", **SLURM, **on_first) == ids(tmp_path / "2", **SLURM, **on_second) == ["77"]


@pytest.mark.usefixtures("beside")
def test_a_rank_that_does_not_write_checks_for_no_parallel_process(tmp_path: Path):
    assert ids(tmp_path, **SLURM, RANK="1", LOCAL_RANK="1", WORLD_SIZE="2") == ["77"]


def test_ranks_of_one_machine_count_on_alike(tmp_path: Path):
    ranks = [{"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"} for rank in "01"]
    assert [ids(tmp_path, **SLURM, **rank) for rank in ranks] == [["77"], ["77-2"]]  # one world after another
    program = begin(STAYS.replace("'x'", "'y'"), tmp_path, **SLURM, **ranks[0])
    assert program.stdout is not None
    assert program.stdout.readline() == "77-2\n"
    assert ids(tmp_path, **SLURM, **ranks[1]) == ["77-2"]
    program.communicate("\n", timeout=30)


def test_an_index_of_a_kubernetes_job_is_a_job_unless_it_is_a_rank(tmp_path: Path):
    job = {"KUBERNETES_JOB_NAME": "tune", "JOB_COMPLETION_INDEX": "4"}
    assert ids(tmp_path, **job) == ["tune-4"]
    assert ids(tmp_path, **job, RANK="4", LOCAL_RANK="0", WORLD_SIZE="8") == ["tune"]


def test_a_checkpoint_carries_its_runs_id_into_another_job(tmp_path: Path):
    code = """
    import epochcost
    run = epochcost.run("x")
    run.load_state_dict({"v": 1, "run": "70", "epoch": 2})
    run.end()
    print(run.id)
    """
    assert ids(tmp_path, code, **SLURM) == ["70"]


def test_a_run_over_several_machines_without_an_id_is_reported(tmp_path: Path):
    two = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "1"}
    assert "this run has no name that its machines share" in train(ONE, tmp_path, **two).err  # type: ignore[arg-type]


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[]\n", b"{" * 5000, b'{"ev":"end","status":"finished"'])
def test_nonsensical_files_of_others_change_nothing(tmp_path: Path, content: bytes):
    (tmp_path / f"77-{os.uname().nodename}-999999-abcdef.jsonl").write_bytes(content)
    (tmp_path / f"77-{os.uname().nodename}-999998-abcdef.jsonl").mkdir()
    os.mkfifo(tmp_path / f"77-{os.uname().nodename}-999997-abcdef.jsonl")
    assert ids(tmp_path, **SLURM) == ["77"]


ZENML = """
import sys, types
class Named:
    def __init__(self, name): self.name = name
context = types.SimpleNamespace(pipeline=Named("forecast"), pipeline_run=Named("forecast-1"), step_run=Named({step}))
module = types.ModuleType("zenml.steps.step_context")
def get_step_context():
    if {outside}: raise RuntimeError("The step context is only available inside a step function.")
    return context
module.get_step_context = get_step_context
sys.modules["zenml.steps.step_context"] = module
"""


def test_a_run_in_a_zenml_step_is_named_by_its_pipeline_run_and_step(tmp_path: Path):
    code = ZENML.format(step="'tune'", outside=False) + SWEEP.replace('"sweep", ', "")
    assert ids(tmp_path, code, **SLURM) == ["forecast-1.tune", "forecast-1.tune-2", "forecast-1.tune-3"]
    starts = [lines[0] for lines in events_by_file(tmp_path).values()]
    assert {(s["launcher"], s["job"], s["experiment"]) for s in starts} == {("zenml", "forecast-1", "forecast/tune")}


@pytest.mark.parametrize(("step", "outside"), [("'tune'", True), ("None", False), ("''", False)])
def test_outside_a_step_zenml_provides_no_name(tmp_path: Path, step: str, outside: bool):
    assert ids(tmp_path, ZENML.format(step=step, outside=outside) + ONE, **SLURM) == ["77"]
