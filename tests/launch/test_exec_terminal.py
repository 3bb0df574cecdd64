"""In a terminal: output, input and job control are the same as without ``epochcost exec``."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import textwrap
from pathlib import Path

import pytest
from tests.launch.terminal import EXEC, Terminal
from tests.training.programs import environment, events_by_file
from tests.waiting import wait_for

FULL_SCREEN = """
import os, sys, time
columns, rows = os.get_terminal_size(1)
out = lambda text: (sys.stdout.write(text), sys.stdout.flush())
out("\\x1b]0;training\\x07\\x1b[?1049h\\x1b[?25l\\x1b[2J")
for epoch in range(1, 4):
    for step in range(0, 41, 8):
        width = (columns - 30) * step // 40
        out(f"\\x1b[{rows};1H\\x1b[1;32mEpoch {epoch}/3: {step * 100 // 40:3d}%|" + "\u2588" * width
            + f"\\x1b[0m| {step}/40 [00:01<00:00, 9.98it/s]\\r")
        sys.stderr.write(f"\\x1b[{epoch};1Hloss\\t{1 / (step + 1):.3f}\\n")
        sys.stderr.flush()
out("\\x1b[?25h\\x1b[?1049l\\nbyte \\x00\\xff done\\n")
print(sys.stdin.isatty(), sys.stdout.isatty(), sys.stderr.isatty(), columns, rows)
sys.exit(3)
"""


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", textwrap.dedent(code))


def output_of(argv: tuple[str, ...], directory: Path, **size: int) -> tuple[bytes, int]:
    with Terminal(argv, environment(directory), **size) as terminal:
        code = terminal.wait()
        return terminal.output, code


def test_a_full_screen_progress_bar_is_passed_byte_for_byte(tmp_path: Path):
    bare = output_of(python(FULL_SCREEN), tmp_path, rows=31, columns=113)
    within = output_of((*EXEC, "--", *python(FULL_SCREEN)), tmp_path, rows=31, columns=113)
    assert within == bare
    assert bare[1] == 3
    assert b"True True True 113 31" in bare[0]
    (lines,) = events_by_file(tmp_path).values()
    assert [line["epoch"] for line in lines if line["ev"] == "epoch_end"] == [1, 2, 3]


def test_without_parsed_lines_there_is_one_hint(tmp_path: Path):
    for code, is_understood in (
        ("print('hello')", False),
        ("print('epoch 1 loss 1'); time.sleep(0.2); print('epoch 2 loss 1')", True),
    ):
        output, _ = output_of(
            (*EXEC, "--", *python(f"import time; {code}; time.sleep(1.2)")), tmp_path, rows=30, columns=100
        )
        assert (b"no progress was recognised" in output) is not is_understood
    quick, _ = output_of((*EXEC, "--", "echo", "hello"), tmp_path, rows=30, columns=100)
    assert quick == b"hello\r\n"
    silent, _ = output_of((*EXEC, "--", "sleep", "1.2"), tmp_path, rows=30, columns=100)
    assert silent == b""


def test_only_streams_that_were_a_terminal_are_one(tmp_path: Path):
    code = "import sys; print(sys.stdin.isatty(), sys.stdout.isatty(), sys.stderr.isatty(), file=sys.stderr)"
    for redirected, expected in ((" >/dev/null", b"True False True"), (" </dev/null", b"False True True")):
        inner = shlex.join((*EXEC, "--", *python(code)))
        assert expected in output_of(("sh", "-c", inner + redirected), tmp_path)[0]


def test_the_terminal_keeps_its_modes(tmp_path: Path):
    with Terminal(
        (*EXEC, "--", "sh", "-c", "echo ready; read line; echo got $line"), environment(tmp_path)
    ) as terminal:
        before = terminal.modes()
        terminal.read_until(b"ready\r\n")
        assert terminal.modes() == before
        terminal.type(b"word\n")
        assert b"word\r\ngot word\r\n" in terminal.read_until(b"got word")
        assert terminal.wait() == 0


def test_turning_echo_off_on_the_output_takes_effect(tmp_path: Path):
    code = """
        import sys, termios
        before = termios.tcgetattr(1)
        now = termios.tcgetattr(1); now[3] &= ~termios.ECHO
        termios.tcsetattr(1, termios.TCSANOW, now)
        print("ready", flush=True); line = sys.stdin.readline()
        termios.tcsetattr(1, termios.TCSANOW, before); print("got", line.strip(), flush=True)
    """
    with Terminal((*EXEC, "--", *python(code)), environment(tmp_path)) as terminal:
        before = terminal.modes()
        terminal.read_until(b"ready\r\n")
        terminal.type(b"secret\n")
        assert terminal.read_until(b"got secret\r\n") == b"ready\r\ngot secret\r\n"
        assert terminal.modes() == before
        assert terminal.wait() == 0


def test_a_new_size_reaches_the_program(tmp_path: Path):
    code = """
        import os, signal, sys
        sizes = []
        signal.signal(signal.SIGWINCH, lambda *_: print("size", *os.get_terminal_size(1), flush=True))
        print("ready", *os.get_terminal_size(1), flush=True)
        while True: signal.pause()
    """
    with Terminal((*EXEC, "--", *python(code)), environment(tmp_path)) as terminal:
        terminal.read_until(b"ready 80 24")
        terminal.resize(50, 132)
        terminal.read_until(b"size 132 50")
        terminal.resize(40, 100)
        terminal.read_until(b"size 100 40")


def test_ctrl_c_interrupts_the_program_once_and_its_status_is_kept(tmp_path: Path):
    code = """
        import signal, sys, time
        hits = []
        signal.signal(signal.SIGINT, lambda *_: hits.append(1))
        print("ready", flush=True)
        end = time.monotonic() + 10
        while not hits and time.monotonic() < end: time.sleep(0.01)
        time.sleep(0.3)
        print("hits", len(hits), flush=True); sys.exit(41)
    """
    with Terminal((*EXEC, "--", *python(code)), environment(tmp_path)) as terminal:
        terminal.read_until(b"ready")
        terminal.type(b"\x03")
        terminal.read_until(b"hits 1\r\n")
        assert terminal.wait() == 41


def test_exec_dies_of_ctrl_c_if_the_program_does(tmp_path: Path):
    with Terminal((*EXEC, "--", "sh", "-c", "echo ready; exec sleep 60"), environment(tmp_path)) as terminal:
        terminal.read_until(b"ready")
        terminal.type(b"\x03")
        assert terminal.wait() == -signal.SIGINT
    (lines,) = events_by_file(tmp_path).values()
    assert (lines[-1]["status"], lines[-1]["exit_status"]) == ("failed", 130)


def test_ctrl_z_stops_and_fg_continues_in_a_shell(tmp_path: Path):
    shell = ("bash", "--norc", "--noprofile", "--noediting", "-i")
    environ = environment(tmp_path, PS1="$ ", HISTFILE="", PYTHON=sys.executable)
    program = tmp_path / "count.py"
    program.write_text(
        "import itertools, time\nprint('begun', flush=True)\n"
        "for i in itertools.count():\n    time.sleep(0.1)\n    print('n', i, flush=True)\n"
    )
    with Terminal(shell, environ) as terminal:
        terminal.type(f"{' '.join(EXEC)} -- {sys.executable} {program}\n".encode())
        terminal.read_until(b"\nn 5\r\n")
        terminal.type(b"\x1a")
        terminal.read_until(b"Stopped")

        def is_stopped() -> bool:
            """Whether the shell has a stopped process now."""
            length_before = len(terminal.output)
            terminal.type(b"ps -o stat= -t $(tty) | sort | uniq -c; echo checked $((6*7))\n")
            terminal.read_until(b"checked 42\r\n", after=length_before)
            return any(state.startswith(b"T") for state in terminal.output[length_before:].split())

        wait_for(is_stopped, what="both being stopped")
        mark = len(terminal.output)
        terminal.type(b"fg\n")
        terminal.read_until(b"\nn ", after=mark)
        again = len(terminal.output)
        terminal.type(b"\x1a")
        terminal.read_until(b"Stopped", after=again)
        terminal.type(b"bg\n")
        again = len(terminal.output)
        terminal.read_until(b"\nn ", after=again)
        again = len(terminal.output)
        terminal.type(b"fg\n")
        terminal.read_until(b"count.py\r\n", after=again)  # the shell prints the resumed command before it resumes it
        wait_for(lambda: os.tcgetpgrp(terminal.master) != terminal.pid, what="the foreground")
        terminal.type(b"\x03")
        terminal.read_until(b"KeyboardInterrupt")
        terminal.type(b"echo status $?; exit\n")
        terminal.read_until(b"status 1")
        terminal.wait()


@pytest.mark.parametrize("alone", [True, False])
def test_a_hang_up_ends_the_program(tmp_path: Path, alone: bool):
    mark = tmp_path / "pid"
    command = (*EXEC, "--", "sh", "-c", f"echo $$ > {mark}; echo ready; exec sleep 60")
    terminal = Terminal(command, environment(tmp_path / "events"))
    terminal.read_until(b"ready")
    pid = int(wait_for(mark.read_text))
    if alone:
        os.kill(terminal.pid, signal.SIGHUP)
        assert terminal.wait() == -signal.SIGHUP
        os.close(terminal.master)
    else:
        os.close(terminal.master)
        os.waitpid(terminal.pid, 0)
    wait_for(lambda: not Path(f"/proc/{pid}").exists(), what="the end of the program")
