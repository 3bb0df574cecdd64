"""Files of another user beside those of a training run, in a directory that both may write to, have no effect on it."""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.training.programs import environment, train

from epochcost.launch import event
from epochcost.launch.other_writers import OtherWriters
from epochcost.launch.reading.file_tailer import FileTailer
from epochcost.training.host import name_in_files
from epochcost.untrusted_files import UntrustedFileError, open_regular

MALLORY = 65534
ONE = "import epochcost\nwith epochcost.run('x', epochs=1) as run:\n    list(run.epochs())\nprint(run.id)"
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user")


def of(user: int, path: Path, **line: object) -> Path:
    event = {"v": 1, "ts": time.time(), "mono": time.monotonic(), **line}
    path.write_text(json.dumps(event) + "\n")
    os.chown(path, user, user)
    return path


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    tmp_path.chmod(0o1777)
    return tmp_path


# -- the training's own id ---------------------------------------------------------------------------------------------


def test_a_foreign_end_event_does_not_give_the_training_another_id(shared: Path):
    of(MALLORY, shared / f"77-{os.uname().nodename}-999999-abcdef.jsonl", ev="end", status="finished")
    assert train(ONE, shared, SLURM_JOB_ID="77").out.split() == ["77"]


def test_a_lock_of_another_user_is_not_a_process_of_the_run(shared: Path):
    path = of(MALLORY, shared / f"77-{os.uname().nodename}-999999-abcdef.jsonl", ev="start")
    with path.open("r+b") as locked_file:
        fcntl.lockf(locked_file, fcntl.LOCK_EX)
        assert train(ONE, shared, SLURM_JOB_ID="77").out.split() == ["77"]


def test_a_link_or_a_pipe_of_the_runs_name_does_not_block_the_training(shared: Path):
    secret = of(0, shared / "elsewhere", ev="end", status="finished")
    (shared / f"77-{os.uname().nodename}-1-a.jsonl").symlink_to(secret)
    os.mkfifo(shared / "pipe")
    (shared / f"77-{os.uname().nodename}-2-a.jsonl").symlink_to(shared / "pipe")
    assert train(ONE, shared, SLURM_JOB_ID="77").out.split() == ["77"]
    (own_file,) = (path for path in shared.glob("*.jsonl") if not path.is_symlink())
    assert json.loads(own_file.read_text().splitlines()[-1])["status"] == "finished"


# -- exec --------------------------------------------------------------------------------------------------------------


def test_another_user_cannot_silence_exec_by_naming_its_run_or_process(shared: Path):
    namespace = Path("/proc/self/ns/pid").stat().st_ino
    neighbours = OtherWriters(shared, "mine", os.getpid())
    of(MALLORY, shared / "a.jsonl", ev="start", run="mine")
    of(MALLORY, shared / "b.jsonl", ev="start", run="other", pid=os.getpid(), pidns=namespace)
    assert neighbours.look() == []
    of(0, shared / "c.jsonl", ev="start", run="mine")
    assert [one.name for one in neighbours.look()] == ["c.jsonl"], "who reports for himself is heard"


@pytest.fixture
def as_user() -> Iterator[int]:
    """Run this process as an unprivileged user for the duration of a test."""
    os.seteuid(1001)
    yield 1001
    os.seteuid(0)


def test_a_foreign_file_of_a_known_name_is_not_this_trainings_progress(as_user: int):
    state = '{"epoch": 1.0, "global_step": 10, "max_steps": 40}'
    with tempfile.TemporaryDirectory() as folder:  # one that this user can read
        tailer = FileTailer(Path(folder), (), 0)
        (Path(folder) / "trainer_state.json").write_text(state)
        assert len(tailer.look()) == 1
        strange = Path(folder) / "run" / "trainer_state.json"
        strange.parent.mkdir()
        strange.write_text(state.replace("1.0", "900.0"))
        os.seteuid(0)
        os.chown(strange, MALLORY, MALLORY)
        os.seteuid(as_user)
        assert tailer.look() == []
        assert len(FileTailer(None, [str(strange)], 0).look()) == 1, "a file that the user named is read, whosever"


def test_a_pipe_in_place_of_a_file_does_not_block_exec(shared: Path):
    tailer = FileTailer(shared, (), 0)
    path = shared / "results.csv"
    path.write_text("epoch,time\n1,2\n")
    os.mkfifo(shared / "pipe")
    assert tailer.look() is not None
    (shared / "pipe").rename(path)
    completed = threading.Event()

    def look() -> None:
        tailer.look()
        completed.set()

    threading.Thread(target=look, daemon=True).start()
    assert completed.wait(10.0)


# -- epochcost event ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("laid", ["a file that anybody may write", "a link", "a directory", "a pipe", "a second name"])
def test_a_line_is_never_written_to_a_file_of_another_user(shared: Path, laid: str):
    host = name_in_files()
    foreign_file = shared / f"r-{host}-shell.jsonl"
    other = of(MALLORY, shared / "other", ev="start")
    if laid == "a file that anybody may write":
        of(MALLORY, foreign_file, ev="start").chmod(0o666)
    elif laid == "a link":
        foreign_file.symlink_to(other)
    elif laid == "a directory":
        foreign_file.mkdir()
    elif laid == "a pipe":
        os.mkfifo(foreign_file)
    else:
        foreign_file.hardlink_to(of(0, shared / "precious", ev="start"))
    before = other.read_bytes()
    for kind in ("start", "end"):
        assert event.main([kind, "--run", "r"], environment(shared)) == 0
    assert other.read_bytes() == before
    own_file = shared / f"r-{host}-shell-{os.geteuid()}.jsonl"
    assert [json.loads(line)["ev"] for line in own_file.read_text().splitlines()] == ["start", "end"]


def test_a_user_who_has_taken_every_name_is_reported(shared: Path, capsys: pytest.CaptureFixture[str]):
    host = name_in_files()
    names = [f"r-{host}-shell", f"r-{host}-shell-0", *(f"r-{host}-shell-0-{n}" for n in range(2, event.MOST_NAMES))]
    for name in names:
        of(MALLORY, shared / f"{name}.jsonl", ev="start")
    with pytest.raises(SystemExit, match="1"):
        event.main(["start", "--run", "r"], environment(shared))
    assert "another user has taken every name" in capsys.readouterr().err


# -- opening has effects -----------------------------------------------------------------------------------------------


def test_only_regular_files_are_opened(shared: Path):
    os.mkfifo(shared / "pipe")
    through = threading.Event()

    def write() -> None:
        os.close(os.open(shared / "pipe", os.O_WRONLY))  # continues once it is opened for reading
        through.set()

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    for _ in range(20):
        with pytest.raises(UntrustedFileError, match="not a regular file"):
            open_regular(shared / "pipe")
    assert not through.wait(0.2)
    os.close(os.open(shared / "pipe", os.O_RDONLY | os.O_NONBLOCK))
    writer.join(10.0)
    assert through.is_set()
