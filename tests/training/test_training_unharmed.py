"""Whatever happens to the reporting, the training ends as it would have: result, exit code, one line at most."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.training.programs import TRAINED, TRAINING, begin, environment, events, events_by_file, kinds, train
from tests.waiting import wait_for

LONG = """
import sys, epochcost
with epochcost.run("long", epochs=4) as run:
    for epoch in run.epochs():
        if epoch == 1:
            print("ready", flush=True)
            sys.stdin.readline()
        for phase in ("eval", "train", "eval", "train"):
            run.phase(phase)
print("done")
sys.exit(3)
"""


def test_without_an_agent_nothing_is_printed(tmp_path: Path):
    outcome = train(TRAINING, tmp_path)
    assert (outcome.code, outcome.out, outcome.err) == (7, TRAINED, "")
    # sys.exit came after the run: it had finished.
    assert events(tmp_path)[-1]["status"] == "finished"


def test_disabled_it_writes_nothing_and_makes_no_directory(tmp_path: Path):
    outcome = train(TRAINING, tmp_path / "none", EPOCHCOST_DISABLE="1")
    assert (outcome.code, outcome.out, outcome.err) == (7, TRAINED, "")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("make", [os.mkfifo, Path.touch, lambda path: path.symlink_to("/nowhere")])
def test_a_file_in_place_of_the_directory_logs_one_line(tmp_path: Path, make):
    make(tmp_path / "events")
    outcome = train(TRAINING, tmp_path / "events")
    assert (outcome.code, outcome.out) == (7, TRAINED)
    assert len(outcome.warnings) == 1
    assert "events" in outcome.warnings[0]


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_an_unwritable_directory_logs_one_line(tmp_path: Path):
    tmp_path.chmod(0o500)
    outcome = train(TRAINING, tmp_path)
    assert (outcome.code, outcome.out, len(outcome.warnings)) == (7, TRAINED, 1)


def test_a_directory_deleted_in_the_middle_logs_one_line(tmp_path: Path):
    directory = tmp_path / "events"
    program = begin(LONG, directory)
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    for path in directory.iterdir():
        path.unlink()
    directory.rmdir()
    out, err = program.communicate("go\n", timeout=30)
    assert (program.returncode, out) == (3, "done\n")
    assert len(err.splitlines()) == 1
    assert "no longer reported" in err
    assert not directory.exists()


@pytest.mark.usefixtures("unmeasured")
def test_a_file_at_its_size_limit_logs_one_line(tmp_path: Path):
    limited = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (700, 700))\n" + TRAINING
    outcome = train(limited, tmp_path)
    assert (outcome.code, outcome.out) == (7, TRAINED)
    assert len(outcome.warnings) == 1
    assert "File too large" in outcome.warnings[0] or "bytes could be written" in outcome.warnings[0]


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A filesystem of one page, if this machine lets us mount one."""
    mount_point = tmp_path / "disk"
    mount_point.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16k,nr_inodes=8", "tmpfs", str(mount_point)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("cannot mount a tmpfs here")
    yield mount_point
    subprocess.run(["umount", str(mount_point)], check=True)


def test_a_full_disk_logs_one_line(tiny_disk: Path):
    ballast = tiny_disk / "ballast"
    ballast.write_bytes(b"x" * 16384)
    outcome = train(TRAINING, tiny_disk)
    assert (outcome.code, outcome.out) == (7, TRAINED)
    assert len(outcome.warnings) == 1
    assert "No space left" in outcome.warnings[0]


def test_a_disk_that_is_full_for_a_while_is_written_to_again(tiny_disk: Path):
    code = """
    import os, sys, time, epochcost
    place = os.environ["EPOCHCOST_DIR"]
    with epochcost.run("x", epochs=3) as run:
        for epoch in run.epochs():
            if epoch == 1:
                ballast = open(place + "/ballast", "wb", buffering=0)
                try:
                    while True: ballast.write(b"x" * 64)
                except OSError:
                    pass
                for _ in range(200): run.phase("eval"); run.phase("train")
                ballast.close(); os.remove(place + "/ballast")
                (path,) = [place + "/" + name for name in os.listdir(place)]
                size, until = os.path.getsize(path), time.monotonic() + 30
                while os.path.getsize(path) == size and time.monotonic() < until:
                    run.phase("train"); time.sleep(0.02)
    """
    outcome = train(code, tiny_disk)
    assert outcome.code == 0
    assert len(outcome.warnings) == 1
    assert "reporting is retried" in outcome.warnings[0]
    (path,) = tiny_disk.glob("*.jsonl")
    last = json.loads(path.read_text().splitlines()[-1])
    assert (last["ev"], last["status"], last["epoch"]) == ("end", "finished", 3)


