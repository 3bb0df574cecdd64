"""The table as displayed: on a terminal of a given width, through pipes, with badly chosen names."""

from __future__ import annotations

import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from dataclasses import replace
from fcntl import ioctl
from pathlib import Path

import pytest

from epochcost.reports.app import print_text, write
from epochcost.reports.errors import ReportError
from epochcost.reports.format import breadth
from epochcost.reports.report import Fleet, Report
from epochcost.reports.report_page import page
from epochcost.reports.rows import Row, grouped, with_frontier
from epochcost.reports.span import Span
from epochcost.reports.text import markdown, terminal

ROOT = Path(__file__).resolve().parents[2]
DAY = Span(1_700_000_000.0, 1_700_086_400.0, 288)


def run(label: str, experiment: str, instance_type: str, usd: float) -> Row:
    return Row(
        experiment, label, instance_type=instance_type, option="on_demand", batch_size="20", nodes=1, hours=2.0,
        node_hours=2.0, usd=usd, epochs=4.0, epoch_seconds_sum=7000.0, epoch_usd_sum=usd * 0.97, useful_epochs=4.0,
        seconds={"useful": 6300.0, "idle": 700.0, "startup": 200.0},
    )  # fmt: skip


def report(*rows: Row, notes: tuple[str, ...] = ()) -> Report:
    fleet = Fleet(1, {"useful": 1.75}, {"useful": 1.0})
    return Report("http://x", DAY, DAY.end, with_frontier(grouped(rows)), with_frontier(rows), fleet, list(notes))


@pytest.fixture
def two() -> Report:
    rows = run("char-1", "char-lm", "g5.xlarge", 2.0), run("char-2", "char-lm", "p2.xlarge", 1.5)
    note = "1 run: batch size changed (char-1). The last one is shown; the figures cover all of them."
    return report(*rows, notes=(note,))


@pytest.mark.parametrize("width", [40, 80, 120, 190])
def test_no_line_is_longer_than_the_terminal(two, width):
    text = terminal(two, width)
    assert max(map(breadth, text.splitlines()[3:])) <= width
    for title in ("time/epoch", "cost/useful epoch", "realised", "char-1", "p2.xlarge", "all of them."):
        assert title in text


def test_pieces_of_a_table_are_joined_by_the_numbers_of_their_rows(two):
    pieces = terminal(two, 80).split("Experiments\n")[1].split("\n\nRuns")[0].split("\n\n")
    assert len(pieces) > 1
    for piece in pieces:
        assert [line.split()[0] for line in piece.splitlines()] == ["#", "-", "1", "2"]
    cost = next(piece.splitlines()[2:] for piece in pieces if "cost/epoch" in piece)
    assert re.search(r"36\.38 ¢", cost[0])
    assert re.search(r"48\.50 ¢", cost[1])


def test_a_wide_terminal_and_a_file_get_whole_lines(two):
    assert terminal(two, 600) == terminal(two)
    (line,) = [line for line in terminal(two).splitlines() if line.startswith("char-1 ")]
    assert "g5.xlarge" in line
    assert "$2.00" in line


def test_names_cannot_control_the_terminal_or_end_a_line(two):
    bad = run("\x1b]0;owned\x07\x1b[2J", "two\nlines | [x](y)", "g5\r.xlarge", 2.0)
    for text in (terminal(report(bad)), terminal(report(bad), 80), markdown(report(bad))):
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", text)
    (line,) = [line for line in markdown(report(bad)).splitlines() if line.startswith("| two")]
    assert line.startswith(r"| two?lines \| \[x](y) |")


def test_types_of_one_name_at_two_providers_are_distinguished():
    one = run("a", "char-lm", "H100", 2.0)
    both = report(replace(one, provider="runpod"), replace(one, label="b", provider="vastai"))
    for text in (terminal(both), markdown(both), page(both)):
        assert "runpod H100" in text
        assert "vastai H100" in text
    assert "runpod" not in terminal(report(replace(one, provider="runpod")))


def test_wide_characters_keep_the_columns_aligned():
    rows = run("\u5b57\u5178", "char-lm", "g5.xlarge", 2.0), run("plain", "char-lm", "p2.xlarge", 1.5)
    lines = terminal(report(*rows)).split("Runs\n")[1].splitlines()[:4]
    assert {breadth(line[: line.index("char-lm")]) for line in lines[2:]} == {breadth(lines[0].split("experiment")[0])}


