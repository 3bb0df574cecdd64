"""Shells that report a run without naming it: the choice of the run within their job."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.training.programs import begin, environment, events_by_file, train

SLURM = {"SLURM_JOB_ID": "77"}
EVENT = 'event() { "$PYTHON" -m epochcost event "$@"; }\n'
LOOP = """
event start experiment={name} epochs=2
event phase phase=train epoch=0
for epoch in 1 2; do event epoch_end epoch=$epoch; done
event end
"""
STAYS = """
import sys, epochcost
with epochcost.run("x") as run:
    print(run.id, flush=True)
    sys.stdin.readline()
"""
WHOLE = ["start", "phase", "epoch_end", "epoch_end", "end"]


def outcome(directory: Path, script: str, **environ: str) -> tuple[int, str]:
    """Exit code and error output of a script."""
    env = environment(directory, PYTHON=sys.executable, **environ)
    completed = subprocess.run(
        ["bash", "-c", EVENT + script], env=env, capture_output=True, text=True, check=False, timeout=120
    )
    return completed.returncode, completed.stderr


def shell(directory: Path, script: str, **environ: str) -> str:
    """The error output of a script that ends well."""
    code, output = outcome(directory, script, **environ)
    assert code == 0, output
    return output


def runs(directory: Path) -> dict[str, list[str]]:
    """The kinds of the events of each run."""
    kinds_by_run: dict[str, list[str]] = {}
    for lines in events_by_file(directory).values():
        for line in lines:
            kinds_by_run.setdefault(str(line["run"]), []).append(str(line["ev"]))
    return kinds_by_run


def test_one_training_of_a_job_is_the_jobs_run_and_again_after_a_requeue(tmp_path: Path):
    shell(tmp_path, LOOP.format(name="lm").replace("event end", "true"), **SLURM)
    shell(tmp_path, LOOP.format(name="lm"), **SLURM, SLURM_RESTART_COUNT="1")
    assert runs(tmp_path) == {"77": [*WHOLE[:-1], *WHOLE]}
    (lines,) = events_by_file(tmp_path).values()
    assert [line.get("attempt") for line in lines] == [None] * 4 + [1] * 5
    assert {(line["job"], line["launcher"]) for line in lines} == {("77", "slurm")}


def test_parallel_loops_of_a_job_are_runs_of_their_own(tmp_path: Path):
    both = f"({LOOP.format(name='a')}) & ({LOOP.format(name='b')}) & wait"
    shell(tmp_path, both, **SLURM)
    expected = runs(tmp_path)
    assert len(expected) == 2
    assert "77" in expected
    assert list(expected.values()) == [WHOLE, WHOLE]
    for lines in events_by_file(tmp_path).values():
        assert len({str(line["run"]) for line in lines}) == 1


SIDE_BY_SIDE = """
cd "$EPOCHCOST_DIR"
mkfifo started go; exec 3<> started 4<> go
for name in a b; do (event start experiment=$name; echo >&3; read _ <&4; {then}) & read _ <&3; done
{meanwhile}
echo >&4; echo >&4; wait
"""


def test_the_last_command_of_a_subshell_replaces_it_and_still_reports_its_run(tmp_path: Path):
    ends = 'exec "$PYTHON" -m epochcost event end'
    shell(tmp_path, SIDE_BY_SIDE.format(then=ends, meanwhile=""), **SLURM)
    assert sorted(runs(tmp_path).values()) == [["start", "end"]] * 2


def test_consecutive_loops_are_runs_of_their_own(tmp_path: Path):
    shell(tmp_path, LOOP.format(name="a") + LOOP.format(name="b"), **SLURM)
    assert runs(tmp_path) == {"77": WHOLE, "77-2": WHOLE}


def test_events_after_the_end_belong_to_the_ended_run(tmp_path: Path):
    shell(tmp_path, LOOP.format(name="a") + LOOP.format(name="b") + "event checkpoint epoch=2", **SLURM)
    assert runs(tmp_path) == {"77": WHOLE, "77-2": [*WHOLE, "checkpoint"]}


def test_the_run_of_a_killed_script_is_continued(tmp_path: Path):
    assert outcome(tmp_path, "event start epochs=2; kill -9 $$", **SLURM)[0] == -9
    shell(tmp_path, LOOP.format(name="a"), **SLURM)
    assert runs(tmp_path) == {"77": ["start", *WHOLE]}


@pytest.mark.parametrize(("one", "other", "expected"), [("a", "a", ["77"]), ("a", "b", ["77", "77-2"])])
def test_a_shell_that_restarts_without_an_end_continues_unless_the_experiment_differs(
    tmp_path: Path, one: str, other: str, expected: list[str]
):
    shell(tmp_path, f"event start experiment={one}; event progress epoch=1; event start experiment={other}", **SLURM)
    assert sorted(runs(tmp_path)) == expected


def test_helpers_of_a_script_find_its_run(tmp_path: Path):
    script = """
    event start epochs=1
    (event phase phase=train epoch=0)
    sh -c '"$PYTHON" -m epochcost event epoch_end epoch=1; true'
    event end
    """
    shell(tmp_path, script, **SLURM)
    assert runs(tmp_path) == {"77": ["start", "phase", "epoch_end", "end"]}


def test_commands_of_makefiles_find_the_run_of_their_make(tmp_path: Path):
    """Each line of a recipe has a shell of its own; two of them at once have only their make in common."""
    line = "sh -c '\"$PYTHON\" -m epochcost event {}; true'\n"
    recipe = "".join(line.format(one) for one in ("start experiment=$0", "epoch_end epoch=1", "end"))
    (tmp_path / "make").write_text("#!/bin/bash\n" + recipe.replace("$0", "'\"$1\"'"))
    shell(tmp_path / "events", f"for name in a b; do bash {tmp_path}/make $name & done; wait", **SLURM)
    assert sorted(runs(tmp_path / "events").values()) == [["start", "epoch_end", "end"]] * 2


@pytest.fixture
def other_shell(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A shell of the job in the middle of its run."""
    script = EVENT + "event start experiment=other; echo started; read line; event end"
    env = environment(tmp_path, PYTHON=sys.executable, **SLURM)
    program = subprocess.Popen(
        ["bash", "-c", script], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert program.stdout is not None
    assert program.stdout.readline() == "started\n"
    yield program
    program.communicate("\n", timeout=30)


@pytest.mark.usefixtures("other_shell")
def test_a_process_that_trains_beside_a_shell_is_a_run_of_its_own(tmp_path: Path):
    code = "import epochcost\nwith epochcost.run('x') as run: print(run.id)"
    own = train(code, tmp_path, **SLURM).out.strip()  # type: ignore[arg-type]
    assert own.startswith("77-")
    assert sorted(runs(tmp_path)) == ["77", own]


def test_a_shell_beside_a_process_that_trains_is_a_run_of_its_own(tmp_path: Path):
    program = begin(STAYS, tmp_path, **SLURM)
    assert program.stdout is not None
    assert program.stdout.readline() == "77\n"
    shell(tmp_path, LOOP.format(name="a"), **SLURM)
    program.communicate("\n", timeout=30)
    (own,) = {run for run in runs(tmp_path) if run != "77"}
    assert own.startswith("77-")
    assert runs(tmp_path)[own] == WHOLE


def test_a_program_that_a_shell_starts_reports_the_shells_run(tmp_path: Path):
    program = "import epochcost; run = epochcost.run('x'); run.start(); run.end()"
    shell(tmp_path, f'event start; "$PYTHON" -c "{program}"; event end', **SLURM)
    assert list(runs(tmp_path)) == ["77"]


@pytest.mark.usefixtures("other_shell")
def test_on_several_machines_a_second_shell_has_to_name_its_run(tmp_path: Path):
    code, output = outcome(tmp_path, "event start", **SLURM, SLURM_JOB_NUM_NODES="2")
    assert code == 2
    assert "77 of job 77 is reported by other shells of this machine: specify which run is meant with --run" in output
    shell(tmp_path, "event start", **SLURM, SLURM_JOB_NUM_NODES="2", EPOCHCOST_RUN="mine")


def test_between_two_equally_close_runs_the_intended_one_has_to_be_named(tmp_path: Path):
    output = shell(tmp_path, SIDE_BY_SIDE.format(then="true", meanwhile="event epoch_end epoch=1"), **SLURM)
    assert "of job 77 are reported by other shells" in output
    assert sorted(runs(tmp_path).values()) == [["start"]] * 2


def test_ranks_of_a_step_are_one_run(tmp_path: Path):
    ranks = [{**SLURM, "SLURM_STEP_ID": "0", "SLURM_NTASKS": "2", "SLURM_PROCID": n, "SLURM_LOCALID": n} for n in "01"]
    for rank in ranks:
        shell(tmp_path, "event start", **rank)
    assert list(runs(tmp_path)) == ["77.0"]


@pytest.mark.parametrize(
    "shells", ["x", 5, [1, None], ["1.x"], ["²²².7"], ["9" * 400], [f"{'9' * 10}.1"], {}, [["1"]]], ids=repr
)
def test_nonsense_in_the_writer_field_changes_nothing(tmp_path: Path, shells: object):
    shell(tmp_path, "event start", **SLURM)
    (path,) = tmp_path.glob("*.jsonl")
    line = json.loads(path.read_text())
    path.write_text(json.dumps({**line, "shells": shells}) + "\n")
    shell(tmp_path, "event epoch_end epoch=1; event end", **SLURM)
    assert runs(tmp_path) == {"77": ["start", "epoch_end", "end"]}


def test_a_reused_process_id_is_not_the_old_process(tmp_path: Path):
    shell(tmp_path, "event start", **SLURM)
    (path,) = tmp_path.glob("*.jsonl")
    line = json.loads(path.read_text())
    with subprocess.Popen(["sleep", "30"]) as stranger:
        path.write_text(json.dumps({**line, "shells": [f"{stranger.pid}.{int(time.monotonic()) + 5}"]}) + "\n")
        shell(tmp_path, LOOP.format(name="a"), **SLURM)
        stranger.kill()
    assert list(runs(tmp_path)) == ["77"]