def test_the_last_line_does_not_wait_for_the_end_of_a_pause(tiny_disk: Path):
    code = """
    import os, epochcost
    place = os.environ["EPOCHCOST_DIR"]
    with epochcost.run("x"):
        ballast = open(place + "/ballast", "wb", buffering=0)
        try:
            while True: ballast.write(b"x" * 64)
        except OSError:
            pass
        for _ in range(20): epochcost.phase("train")
        ballast.close(); os.remove(place + "/ballast")
    """
    assert train(code, tiny_disk).code == 0
    (path,) = tiny_disk.glob("*.jsonl")
    assert json.loads(path.read_text().splitlines()[-1])["status"] == "finished"


def test_a_torn_line_does_not_spoil_the_next(tmp_path: Path):
    code = """
    import resource, sys, epochcost
    run = epochcost.start("x", epochs=9)
    import os, glob
    size = os.path.getsize(glob.glob(os.environ["EPOCHCOST_DIR"] + "/*.jsonl")[0])
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 40, resource.RLIM_INFINITY))
    run.phase("train")
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    run.end()
    """
    outcome = train(code, tmp_path)
    assert (outcome.code, outcome.err) == (0, "")
    (path,) = tmp_path.glob("*.jsonl")
    lines = path.read_text().splitlines()
    assert len(lines) == 3
    assert len(lines[1]) == 40
    assert '"ev":"end"' in lines[2]


@pytest.mark.parametrize(
    ("call", "what"),
    [
        ("epochcost.run('x', epochs=-1)", "epochs=-1"),
        ("epochcost.run('x', epochs=float('nan'))", "epochs=nan"),
        ("epochcost.run('x', epochs='many')", "epochs='many'"),
        ("epochcost.run('x', batch_size=0)", "batch_size=0"),
        ("epochcost.run('x', budget_usd=float('inf'))", "budget_usd=inf"),
        ("epochcost.run('x', samples_per_epoch=1.5)", "samples_per_epoch=1.5"),
        ("epochcost.run('x').__enter__().step('three')", "n='three'"),
        ("epochcost.run('x').__enter__().step(2, samples=-4)", "samples=-4"),
        ("epochcost.run('x').__enter__().report(epoch=float('nan'))", "epoch=nan"),
        ("epochcost.run('x').__enter__().phase('lunch')", "phase 'lunch'"),
        ("epochcost.run('x').__enter__().end('fine')", "status='fine'"),
        ("epochcost.run('x', memory_peak=lambda: 1 / 0).__enter__()", "memory_peak"),
        ("epochcost.run('x', memory_peak=lambda: -1).__enter__()", "memory_peak()=-1"),
        ("epochcost.step()", "without an open run"),
        ("epochcost.run(object(), id=b'\\xff')", ""),
    ],
)
def test_a_wrong_argument_logs_one_warning_and_never_raises(tmp_path: Path, call: str, what: str):
    outcome = train(f"import epochcost\nfor _ in range(3):\n    {call}\nprint('done')", tmp_path)
    assert (outcome.code, outcome.out) == (0, "done\n")
    assert len(outcome.warnings) == (1 if what else 0)
    assert what in outcome.err


def test_a_loop_over_a_plan_that_is_not_a_number_does_nothing_and_ends(tmp_path: Path):
    code = "import epochcost\nwith epochcost.run(epochs=-1) as run:\n    print(list(run.epochs()))"
    outcome = train(code, tmp_path)
    assert (outcome.code, outcome.out) == (0, "[]\n")
    assert all("epochs" not in line for line in events(tmp_path))


def test_an_exception_fails_the_run_and_keeps_its_traceback(tmp_path: Path):
    outcome = train("import epochcost\nwith epochcost.run('x'):\n    raise ValueError('nan loss')", tmp_path)
    assert outcome.code == 1
    assert outcome.err.rstrip().endswith("ValueError: nan loss")
    assert events(tmp_path)[-1]["status"] == "failed"


@pytest.mark.parametrize(
    ("ending", "code", "status"),
    [
        ("raise KeyboardInterrupt", -signal.SIGINT, "failed"),
        ("raise SystemExit(0)", 0, "finished"),
        ("raise SystemExit", 0, "finished"),
        ("raise SystemExit(4)", 4, "failed"),
    ],
)
def test_how_the_body_ends_is_how_the_run_ends(tmp_path: Path, ending: str, code: int, status: str):
    outcome = train(f"import epochcost\nwith epochcost.run('x'):\n    {ending}", tmp_path)
    assert outcome.code == code
    assert events(tmp_path)[-1]["status"] == status


@pytest.mark.parametrize(("last", "status"), [("", "finished"), ("1 / 0", "failed")])
def test_a_run_left_open_ends_with_the_interpreter(tmp_path: Path, last: str, status: str):
    train(f"import epochcost\nepochcost.start('x')\n{last}", tmp_path)
    assert events(tmp_path)[-1]["status"] == status


