"""Any command as one run: its output, its status, its signals, and the events for the agent."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.launch.terminal import EXEC
from tests.training.programs import environment, events, events_by_file, kinds
from tests.waiting import wait_for

from epochcost.launch.circuit_breaker import CallUntilFailure


def python(code: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-c", textwrap.dedent(code), *arguments)


def launch(directory: Path | str | None, *command: str, flags: tuple[str, ...] = (), **more: str):
    return subprocess.run(
        (*EXEC, *flags, "--", *command),
        env=environment(directory, **more),
        capture_output=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def begin(directory: Path, *command: str, flags: tuple[str, ...] = (), **more: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        (*EXEC, *flags, "--", *command),
        env=environment(directory),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **more,
    )


ENDLESS = """
import signal, sys, time
def told(number, frame):
    print("told", signal.Signals(number).name, flush=True)
    sys.exit(50)
for name in sys.argv[1:]:
    signal.signal(getattr(signal, name), told)
print("ready", flush=True)
while True: time.sleep(0.05)
"""


# Output


def test_output_passes_byte_for_byte_each_stream_apart(tmp_path: Path):
    code = """
        import os, random
        random.seed(7)
        for _ in range(300):
            os.write(1, random.randbytes(random.randrange(1, 20000)))
            os.write(2, random.randbytes(random.randrange(1, 2000)) + b"\\r\\x1b[31m 3/4 Epoch 1/2\\x1b[0m")
    """
    bare = subprocess.run(python(code), capture_output=True, check=True)
    within = launch(tmp_path, *python(code))
    assert hashlib.sha256(within.stdout).digest() == hashlib.sha256(bare.stdout).digest()
    assert within.stderr == bare.stderr


def test_output_into_a_file_and_from_a_program_that_reads_its_input(tmp_path: Path):
    target = tmp_path / "out"
    data = bytes(range(256)) * 5000
    with target.open("wb") as out:
        completed = subprocess.run(
            (*EXEC, "--", "cat"), env=environment(tmp_path / "e"), stdout=out, input=data, check=True
        )
    assert completed.returncode == 0
    assert target.read_bytes() == data


def test_output_is_passed_on_at_once(tmp_path: Path):
    code = "import sys\nfor line in sys.stdin: sys.stdout.write(line.strip()); sys.stdout.flush()"
    with begin(tmp_path, *python(code)) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        took = []
        for number in range(50):
            started_at = time.perf_counter()
            program.stdin.write(b"%d\n" % number)
            program.stdin.flush()
            assert program.stdout.read(len(str(number))) == b"%d" % number  # no newline: nothing is held back
            took.append(time.perf_counter() - started_at)
        program.communicate(timeout=20)
    assert sorted(took)[5] < 0.05  # a reader that waits for a tick is always late; a busy machine only sometimes


def test_a_closed_pipe_ends_the_program_as_without_exec(tmp_path: Path):
    inner = " ".join((*EXEC, "--", "yes"))
    completed = subprocess.run(
        ["bash", "-c", f"{inner} | head -c 8; echo ${{PIPESTATUS[0]}}"],
        env=environment(tmp_path),
        capture_output=True,
        timeout=30,
        check=True,
    )
    assert completed.stdout == b"y\ny\ny\ny\n141\n"  # by SIGPIPE


def test_a_line_of_ten_megabytes_passes_and_takes_no_memory(tmp_path: Path):
    code = """
        import os, resource, sys
        for _ in range(160): os.write(1, b"5/9 " * 16384)
        os.write(1, b"\\n")
        status = open(f"/proc/{os.getppid()}/status").read()
        sys.stderr.write(next(line for line in status.splitlines() if line.startswith("VmHWM")))
    """
    completed = launch(tmp_path, *python(code))
    assert len(completed.stdout) == 160 * 65536 + 1
    assert int(completed.stderr.split()[1]) < 60_000, "KiB"


def test_an_unread_stream_does_not_block_the_other(tmp_path: Path):
    code = """
        import os, sys, threading
        threading.Thread(target=lambda: os.write(1, b"x" * 4_000_000), daemon=True).start()
        for _ in range(100): os.write(2, b"y" * 1000)
        os.write(2, b"!"); sys.stdin.read(1); os._exit(0)
    """
    with begin(tmp_path, *python(code)) as program:
        assert program.stderr is not None
        assert program.stderr.read(100_001).endswith(b"!")
        program.kill()


def test_closed_outputs_stay_closed(tmp_path: Path):
    code = "import os\ntry: os.fstat(1)\nexcept OSError: open(os.environ['MARK'], 'w').write('closed')"
    inner = shlex.join((*EXEC, "--", *python(code)))
    mark = tmp_path / "mark"
    subprocess.run(["sh", "-c", inner + " >&-"], env=environment(tmp_path / "e", MARK=str(mark)), check=True)
    assert mark.read_text() == "closed"


def test_a_process_left_behind_by_the_command_can_continue_writing(tmp_path: Path):
    completed = begin(tmp_path, "sh", "-c", "(sleep 0.6; echo late) & echo early")
    out, _ = completed.communicate(timeout=20)
    assert (completed.returncode, out) == (0, b"early\nlate\n")
    (lines,) = events_by_file(tmp_path).values()
    assert float(str(lines[-1]["ts"])) - float(str(lines[0]["ts"])) < 0.5, "the run ended with the command"


# Status


def test_every_exit_status_is_passed_on(tmp_path: Path):
    # The same module that the command line calls, without a fresh interpreter for each of 256.
    code = """
        import os
        from epochcost.launch.command import main
        for status in range(256):
            pid = os.fork()
            if pid == 0: os._exit(main(["--", "sh", "-c", f"exit {status}"], os.environ))
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == status, status
    """
    subprocess.run(python(code), env=environment(tmp_path), check=True, timeout=300)
    ends = [lines[-1] for lines in events_by_file(tmp_path).values()]
    assert sorted(int(str(line["exit_status"])) for line in ends) == list(range(256))
    assert {line["status"] for line in ends if line["exit_status"]} == {"failed"}
    assert [line["status"] for line in ends if not line["exit_status"]] == ["finished"]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGKILL", "SIGSEGV", "SIGABRT", "SIGPIPE", "SIGUSR1", "SIGHUP"])
def test_exec_dies_by_the_signal_that_killed_the_command(tmp_path: Path, name: str):
    number = getattr(signal, name)
    completed = launch(tmp_path, "sh", "-c", f"kill -{int(number)} $$")
    assert completed.returncode == -number
    assert events(tmp_path)[-1]["exit_status"] == 128 + number


@pytest.mark.parametrize(("command", "code", "text"), [
    ("no-such-command-here", 127, b"No such file or directory"),
    ("/etc/passwd", 126, b"Permission denied"),
])  # fmt: skip
def test_a_command_that_cannot_start_is_reported_as_by_a_shell(tmp_path: Path, command: str, code: int, text: bytes):
    completed = launch(tmp_path, command)
    assert (completed.returncode, completed.stdout) == (code, b"")
    assert completed.stderr == b"epochcost exec: %s: %s\n" % (command.encode(), text)
    assert events(tmp_path)[-1]["status"] == "failed"


@pytest.mark.parametrize(("flags", "message"), [
    (("--epochs", "0", "--", "true"), b"--epochs: '0' is not a number above 0"),
    (("--epochs", "nan", "--", "true"), b"--epochs"),
    (("--pattern", "(", "--", "true"), b"pattern '('"),
    (("--pattern", "epoch", "--", "true"), b"needs a group named"),
    (("--pattern", "(?P<loss>x)", "--", "true"), b"unknown group loss"),
    (("--bar", "what", "--", "true"), b"--bar"),
    (("--epoch", "3", "--", "true"), b"--epoch"),
    ((), b"no command"),
])  # fmt: skip
def test_wrong_flags_are_one_error_that_names_them(tmp_path: Path, flags: tuple[str, ...], message: bytes):
    completed = subprocess.run((*EXEC, *flags), env=environment(tmp_path), capture_output=True, check=False)
    assert completed.returncode == 2
    assert message in completed.stderr
    assert not list(tmp_path.iterdir())


def test_the_commands_own_flags_are_its_own(tmp_path: Path):
    completed = launch(tmp_path, "echo", "--help", "--", "--epochs", "x")
    assert completed.stdout == b"--help -- --epochs x\n"


# Signals


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGQUIT", "SIGALRM"])
def test_a_signal_sent_to_exec_reaches_the_command(tmp_path: Path, name: str):
    number = getattr(signal, name)

    def heeded() -> None:  # a shell that starts a background process ignores some, and ignored signals stay ignored
        signal.signal(number, signal.SIG_DFL)

    with begin(tmp_path, *python(ENDLESS, name), preexec_fn=heeded) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == b"ready\n"
        program.send_signal(number)
        try:
            out, _ = program.communicate(timeout=20)
        finally:
            program.kill()  # the end of the block waits for it
    assert (program.returncode, out) == (50, f"told {name}\n".encode())
    end = events(tmp_path)[-1]
    assert (end["status"], end["exit_status"]) == ("preempted" if name == "SIGTERM" else "failed", 50)


def test_an_ignored_signal_stays_ignored(tmp_path: Path):
    inner = shlex.join((*EXEC, "--", *python(ENDLESS)))
    with subprocess.Popen(
        ["sh", "-c", f"trap '' HUP; exec {inner}"], env=environment(tmp_path), stdout=subprocess.PIPE
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == b"ready\n"
        program.send_signal(signal.SIGHUP)
        program.send_signal(signal.SIGTERM)
        assert program.wait(20) == -signal.SIGTERM


def test_stop_and_continue_pass_through(tmp_path: Path):
    with begin(tmp_path, "sh", "-c", "echo $$; exec sleep 60", process_group=0) as program:
        assert program.stdout is not None
        pid = int(program.stdout.readline())
        program.send_signal(signal.SIGTSTP)
        for process_id in (pid, program.pid):
            wait_for(lambda process_id=process_id: _state(process_id) == "T", what="stopping")  # type: ignore[misc]
        program.send_signal(signal.SIGCONT)
        for going in (pid, program.pid):
            wait_for(lambda going=going: _state(going) == "S", what="going on")  # type: ignore[misc]
        program.terminate()
        assert program.wait(20) == -signal.SIGTERM


def test_when_exec_is_killed_the_command_ends(tmp_path: Path):
    with begin(tmp_path, "sh", "-c", "echo $$; exec sleep 60") as program:
        assert program.stdout is not None
        pid = int(program.stdout.readline())
        program.kill()
        wait_for(lambda: _state(pid) in ("", "Z"), what="the end of the command")


def test_signals_are_not_blocked_in_the_command(tmp_path: Path):
    completed = launch(tmp_path, "grep", "^Sig", "/proc/self/status")
    bare = subprocess.run(["grep", "^Sig", "/proc/self/status"], capture_output=True, check=True)
    assert _masks(completed.stdout) == _masks(bare.stdout)


@pytest.mark.skipif(os.getuid() != 0, reason="a pid namespace needs root")
def test_as_the_first_process_of_a_container_it_passes_signals_on_and_reaps(tmp_path: Path):
    code = """
        import os, signal, subprocess, sys, time
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))
        # An orphan, which the first process inherits and has to wait for.
        subprocess.run(["sh", "-c", "sleep 0.05 & echo $! > orphan"], check=True)
        orphan = open("orphan").read().strip()
        end = time.monotonic() + 5
        while os.path.exists(f"/proc/{orphan}") and time.monotonic() < end: time.sleep(0.02)
        print("ready", os.getppid(), os.path.exists(f"/proc/{orphan}"), flush=True)
        while True: time.sleep(0.05)
    """
    inside = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child", *EXEC, "--", *python(code))
    with subprocess.Popen(inside, env=environment(tmp_path / "e"), stdout=subprocess.PIPE, cwd=tmp_path) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == b"ready 1 False\n"
        children = Path(f"/proc/{program.pid}/task/{program.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGTERM)
        assert program.wait(20) == 9
    assert events(tmp_path / "e")[-1]["status"] == "preempted"


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def _masks(status: bytes) -> list[bytes]:
    return [line for line in status.splitlines() if line.startswith((b"SigBlk", b"SigIgn", b"SigCgt"))]


# Nothing to report


@pytest.mark.parametrize("more", [
    {"EPOCHCOST_DISABLE": "1"}, {"LOCAL_RANK": "1"}, {"EPOCHCOST_DIR": "/proc/nowhere"},
])  # fmt: skip
def test_with_nothing_to_report_there_is_no_exec_process(tmp_path: Path, more: dict[str, str]):
    program = begin_with(tmp_path, more, "sh", "-c", "echo $$; echo $EPOCHCOST_RUN; echo err >&2; exit 3")
    out, err = program.communicate(timeout=20)
    assert program.returncode == 3
    assert out == b"%d\nmine\n" % program.pid
    assert err == b"err\n"
    assert not list(tmp_path.iterdir())


def begin_with(tmp_path: Path, more: dict[str, str], *command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        (*EXEC, "--id", "mine", "--", *command),
        env={**environment(tmp_path), **more},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_verbose_gives_the_reason_why_nothing_is_reported(tmp_path: Path):
    completed = launch("/proc/nowhere", "true", flags=("--verbose", "--id", "a"))
    assert completed.stderr.startswith(b"epochcost exec: run a is not reported: no events directory: ")


def test_an_internal_error_ends_the_reports_and_nothing_else():
    completed: list[int] = []
    safely = CallUntilFailure()
    safely(completed.append, 1)
    safely(completed.index, 2)  # type: ignore[arg-type]
    safely(completed.append, 3)
    assert (completed, safely.broken) == ([1], "ValueError: 2 is not in list")


def trap_pipe(directory: Path) -> None:
    os.mkfifo(directory / "trap.jsonl")


def trap_link(directory: Path) -> None:
    (directory / "trap.jsonl").symlink_to("/dev/zero")


def trap_line(directory: Path) -> None:
    (directory / "trap.jsonl").write_text(f'{{"v":1,"ev":"start","run":"a","ts":1{"0" * 400},"mono":1}}\n')


@pytest.mark.parametrize("trap", [trap_pipe, trap_link, trap_line])
def test_files_placed_beside_the_events_neither_block_nor_end_the_command(tmp_path: Path, trap: Callable[[Path], None]):
    code = "import sys\nprint('ready', flush=True); sys.stdin.readline()\nfor i in range(40): print(f'Epoch {i + 1}/40', flush=True)\nsys.exit(5)"  # noqa: E501
    program = begin(tmp_path, *python(code), flags=("--id", "a"))
    assert program.stdout is not None
    assert program.stdout.readline() == b"ready\n"
    trap(tmp_path)
    out, err = program.communicate(b"\n", timeout=20)  # looked at ten times a second, and once more at the end
    assert (program.returncode, out.count(b"\n"), err) == (5, 40, b"")
    (own_file,) = tmp_path.glob("a-*.jsonl")
    assert json.loads(own_file.read_text().splitlines()[-1])["ev"] == "end"


@pytest.mark.parametrize("harm", [lambda d: [f.unlink() for f in d.iterdir()] and d.rmdir(), lambda d: d.chmod(0)])
def test_a_removed_directory_changes_nothing(tmp_path: Path, harm: Callable[[Path], object]):
    directory = tmp_path / "events"
    code = "import sys\nprint('ready', flush=True); sys.stdin.readline()\nfor i in range(40): print(f'Epoch {i + 1}/40', flush=True)\nsys.exit(5)"  # noqa: E501
    program = begin(directory, *python(code))
    assert program.stdout is not None
    assert program.stdout.readline() == b"ready\n"
    harm(directory)
    out, err = program.communicate(b"\n", timeout=20)
    assert (program.returncode, out.count(b"\n"), err) == (5, 40, b"")
    if directory.exists():
        directory.chmod(0o700)


# Reports


def test_progress_is_reported_with_the_time_of_its_output(tmp_path: Path):
    code = """
        import sys, time
        for epoch in range(3):
            for step in range(1, 11):
                bar = f"{step * 10}%|####| {step}/10 [00:01<00:00,  9.98it/s]"
                print(f"\\rEpoch {epoch + 1}/3:  {bar}", end="", flush=True)
                time.sleep(0.03)
            print(flush=True)
            print("at", time.time(), flush=True)
    """
    flags = (
        "--experiment",
        "char-lm",
        "--id",
        "nightly-7",
        "--batch-size",
        "20",
        "--budget-usd",
        "5",
        "--framework",
        "torch",
    )
    completed = launch(tmp_path, *python(code), flags=flags)
    lines = events(tmp_path)
    assert kinds(lines)[:2] == ["start", "phase"]
    ends = [line for line in lines if line["ev"] == "epoch_end"]
    assert [(line["epoch"], line["step"], line["steps"]) for line in ends] == [(1, 10, 10), (2, 20, 10), (3, 30, 10)]
    print_times = [float(line.split()[1]) for line in completed.stdout.splitlines() if line.startswith(b"at")]
    assert all(abs(float(str(end["ts"])) - at) < 0.1 for end, at in zip(ends, print_times, strict=True))
    facts = {
        name: lines[-1][name]
        for name in ("run", "experiment", "epochs", "batch_size", "budget_usd", "framework", "status")
    }
    assert facts == {
        "run": "nightly-7", "experiment": "char-lm", "epochs": 3.0, "batch_size": 20, "budget_usd": 5.0,
        "framework": "torch", "status": "finished",
    }  # fmt: skip


def test_progress_is_written_at_most_once_a_second(tmp_path: Path):
    code = """
        import time
        for step in range(3000):
            print(f"Epoch 1/1:  {step // 40}%|#| {step}/4000 [00:01<00:00,  9.98it/s]", end="\\r", flush=True)
        time.sleep(0.2)
    """
    launch(tmp_path, *python(code))
    lines = events(tmp_path)
    assert kinds(lines) == ["start", "phase", "progress", "end"]
    assert lines[-1]["step"] == 2999


def test_a_custom_pattern_and_one_that_would_never_end(tmp_path: Path):
    code = "for i in range(4): print(f'=> era {i} of 4 :: ' + 'a' * 60 + '!', flush=True)"
    flags = ("--verbose", "--pattern", "(a+)+(?P<step>$)", "--pattern", r"era (?P<epoch>\d+) of (?P<epochs>\d+)")
    started_at = time.monotonic()
    completed = launch(tmp_path, *python(code), flags=flags)
    assert time.monotonic() - started_at < 10
    assert b"took too long" in completed.stderr
    assert [line["epoch"] for line in events(tmp_path) if line["ev"] == "epoch_end"] == [1, 2, 3, 4]


def test_an_epoch_confirmed_only_by_the_next_has_its_own_time(tmp_path: Path):
    """A line for each finished epoch: the first one alone might be anything; the agent gets it late, and right."""
    from epochcost.ledger.run import RunAccount
    from epochcost.model import RunId
    from epochcost.progress.clock import NodeClock
    from epochcost.progress.event_files import EventFiles
    from epochcost.progress.reading_settings import EventDirectories

    code = """
        import time
        for epoch in (1, 2, 3):
            time.sleep(0.5 * epoch)
            print(f"epoch {epoch} loss 0.5", flush=True)
    """
    launch(tmp_path, *python(code), flags=("--id", "one"))
    account = RunAccount(RunId("one"), "part")
    for event in EventFiles(EventDirectories(tmp_path)).poll(NodeClock(time.time, time.monotonic, "boot")):
        account.take(event, 0.0)
    took = [epoch.end - epoch.start for epoch in account.epochs.finished]
    assert took[1:] == [pytest.approx(1.0, abs=0.3), pytest.approx(1.5, abs=0.3)]
    assert len(took) == 3


def test_a_guess_is_retracted_in_the_events_too(tmp_path: Path):
    code = """
        import time
        bar = "{0}%|####| {0}/9 [00:01<00:00,  9.98it/s]"
        for turn in range(4):
            for step in (0, 3, 6, 9):
                print("Training: " + bar.format(step), flush=True)
                time.sleep(0.03)
        for epoch in range(1, 4):
            print({"loss": 0.5, "learning_rate": 0.1, "epoch": epoch / 10}, flush=True)
            for step in (0, 3, 6, 9):
                print("Training: " + bar.format(step), flush=True)
                time.sleep(0.03)
    """
    launch(tmp_path, *python(code))
    lines = events(tmp_path)
    at = kinds(lines).index("retract")
    assert kinds(lines)[:at].count("epoch_end") > 1
    assert "epoch_end" not in kinds(lines)[at:]
    assert set(lines[at]) >= {"v", "ev", "ts", "mono", "run"}
    assert lines[-1]["epoch"] == 0.3


# Without a command


def read(log: bytes, *flags: str, name: str = "-") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run((*EXEC, "--read", name, *flags), input=log, capture_output=True, timeout=60, check=False)


LOG = b"".join(b"round %d/3\nround loss 0.5\n" % n for n in (1, 2, 3))


def test_a_log_is_read_and_the_reader_lists_its_findings(tmp_path: Path):
    log = b"Epoch 1/2\n1/9 - loss: 1\n9/9 - loss: 1\nEpoch 2/2\n1/9 - loss: 1\n9/9 - loss: 1\nsaved epoch 2\n"
    (tmp_path / "train.log").write_bytes(log)
    for completed in (read(log), read(b"", name=str(tmp_path / "train.log"))):
        assert (completed.returncode, completed.stderr) == (0, b"")
        assert b"epoch 1: ended in line 3\nepoch 2: ended in line 6\n" in completed.stdout
        assert b"2 epochs reported, 2 planned, 18 steps (9 per epoch)" in completed.stdout
        assert b"followed: 2 lines like 'Epoch 1/2'" in completed.stdout


def test_lines_are_numbered_as_in_an_editor_however_often_they_were_drawn_over():
    bar = "Epoch {}/2: {}%|##| {}/4 [00:01<00:00, 9.98it/s]"
    log = "\n\n" + "\n".join("\r".join(bar.format(e, 25 * n, n) for n in range(5)) for e in (1, 2))
    completed = read(log.encode())
    assert b"epoch 1: ended in line 3\nepoch 2: ended in line 4\n" in completed.stdout


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (
            ["step 100 loss 1", "step 200 loss 1", "step 300 loss 1"],
            ["0 epochs reported, 300 steps, from steps", "only steps are printed: --steps-per-epoch N makes epochs"],
        ),
        (
            [f"epoch 0.{n} loss 1" for n in range(1, 5)],
            ["0 epochs reported, position 0.40, from lines"],
        ),
        (
            ["Epoch 1/2", "  step 10/20", "  step 20/20", "Epoch 2/2", "  step 10/20", "  step 20/20"],
            ["left out: 4 lines like 'step 10/20': less specific than the lines that are followed"],
        ),
        (
            ["step 5 loss 1", "step 3 loss 1", "step 9 loss 1"],
            ["left out: 3 lines like 'step 5 loss 1': its steps begin"],
        ),
        (["epoch 0.1 loss", "epoch 0.2 loss", "epoch 0.4 loss"], ["positions that did not increase steadily"]),
        (["100%|####| 10/10 [00:01<00:00]"], ["progress bars without a name may be anything: --bar epoch"]),
        (["epoch: 1 loss 1", "epoch: 2 loss 1"], ["planned epochs are not printed: set them with --epochs N"]),
        (["all is well"], ["no line was understood: --pattern"]),
    ],
)
def test_what_was_read_and_what_was_not_is_explained(lines: list[str], says: list[str]):
    done = read("\n".join([*lines, ""]).encode())
    assert [words for words in says if words not in done.stdout.decode()] == [], done.stdout.decode()


def test_a_parsed_line_is_not_also_listed_as_skipped():
    completed = read(b"Epoch 1/2 loss 0.5\nEpoch 2/2 loss 0.4\n")
    assert b"followed: 2 lines like 'Epoch 1/2 loss 0.5'" in completed.stdout
    assert b"left out" not in completed.stdout
    rare = b"".join(b"Epoch [%d/50] loss 0.51\n" % number for number in range(10, 51, 10))
    assert read(rare).stdout.startswith(b"epoch 1: ended in line 1\n")
    assert b"50 epochs reported, 50 planned" in read(rare).stdout
    assert b"left out" not in read(rare).stdout


def test_for_an_unknown_log_format_the_helpful_flag_is_named(tmp_path: Path):
    completed = read(LOG)
    assert completed.returncode == 0
    assert b"0 epochs reported" in completed.stdout
    assert b"--pattern" in completed.stdout
    completed = read(LOG, "--pattern", r"round (?P<epoch>\d+)/(?P<epochs>\d+)")
    assert b"epoch 2: ended in line 5" in completed.stdout
    assert b"epoch 3: ended with the log, if the command ended well there" in completed.stdout
    assert b"3 epochs reported, 3 planned" in completed.stdout
    (tmp_path / "rows").write_text("[mine]\nline = round (?P<epoch>\\d+)/(?P<epochs>\\d+)\nform = end\n")
    completed = read(LOG, "--pattern-file", str(tmp_path / "rows"))
    assert b"epoch 1: ended in line 1\nepoch 2: ended in line 3\nepoch 3: ended in line 5\n" in completed.stdout
    bars = b"".join(b"%d%%|##| %d/4 [00:01<00:00, 9.98it/s]\n" % (25 * n, n) for n in (1, 2, 3, 4)) * 2
    assert b"--bar epoch" in read(bars).stdout
    assert b"2 epochs reported" in read(bars, "--bar", "epoch").stdout
    steps = b"".join(b"iter %d: loss 4.2, time 3ms\n" % n for n in range(0, 90, 10))
    assert b"--steps-per-epoch" in read(steps).stdout


@pytest.mark.parametrize("name", ["/nowhere/at/all", "/tmp", "/dev/null"])
def test_an_unreadable_log_is_reported(name: str):
    completed = read(b"", name=name)
    assert completed.returncode == (0 if name == "/dev/null" else 1)
    assert b"Traceback" not in completed.stderr


def test_arbitrary_bytes_are_accepted_as_a_log():
    completed = read(bytes(range(256)) * 400 + b"Epoch 1/1" * 9000)
    assert (completed.returncode, completed.stderr) == (0, b"")


@pytest.mark.parametrize("flags", [("--read", "x", "--", "true"), ("--pattern-file", "/nowhere"), ("--read",)])
def test_nonsensical_flags_are_rejected(flags: tuple[str, ...]):
    completed = subprocess.run((*EXEC, *flags), capture_output=True, timeout=60, check=False)
    assert completed.returncode == 2
    assert b"Traceback" not in completed.stderr


def test_verbose_ends_with_the_formats_and_the_cost(tmp_path: Path):
    costs = {"v": 1, "run": "a", "cost_usd": 1.25, "seconds": 450.0, "states": {"useful": 450.0}, "ts": time.time()}
    (tmp_path / "a.cost.json").write_text(json.dumps(costs))
    code = "import time\nfor n in (1, 2): print(f'epoch {n} loss 0.5', flush=True); time.sleep(0.1)"
    completed = launch(tmp_path, *python(code), flags=("--verbose", "--id", "a"))
    messages = completed.stderr.decode().split("epochcost exec: ")[1].splitlines()
    assert messages[0].startswith("run a finished: 2 epochs reported, from lines with epochs")
    assert messages[1] == "  followed: 2 lines like 'epoch 1 loss 0.5'"
    assert messages[-1].startswith("  run a: 2 epochs, 7.5 min, $1.25 ($0.625 per epoch)")


def test_files_are_found_and_read(tmp_path: Path):
    work = tmp_path / "work"
    work.mkdir()
    (work / "old").mkdir()
    (work / "old" / "results.csv").write_text("epoch,train/loss\n1,1\n2,1\n")
    os.utime(work / "old" / "results.csv", (1, 1))
    code = """
        import os, time
        os.makedirs("runs/detect/train")
        with open("runs/detect/train/results.csv", "w") as file:
            print("      epoch,   time, train/box_loss", file=file)
            for epoch in (1, 2):
                print(f"      {epoch},  12.5,  0.5", file=file, flush=True)
                time.sleep(2.2)
    """
    subprocess.run((*EXEC, "--", *python(code)), env=environment(tmp_path / "e"), cwd=work, check=True)
    assert [line["epoch"] for line in events(tmp_path / "e") if line["ev"] == "epoch_end"] == [1, 2]


# Beside the library


LIBRARY = """
import sys, time, epochcost
print("Epoch 1/3:  0%|          | 0/500 [00:00<?, ?it/s]", flush=True)
time.sleep(0.3)
with epochcost.run(**({"id": sys.argv[1]} if len(sys.argv) > 1 else {}), epochs=3) as run:
    for epoch in run.epochs():
        time.sleep(0.3)
        print(f"Epoch {epoch + 1}/3: 100%|####| 10/10 [00:01<00:00, 9.98it/s]", flush=True)
