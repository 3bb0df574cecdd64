"""Disks and network of the machine from files as the kernel writes them, and from bad ones."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epochcost.gpus.host.host_counters import CountersError, HostCounters, Integrator, parse_diskstats, parse_network
from epochcost.gpus.host.host_source import HostSource

DISKS = """   7       0 loop0 11 0 28 0 0 0 0 0 0 0 0 0 0 0 0 0 0
 259       0 nvme0n1 190317 9 {read} 44071 1063450 22 {written} 9911 0 1 2 3 4 5 6 7 8
 259       1 nvme0n1p1 190000 9 {read} 44071 1063450 22 {written} 9911 0 1 2 3 4 5 6 7 8
 253       0 dm-0 190000 9 {read} 44071 1063450 22 {written} 9911 0 1 2
   9       0 md0 190000 9 {read} 44071 1063450 22 {written} 9911 0 1 2
   8       0 sda 1 0 8 1 1 0 16 1 0 1 2
"""
NETWORK = """Inter-|   Receive                            |  Transmit
 face |bytes    packets errs drop fifo frame     |bytes    packets errs drop fifo colls carrier compressed
    lo: 9000000    1145    0    0    0     0          0         0  9000000    1145    0    0    0  0  0  0
  ens5:{received} 1 0 0 0 0 0 0 {sent} 1 0 0 0 0 0 0
 bond0:{received} 1 0 0 0 0 0 0 {sent} 1 0 0 0 0 0 0
docker0: 77 1 0 0 0 0 0 0 77 1 0 0 0 0 0 0
"""


class Machine:
    def __init__(self, root: Path) -> None:
        self.proc, self.sys = root / "proc", root / "sys"
        (self.proc / "net").mkdir(parents=True)
        for device in ("block/nvme0n1/device", "block/sda/device", "block/loop0", "block/dm-0", "block/md0"):
            (self.sys / device).mkdir(parents=True)
        for interface in ("ens5/device", "lo", "bond0", "docker0"):
            (self.sys / "class/net" / interface).mkdir(parents=True)
        self.set_counters(1000, 2000, 30_000, 40_000)

    def set_counters(self, read: int, write_sectors: int, received: int, sent_bytes: int) -> None:
        (self.proc / "diskstats").write_text(DISKS.format(read=read, written=write_sectors))
        (self.proc / "net/dev").write_text(NETWORK.format(received=received, sent=sent_bytes))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_sectors_are_512_bytes_and_every_device_is_reported():
    counts = parse_diskstats(DISKS.format(read=1000, written=2000), "diskstats")
    assert counts["nvme0n1"] == (512_000, 1_024_000)
    assert set(counts) == {"loop0", "nvme0n1", "nvme0n1p1", "dm-0", "md0", "sda"}


def test_received_and_sent_bytes_are_read_with_and_without_a_space_after_the_name():
    counts = parse_network(NETWORK.format(received=30_000, sent=" 40"), "dev")
    assert (counts["ens5"], counts["lo"], counts["docker0"]) == ((30_000, 40), (9_000_000, 9_000_000), (77, 77))


def test_only_physical_disks_and_interfaces_count_from_the_first_reading_on(machine: Machine):
    counters = HostCounters(machine.proc, machine.sys)
    assert (counters.disk_bytes(), counters.network_bytes()) == ((0, 0), (0, 0))
    machine.set_counters(1100, 2500, 31_000, 40_001)
    assert (counters.disk_bytes(), counters.network_bytes()) == ((100 * 512, 500 * 512), (1000, 1))


def test_removing_and_adding_a_disk_causes_no_jump(machine: Machine):
    counters = HostCounters(machine.proc, machine.sys)
    counters.disk_bytes()
    diskstats = (machine.proc / "diskstats").read_text()
    (machine.proc / "diskstats").write_text("".join(x for x in diskstats.splitlines(keepends=True) if "nvme" not in x))
    assert counters.disk_bytes() == (0, 0)
    (machine.sys / "block/sdb/device").mkdir(parents=True)
    (machine.proc / "diskstats").write_text(diskstats + "   8      16 sdb 1 0 4 1 1 0 6 1 0 1 2\n")
    assert counters.disk_bytes() == (4 * 512, 6 * 512)


def test_a_counter_that_is_reset_counts_from_zero():
    integrator = Integrator()
    integrator.add({"ens5": (1000, 10)})
    assert integrator.add({"ens5": (30, 15)}) == (30, 5)


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.tuples(st.integers(0, 99), st.integers(0, 99)))))
def test_the_sums_never_fall_whichever_devices_come_and_go(readings: list[dict[str, tuple[int, int]]]):
    integrator = Integrator()
    before = (0, 0)
    for counts in readings:
        after = integrator.add(counts)
        assert after[0] >= before[0]
        assert after[1] >= before[1]
        before = after


def test_in_a_container_without_the_hosts_interfaces_the_network_is_unknown(machine: Machine):
    (machine.sys / "class/net/ens5/device").rmdir()
    assert HostCounters(machine.proc, machine.sys).network_bytes() is None


@pytest.mark.parametrize(
    ("parse", "line"),
    [
        (parse_diskstats, "8 0 sda 1 2 3"),
        (parse_diskstats, "8 0 sda 1 0 x 1 1 0 16 1 0 1 2"),
        (parse_diskstats, "8 0 sda 1 0 -8 1 1 0 16 1 0 1 2"),
        (parse_diskstats, "8 0 ../sda 1 0 8 1 1 0 16 1 0 1 2"),
        (parse_diskstats, ""),
        (parse_network, "eth0: 1 2 3"),
        (parse_network, "eth0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16"),
        (parse_network, "eth0: 1.5 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16"),
        (parse_network, "../eth0: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16"),
    ],
)
def test_a_bad_line_is_named_with_its_file(parse, line: str):
    with pytest.raises(CountersError, match=r"^somewhere:1: expected"):
        parse(f"{line}\n", "somewhere")


def test_a_bad_file_loses_only_its_own_figures_with_one_log_line(machine: Machine, caplog: pytest.LogCaptureFixture):
    (machine.proc / "stat").write_text("cpu 1 2 3 4\n")
    (machine.proc / "meminfo").write_text("MemTotal: 100 kB\nMemAvailable: 50 kB\n")
    (machine.proc / "diskstats").write_bytes(b"\xff\x00 lots\n")
    source = HostSource(machine.proc, machine.sys)
    with caplog.at_level(logging.WARNING):
        readings = [source.read(float(second)) for second in range(3)]
    assert [r.disk_read_bytes for r in readings] == [None, None, None]
    assert [r.network_received_bytes for r in readings] == [0, 0, 0]
    assert readings[0].memory_used_bytes == 50 * 1024
    assert [r.getMessage().split(":")[0] for r in caplog.records] == ["left out"]
    machine.set_counters(1, 2, 3, 4)
    assert source.read(4.0).disk_written_bytes == 0


@given(st.text())
def test_any_text_is_either_parsed_or_rejected_with_the_file(text: str):
    for parse in (parse_diskstats, parse_network):
        try:
            assert isinstance(parse(text, "somewhere"), dict)
        except CountersError as err:
            assert str(err).startswith("somewhere:")  # noqa: PT017 - any text may be refused


@pytest.mark.skipif(not Path("/proc/diskstats").exists(), reason="no Linux")
def test_this_machine_is_understood():
    reading = HostSource().read(0.0)
    assert reading.disk_read_bytes in (None, 0)
    assert reading.network_sent_bytes in (None, 0)