SIGNALLED = """
import os, signal, sys, time, epochcost
{before}
with epochcost.run("x", epochs=9) as run:
    print("ready", flush=True)
    for _ in range(600):
        time.sleep(0.05)
        {check}
"""


def _terminated(tmp_path: Path, before: str = "", check: str = "pass") -> subprocess.Popen[str]:
    program = begin(SIGNALLED.format(before=before, check=check), tmp_path)
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    program.send_signal(signal.SIGTERM)
    program.communicate(timeout=30)
    return program


def test_sigterm_preempts_the_run_and_still_kills_by_signal(tmp_path: Path):
    program = _terminated(tmp_path)
    assert program.returncode == -signal.SIGTERM
    assert events(tmp_path)[-1]["status"] == "preempted"


@pytest.mark.parametrize("moment", range(8))
def test_sigterm_in_the_middle_of_writing_leaves_complete_lines_and_one_end(tmp_path: Path, moment: int):
    busy = "while True:\n            run.step(); run.phase('train'); run.checkpoint(); run.cost_usd"
    program = begin(SIGNALLED.format(before="", check="pass").replace("time.sleep(0.05)", busy), tmp_path)
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    (path,) = tmp_path.glob("*.jsonl")
    wait_for(lambda: path.stat().st_size > 20000 + 997 * moment)
    program.send_signal(signal.SIGTERM)
    program.communicate(timeout=30)
    assert program.returncode == -signal.SIGTERM
    lines = events(tmp_path)
    assert kinds(lines).count("end") == 1
    assert lines[-1]["status"] == "preempted"


def test_a_handler_of_the_program_is_called_and_the_run_it_winds_up_is_preempted(tmp_path: Path):
    program = _terminated(
        tmp_path,
        before="stop = []\nsignal.signal(signal.SIGTERM, lambda *_: stop.append(1))",
        check="if stop: sys.exit(5)",
    )
    assert program.returncode == 5
    assert events(tmp_path)[-1]["status"] == "preempted"


def test_an_ignored_sigterm_stays_ignored(tmp_path: Path):
    code = """
    import os, signal, epochcost
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with epochcost.run("x"):
        os.kill(os.getpid(), signal.SIGTERM)
    """
    assert train(code, tmp_path).code == 0
    assert events(tmp_path)[-1]["status"] == "finished"


def test_a_process_killed_hard_leaves_no_end_and_no_lock(tmp_path: Path):
    program = begin(SIGNALLED.format(before="", check="run.step()"), tmp_path)
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    program.kill()
    program.communicate(timeout=30)
    assert "end" not in kinds(events(tmp_path))