time.sleep(0.3)
sys.exit(4)
"""


JOBS: list[dict[str, str]] = [
    {},
    {"SLURM_JOB_ID": "one"},
    {"TORCHELASTIC_RUN_ID": "one"},
    {"KUBERNETES_JOB_NAME": "one"},
]


@pytest.mark.parametrize("job", JOBS, ids=lambda job: next(iter(job), "no job"))
def test_a_training_that_reports_by_itself_joins_the_run_and_is_not_reported_twice(tmp_path: Path, job: dict[str, str]):
    completed = launch(tmp_path, *python(LIBRARY), flags=("--verbose", *(() if job else ("--id", "one"))), **job)
    assert completed.returncode == 4
    assert b"the training process reports on its own" in completed.stderr
    files = events_by_file(tmp_path)
    assert {str(line["run"]) for lines in files.values() for line in lines} == {"one"}
    exec_lines = [line for lines in files.values() for line in lines if line.get("writer")]
    assert not [line for line in exec_lines if line["ev"] in ("epoch_end", "progress")]
    assert sorted(kinds(exec_lines)) == ["end", "end", "start", "start"]
    assert max(exec_lines, key=lambda line: float(str(line["ts"])))["exit_status"] == 4


def test_for_the_agent_both_are_one_run_from_the_commands_start_to_its_end(tmp_path: Path):
    from epochcost.ledger.run import RunAccount
    from epochcost.model import RunId
    from epochcost.progress.clock import NodeClock
    from epochcost.progress.event_files import EventFiles
    from epochcost.progress.reading_settings import EventDirectories

    before = time.time()
    launch(None, "true")
    started_at = time.time()
    launch(tmp_path, *python(LIBRARY), flags=("--id", "one"))
    ended_at = time.time()
    account = RunAccount(RunId("one"), "part")
    for event in EventFiles(EventDirectories(tmp_path)).poll(NodeClock(time.time, time.monotonic, "boot")):
        account.take(event, started_at - 60)
    assert not account.is_open
    assert account.epochs.attempts == 1
    assert [epoch.number for epoch in account.epochs.finished] == [1, 2, 3]
    assert account.status is not None
    assert account.status.value == "failed"
    assert ended_at - started_at - account.seconds(ended_at) < 0.5 + 2 * (
        started_at - before
    )  # the start time of any command
    assert account.epochs.lost == 0


def test_a_training_that_names_a_run_of_its_own_is_charged_once(tmp_path: Path):
    launch(tmp_path, *python(LIBRARY, "theirs"), flags=("--id", "ours"))
    lines = sorted((line for lines in events_by_file(tmp_path).values() for line in lines), key=lambda one: one["mono"])
    own_lines = [line for line in lines if line["run"] == "ours"]
    start = next(line for line in lines if line["run"] == "theirs")
    assert kinds(own_lines) == ["start", "end"]
    assert 0 < float(str(own_lines[-1]["mono"])) - float(str(start["mono"])) < 0.001


def test_two_commands_of_one_run_do_not_wait_for_each_other(tmp_path: Path):
    programs = [begin(tmp_path, "sh", "-c", "echo ready; read x", flags=("--id", "one")) for _ in range(2)]
    for program in programs:
        assert program.stdout is not None
        assert program.stdout.readline() == b"ready\n"
    wait_for(lambda: len(events_by_file(tmp_path)) == 2)
    for program in programs:
        program.communicate(b"\n", timeout=20)
    assert len(events_by_file(tmp_path)) == 2


# In a job


def has_files(directory: Path, number: int) -> bool:
    return len(events_by_file(directory)) == number


def runs(directory: Path) -> list[str]:
    """The runs' ids in the order of their starts."""
    starts = sorted(
        (lines[0] for lines in events_by_file(directory).values()), key=lambda line: float(str(line["mono"]))
    )
    return [str(line["run"]) for line in starts]