def test_the_width_comes_from_the_terminal():
    main, side = pty.openpty()
    ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 50, 0, 0))
    code = "import sys; from epochcost.reports.app import columns; print(columns(sys.stdout))"
    try:
        environment = {k: v for k, v in os.environ.items() if k != "COLUMNS"} | {"PYTHONPATH": str(ROOT / "exporter")}
        subprocess.run([sys.executable, "-c", code], stdout=side, check=True, env=environment)
        assert os.read(main, 100).split() == [b"50"]
    finally:
        os.close(main)
        os.close(side)


def test_a_closed_pipe_ends_the_output_quietly():
    program = "import sys; from epochcost.reports.app import print_text, write; print_text('x' * 1_000_000, sys.stdout)"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT / "exporter")},
    ) as process:  # fmt: skip
        process.stdout.read(1)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == 0


def test_a_symbolic_link_in_place_of_the_output_file_is_not_followed(two, tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("mine")
    for name in ("report.md", ".report.md.new"):
        (tmp_path / name).symlink_to(precious)
    write("text", str(tmp_path / "report.md"), io.StringIO())
    assert precious.read_text() == "mine"
    assert (tmp_path / "report.md").read_text() == "text"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".report.md.new", "precious", "report.md"]


def test_a_pipe_in_place_of_the_file_is_written_into_and_stays(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE) as reader:
        write("text", str(pipe), io.StringIO())
        assert reader.stdout.read() == b"text"
    assert pipe.is_fifo()


def test_a_link_to_a_pipe_that_somebody_laid_there_is_not_followed(tmp_path):
    tmp_path.chmod(0o1777)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "report.md").symlink_to(tmp_path / "pipe")
    write("text", str(tmp_path / "report.md"), io.StringIO())
    assert (tmp_path / "report.md").read_text() == "text"
    assert not (tmp_path / "report.md").is_symlink()


def test_a_descriptor_by_its_name_is_written_into():
    reader, writer = os.pipe()
    write("text", f"/dev/fd/{writer}", io.StringIO())
    os.close(writer)
    assert os.read(reader, 100) == b"text"
    os.close(reader)


def test_standard_output_by_its_name_is_standard_output(tmp_path):
    program = "import sys; from epochcost.reports.app import write; print('a'); write('b', '/dev/stdout', sys.stdout)"
    with (tmp_path / "out").open("w") as out:
        subprocess.run(
            [sys.executable, "-c", program], stdout=out, check=True,
            env={**os.environ, "PYTHONPATH": str(ROOT / "exporter")},
        )  # fmt: skip
    assert (tmp_path / "out").read_text() == "a\nb"
    assert Path("/dev/stdout").is_symlink()


@pytest.mark.parametrize("name", ["/dev/stderr", "/dev/fd/2", "/proc/self/fd/2"])
def test_a_descriptor_that_leads_to_a_file_is_written_into_after_what_is_there(tmp_path, name):
    program = f"import sys; from epochcost.reports.app import write; write('b', {name!r}, sys.stdout)"
    (tmp_path / "log").write_text("a\n")
    with (tmp_path / "log").open("a") as log:
        subprocess.run(
            [sys.executable, "-c", program], stdout=subprocess.DEVNULL, stderr=log, check=True,
            env={**os.environ, "PYTHONPATH": str(ROOT / "exporter")},
        )  # fmt: skip
    assert (tmp_path / "log").read_text() == "a\nb"
    assert Path("/dev/stderr").is_symlink()


def test_a_report_is_as_private_as_the_umask_says(tmp_path):
    before = os.umask(0o077)
    try:
        write("text", str(tmp_path / "report.md"), io.StringIO())
    finally:
        os.umask(before)
    assert (tmp_path / "report.md").stat().st_mode & 0o777 == 0o600


def test_a_full_disk_is_an_error_and_an_ascii_terminal_is_not():
    with Path("/dev/full").open("w") as full, pytest.raises(ReportError, match="No space left"):
        print_text("x" * 100_000, full)
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, "latin-1")
    print_text("65.33 ¢ ★", out)
    assert raw.getvalue() == b"65.33 \xa2 ?"
