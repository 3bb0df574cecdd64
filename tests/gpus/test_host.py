"""The machine itself from files as the kernel writes them, and from bad ones."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epochcost.gpus.host.host_source import (
    HostError,
    HostSource,
    boot_id,
    boot_time,
    parse_cpu_seconds,
    parse_memory,
    utilization,
)

STAT = """cpu  1000 200 300 4000 500 60 70 80 90 10
cpu0 500 100 150 2000 250 30 35 40 45 5
intr 12345 0 0
btime 1700000000
processes 42
"""
MEMINFO = """MemTotal:       16000000 kB
MemFree:         1000000 kB
MemAvailable:   12000000 kB
Buffers:          100000 kB
"""
BOOT_ID = "beef7859-8fb7-4068-b35c-6c047e6e1a58"


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "stat").write_text(STAT)
    (tmp_path / "meminfo").write_text(MEMINFO)
    (tmp_path / "sys/kernel/random").mkdir(parents=True)
    (tmp_path / "sys/kernel/random/boot_id").write_text(f"{BOOT_ID}\n")
    return tmp_path


def test_cpu_time_by_state_counts_a_guest_once_and_steal_apart():
    seconds = parse_cpu_seconds(STAT, "/proc/stat", 100)
    assert seconds == {
        "user": 9.1,
        "nice": 1.9,
        "system": 3.0,
        "idle": 40.0,
        "iowait": 5.0,
        "irq": 0.6,
        "softirq": 0.7,
        "steal": 0.8,
        "guest": 1.0,
    }
    assert sum(seconds.values()) == pytest.approx((1000 + 200 + 300 + 4000 + 500 + 60 + 70 + 80) / 100)


def test_an_old_kernel_with_four_columns_is_understood():
    assert parse_cpu_seconds("cpu 1 2 3 4\n", "stat", 1) == {"user": 1, "nice": 2, "system": 3, "idle": 4}


def test_columns_of_a_future_kernel_are_ignored():
    assert len(parse_cpu_seconds("cpu " + "1 " * 14, "stat", 1)) == 9


def test_utilisation_is_the_share_of_time_neither_idle_nor_waiting():
    before = {"user": 10.0, "idle": 100.0, "iowait": 5.0}
    after = {"user": 13.0, "idle": 106.0, "iowait": 6.0}
    assert utilization(before, after) == pytest.approx(0.3)


def test_utilisation_over_no_time_is_unknown():
    assert utilization({"user": 1.0}, {"user": 1.0}) is None
    assert utilization({"user": 2.0}, {"user": 1.0}) is None


@given(st.lists(st.floats(0, 1e9), min_size=6, max_size=6))
def test_utilisation_is_always_a_ratio_or_unknown(values: list[float]):
    keys = ("user", "idle", "iowait")
    ratio = utilization(dict(zip(keys, values[:3], strict=True)), dict(zip(keys, values[3:], strict=True)))
    assert ratio is None or 0 <= ratio <= 1


def test_memory_used_is_the_memory_that_is_not_available():
    assert parse_memory(MEMINFO, "meminfo") == (4_000_000 * 1024, 16_000_000 * 1024)


def test_without_available_memory_the_used_memory_is_unknown():
    assert parse_memory("MemTotal: 100 kB\nMemFree: 50 kB\n", "meminfo") == (None, 100 * 1024)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"stat: no line begins with 'cpu'"),
        ("cpu0 1 2 3 4\n", r"no line begins with 'cpu'"),
        ("intr 1\ncpu 1 2 3\n", r"stat:2: expected cpu and at least 4 counts"),
        ("cpu 1 2 3 x\n", r"stat:1: expected cpu"),
        ("cpu 1 2 -3 4\n", r"stat:1: expected cpu"),
        ("cpu 1 2 3 " + "9" * 400 + "\n", r"stat:1: expected cpu"),
        ("cpu 1 2 3 nan\n", r"stat:1: expected cpu"),
    ],
)
def test_bad_cpu_lines_name_the_file_and_the_line(text: str, message: str):
    with pytest.raises(HostError, match=message):
        parse_cpu_seconds(text, "stat", 100)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"meminfo: no line begins with 'MemTotal:'"),
        ("MemTotal: 0 kB\n", r"MemTotal must be above 0"),
        ("MemTotal: lots kB\n", r"meminfo:1: expected MemTotal: in kB|meminfo:1: expected MemTotal in kB"),
        ("MemTotal: 100 MB\n", r"meminfo:1: expected MemTotal in kB"),
        ("MemTotal: -5 kB\n", r"meminfo:1: expected MemTotal in kB"),
        ("MemTotal: 100 kB\nMemAvailable: x kB\n", r"meminfo:2: expected MemAvailable in kB"),
        ("MemTotal: 100 kB\nMemAvailable: 101 kB\n", r"MemAvailable of 103424 bytes is above MemTotal of 102400"),
    ],
)
def test_bad_memory_lines_name_the_file_and_the_line(text: str, message: str):
    with pytest.raises(HostError, match=message):
        parse_memory(text, "meminfo")


def complaint(parse: Callable[[], object]) -> str:
    try:
        parse()
    except HostError as err:
        return str(err)
    return ""


@given(st.text())
def test_any_text_is_either_parsed_or_a_host_error_that_names_the_file(text: str):
    assert complaint(lambda: parse_cpu_seconds(text, "stat", 100))[:5] in ("stat:", "")
    assert complaint(lambda: parse_memory(text, "meminfo"))[:8] in ("meminfo:", "")


def test_the_first_reading_has_no_utilisation_and_the_second_one_has(proc: Path):
    source = HostSource(proc)
    first = source.read(1.0)
    assert first.cpu_utilization_ratio is None
    assert (first.t, first.memory_used_bytes, first.memory_total_bytes) == (1.0, 4_096_000_000, 16_384_000_000)
    (proc / "stat").write_text(STAT.replace("cpu  1000", "cpu  1100").replace("4000", "4300"))
    assert source.read(2.0).cpu_utilization_ratio == pytest.approx(0.25)


def test_a_bad_file_fails_one_reading_and_affects_nothing_else(proc: Path):
    source = HostSource(proc)
    source.read(1.0)
    (proc / "stat").write_bytes(b"cpu \xff\xfe\x00\n")
    with pytest.raises(HostError, match=r"stat:1: expected cpu"):
        source.read(2.0)
    (proc / "stat").write_text(STAT.replace("cpu  1000", "cpu  2000"))
    assert source.read(3.0).cpu_utilization_ratio == 1.0


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(HostError, match=r"stat: No such file or directory"):
        HostSource(tmp_path).read(1.0)


def test_boot_time_and_boot_id_are_read(proc: Path):
    assert boot_time(proc) == 1_700_000_000.0
    assert boot_id(proc) == BOOT_ID


@pytest.mark.parametrize("line", ["btime", "btime x", "btime -5", "btime 0", "btime 1e9"])
def test_a_bad_boot_time_names_the_file_and_the_line(proc: Path, line: str):
    (proc / "stat").write_text(f"cpu 1 2 3 4\n{line}\n")
    with pytest.raises(HostError, match=r"stat:2: expected btime"):
        boot_time(proc)


@pytest.mark.parametrize("text", ["", "not-a-uuid", BOOT_ID + "\nmore", "\x00" * 36])
def test_a_bad_boot_id_names_the_file(proc: Path, text: str):
    (proc / "sys/kernel/random/boot_id").write_text(text)
    with pytest.raises(HostError, match=r"boot_id:1: expected a UUID"):
        boot_id(proc)


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="no Linux")
def test_this_machine_is_understood():
    source = HostSource()
    source.read(0.0)
    deadline = time.process_time() + 0.2
    while time.process_time() < deadline:
        pass
    reading = source.read(0.2)
    assert reading.cpu_utilization_ratio is not None
    assert reading.cpu_utilization_ratio > 0
    assert 0 < reading.memory_used_bytes < reading.memory_total_bytes
    assert reading.memory_total_bytes == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < boot_time() < time.time()
    assert len(boot_id()) == 36