def test_consecutive_commands_of_one_job_are_runs_of_their_own(tmp_path: Path):
    for rate in ("0.1", "0.2", "0.3"):
        launch(tmp_path, "sh", "-c", "echo Epoch 1/1; exit 0", rate, SLURM_JOB_ID="77")
    assert runs(tmp_path) == ["77", "77-2", "77-3"]


def test_a_command_after_one_that_failed_continues_the_same_run(tmp_path: Path):
    for code in "10":
        launch(tmp_path, "sh", "-c", f"exit {code}", SLURM_JOB_ID="77")
    assert runs(tmp_path) == ["77", "77"]


def test_parallel_commands_of_one_job_are_different_runs_even_after_a_requeue(tmp_path: Path):
    for attempt, files in ({}, 3), ({"SLURM_RESTART_COUNT": "1"}, 6):
        programs = [
            subprocess.Popen(
                (*EXEC, "--", "sh", "-c", "read x; exit 1", rate),
                env=environment(tmp_path, SLURM_JOB_ID="77", **attempt),
                stdin=subprocess.PIPE,
            )
            for rate in ("0.1", "0.2", "0.3")
        ]
        wait_for(partial(has_files, tmp_path, files))
        for program in programs:
            program.communicate(b"\n", timeout=20)
    runs_found = runs(tmp_path)
    assert len(set(runs_found)) == 3
    assert sorted(runs_found[:3]) == sorted(runs_found[3:])
    assert "77" in runs_found


def test_a_command_that_is_not_reported_makes_no_directory_to_look_for_its_id(tmp_path: Path):
    launch(tmp_path / "events", "true", SLURM_JOB_ID="77", EPOCHCOST_DISABLE="1")
    assert not (tmp_path / "events").exists()


def test_a_line_has_each_key_once(tmp_path: Path):
    launch(tmp_path, *python("print('Epoch 1/2')\nprint('Epoch 2/2')"), SLURM_JOB_ID="77")

    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        assert len(pairs) == len(dict(pairs)), pairs
        return dict(pairs)

    for path in tmp_path.glob("*.jsonl"):
        for raw in path.read_bytes().splitlines():
            line = json.loads(raw, object_pairs_hook=once)
            assert line["ev"] == "progress" or line["launcher"] == "slurm", "a progress line has the position alone"


def test_lines_are_events_to_the_agent(tmp_path: Path):
    from epochcost.progress.parse import Line, parse_line

    launch(tmp_path, *python("print('Epoch 1/2')\nprint('Epoch 2/2')"))
    for path in tmp_path.glob("*.jsonl"):
        for raw in path.read_bytes().splitlines():
            assert isinstance(parse_line(raw), Line), raw
            assert json.loads(raw)["writer"] == "exec"