def test_forked_children_write_nothing_and_get_their_signals_back(tmp_path: Path):
    code = """
    import os, signal, epochcost
    with epochcost.run("x", epochs=2) as run:
        for epoch in run.epochs():
            child = os.fork()
            if child == 0:
                run.step(100)
                epochcost.step(100)
                run.epoch_end()
                with run.phase("eval"):
                    pass
                assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
                raise SystemExit(0)
            assert os.waitpid(child, 0)[1] == 0
            run.step()
    """
    outcome = train(code, tmp_path)
    assert (outcome.code, outcome.err) == (0, "")
    lines = events(tmp_path)
    assert kinds(lines).count("end") == 1
    assert kinds(lines).count("epoch_end") == 2
    assert lines[-1]["step"] == 2


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_loader_workers_write_nothing(tmp_path: Path, method: str):
    program = tmp_path / "program.py"
    program.write_text(
        f"""
import multiprocessing, os, epochcost

class Loader:
    def __init__(self, run):
        self.run = run

    def __call__(self, item):
        self.run.step(1000)
        epochcost.current()
        return item * item

if __name__ == "__main__":
    with epochcost.run("x", epochs=1) as run:
        with multiprocessing.get_context("{method}").Pool(2) as pool:
            for _ in run.epochs():
                print(sum(run.batches(pool.map(Loader(run), range(4)))))
            pool.close()
            pool.join()
"""
    )
    directory = tmp_path / "events"
    completed = subprocess.run(
        [sys.executable, str(program)],
        env=environment(directory),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (completed.returncode, completed.stdout, completed.stderr) == (0, "14\n", "")
    assert events(directory)[-1]["step"] == 4


def test_a_training_within_a_forked_child_reports_itself(tmp_path: Path):
    code = """
    import multiprocessing, epochcost
    def work():
        with epochcost.run("inner", id="inner", epochs=1) as run:
            for _ in run.epochs():
                run.step()
    with epochcost.run("outer", id="outer"):
        child = multiprocessing.get_context("fork").Process(target=work)
        child.start()
        child.join()
    """
    assert train(code, tmp_path).code == 0
    last = {lines[-1]["run"]: lines[-1]["status"] for lines in events_by_file(tmp_path).values()}
    assert last == {"inner": "finished", "outer": "finished"}


def test_a_lock_held_while_forking_does_not_stop_the_child(tmp_path: Path):
    code = """
    import os, threading, epochcost
    with epochcost.run("x") as run:
        stop = False
        def busy():
            while not stop:
                run.step()
        threads = [threading.Thread(target=busy) for _ in range(3)]
        for thread in threads: thread.start()
        for _ in range(20):
            child = os.fork()
            if child == 0:
                run.step()
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
        stop = True
        for thread in threads: thread.join()
    """
    assert train(code, tmp_path).code == 0


def test_steps_of_many_threads_are_all_counted(tmp_path: Path):
    code = """
    import sys, threading, epochcost
    sys.setswitchinterval(1e-6)
    with epochcost.run("x") as run:
        threads = [threading.Thread(target=lambda: [run.step() for _ in range(20000)]) for _ in range(4)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
    """
    assert train(code, tmp_path).code == 0
    assert events(tmp_path)[-1]["step"] == 80000


def test_only_local_rank_zero_writes_and_the_others_train_the_same(tmp_path: Path):
    for rank in range(3):
        outcome = train(TRAINING, tmp_path, RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="3", EPOCHCOST_RUN="job")
        assert (outcome.code, outcome.out, outcome.err) == (7, TRAINED, "")
    lines = events(tmp_path)
    assert (lines[0]["rank"], lines[0]["world"]) == (0, 3)


def test_a_run_in_another_thread_than_the_main_one_leaves_signals_alone(tmp_path: Path):
    code = """
    import signal, threading, epochcost
    def work():
        with epochcost.run("x"):
            assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    """
    assert train(code, tmp_path).err == ""
    assert events(tmp_path)[-1]["status"] == "finished"


def test_a_thousand_runs_in_one_process_leave_no_file_open(tmp_path: Path):
    code = """
    import os, epochcost
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(300):
        with epochcost.run("x"):
            pass
    assert len(os.listdir("/proc/self/fd")) == before
    """
    assert train(code, tmp_path).code == 0
    assert len(events_by_file(tmp_path)) == 300


def test_a_hung_agent_is_not_noticed(tmp_path: Path):
    program = subprocess.Popen(
        [sys.executable, "-c", "import time, sys\nfor f in sys.argv[1:]: open(f)\ntime.sleep(600)"]
    )
    program.send_signal(signal.SIGSTOP)
    try:
        outcome = train(TRAINING, tmp_path)
        assert (outcome.code, outcome.out, outcome.err) == (7, TRAINED, "")
    finally:
        program.kill()
        program.wait()


def test_importing_is_quick_and_loads_nothing_of_the_agent(tmp_path: Path):
    code = """
    import sys, time
    before = set(sys.modules)
    begun = time.process_time()  # a busy machine changes nothing
    import epochcost
    took = time.process_time() - begun
    loaded = set(sys.modules) - before
    print(took)
    assert all(name in ("epochcost", "epochcost._version", "__future__") for name in loaded), loaded
    epochcost.run("x").__enter__()
    ours = {name for name in sys.modules if name.startswith("epochcost.")}
    assert all(name.startswith(("epochcost.training", "epochcost._version")) for name in ours), ours
    others = {name.partition(".")[0] for name in set(sys.modules) - before} - {"epochcost"}
    assert others <= set(sys.stdlib_module_names), others
    """
    outcomes = [train(code, tmp_path) for _ in range(3)]
    assert [outcome.err for outcome in outcomes] == ["", "", ""]
    assert min(float(outcome.out) for outcome in outcomes) < 0.02


def test_a_writer_keeps_its_lock_until_it_exits(tmp_path: Path):
    import fcntl

    program = begin(SIGNALLED.format(before="", check="pass"), tmp_path)
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    (path,) = tmp_path.glob("*.jsonl")

    def free() -> bool:
        with path.open() as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return False
            return True

    try:
        assert not free()
    finally:
        program.kill()
        program.communicate(timeout=30)
    wait_for(free, what="the lock of a dead writer to be free")


def test_memory_of_torch_is_read_only_where_the_program_loaded_it(tmp_path: Path):
    code = """
    import sys, types, epochcost
    cuda = types.SimpleNamespace(
        is_initialized=lambda: True, device_count=lambda: 2, max_memory_allocated=lambda device: 100 + device
    )
    sys.modules["torch"] = types.SimpleNamespace(cuda=cuda)  # a stand-in: this machine has no device
    with epochcost.run("x"):
        pass
    """
    assert train(code, tmp_path).code == 0
    assert events(tmp_path)[0]["memory_peak_bytes"] == 101
    assert events(tmp_path)[0]["framework"] == "torch"
