"""What reading GPUs costs, and what a mean of their utilisation is worth.

    python benchmarks/devices.py [--reads 300] [--hour] [--day]

Reads 1, 8 and 16 simulated GPUs once a second's worth of calls at a time through the tests' compiled driver, in a
process of its own each, and prints the CPU time of one reading; a real driver's own time in its calls is not in it.
With --hour: an hour of a load of 50 % duty by its period, seen through scrapes of 15, 30 and 60 s by the counter and
by the gauge (simulated, the clock driven). With --day: memory and threads over 24 hours of readings of 8 GPUs and of
the meter's ticks, with a reload and a lost GPU every hour (also simulated).
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "exporter")]

from tests.fake_nvml import CONTROL_VARIABLE, FakeDriver, build  # noqa: E402

READ = """
import sys, time
from epochcost.gpus.nvml.nvml_source import NvmlSource
source, reads, gpus, gpm = NvmlSource(), *map(int, sys.argv[1:])
for t in range(20):
    source.read(1000.0 + t)
took = []
for t in range(reads):
    time.sleep(0.02)  # as between two ticks, the caches are another's by then
    before = time.process_time()
    source.read(2000.0 + t)
    took.append(time.process_time() - before)
last = source.read(3000.0).gpus
assert len(last) == gpus, f"{len(last)} of {gpus} GPUs were read"
assert all(gpu.readable and gpu.utilization_ratio == 0.5 for gpu in last), last
assert all((gpu.sm_active_ratio is not None) == bool(gpm) for gpu in last), last
took.sort()
print(1000 * sum(took) / reads, 1000 * took[reads // 2], 1000 * took[int(0.99 * reads)])
source.close()
"""
PERIODS = (1, 2, 5, 7, 15, 16, 30, 31, 45, 60, 90, 120, 300)


def cost(directory: Path, reads: int) -> None:
    print("| GPUs | counters | CPU of one reading, mean ms | median | p99 | of a core at 1 Hz |")
    print("| ---: | --- | ---: | ---: | ---: | ---: |")
    for gpus in (1, 8, 16):
        for counters, gpm in (("no GPM", 0), ("GPM", 1)):
            driver = FakeDriver(build(directory / "library"), directory / "control", gpus=gpus)
            driver.gpu("*", gpm=gpm, util=50)
            env = {**os.environ, **driver.env(), "PYTHONPATH": str(ROOT / "exporter")}
            done = subprocess.run(
                [sys.executable, "-c", READ, str(reads), str(gpus), str(gpm)],
                env=env,
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            mean, median, p99 = (float(figure) for figure in done.stdout.split())
            print(f"| {gpus} | {counters} | {mean:.2f} | {median:.2f} | {p99:.2f} | {mean / 10:.2f} % |")


def hour(directory: Path) -> None:
    from tests.agent.periodic_load import an_hour

    driver = FakeDriver(build(directory / "library"), directory / "control")
    os.environ[CONTROL_VARIABLE] = str(driver.control)
    driver.load()
    print("| period | counter, 15 s | 30 s | 60 s | gauge, 15 s | 30 s | 60 s |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for period in PERIODS:
        errors = an_hour(driver, period)
        points = [s.counter_error_points for s in errors] + [s.gauge_error_points for s in errors]
        print(f"| {period} s | " + " | ".join(f"{p:+.2f}" for p in points) + " |")


def change(driver: FakeDriver, second: int, chance: random.Random) -> None:
    """The events of a day: load, a restart of the driver, a call that fails for a minute."""
    if second % 600 == 0:
        driver.gpu(chance.randrange(8), util=chance.randrange(100))
    if second % 3600 == 1800:
        driver.reload()
    if second % 3600 == 2400:
        driver.error("GetPowerUsage", 15, gpu=3)
    if second % 3600 == 2460:
        driver.heal()


def day(directory: Path, hours: float) -> None:
    import threading

    from epochcost.agent.meter import Meter
    from epochcost.agent.meter_inputs import Inputs
    from epochcost.gpus.nvml.nvml_source import NvmlSource
    from epochcost.ledger import Ledger
    from epochcost.model import Node

    driver = FakeDriver(build(directory / "library"), directory / "control")
    os.environ[CONTROL_VARIABLE] = str(driver.control)
    driver.load()
    driver.gpu("*", gpm=1, util=50, throttle=4)
    logging.disable(logging.WARNING)
    source, meter, chance = NvmlSource(), Meter(Ledger(), Node("n")), random.Random(1)
    last = round(hours * 3600) - 1
    print("| simulated hours | RSS, MiB | threads | CPU, s |")
    print("| ---: | ---: | ---: | ---: |")
    for second in range(last + 1):
        now = 1_700_000_000.0 + second
        change(driver, second, chance)
        snapshot = meter.tick(now, Inputs(gpus=source.read(now)))
        if second == 60 or second % 14_400 == 14_399 or second == last:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            rss = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
            print(
                f"| {(second + 1) / 3600:.2f} | {rss:.2f} | {threading.active_count()} | {time.process_time():.0f} |",
                flush=True,
            )
    source.close()
    accounted = sum(snapshot.node.totals.seconds.values())
    assert len(snapshot.gpus) == 8, f"{len(snapshot.gpus)} of 8 GPUs were read"
    assert abs(accounted - hours * 3600) < 2, f"{accounted:g} s were accounted"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reads", type=int, default=300)
    parser.add_argument("--hour", action="store_true", help="the hour of periodic load")
    parser.add_argument("--day", action="store_true", help="a day of readings")
    parser.add_argument("--hours", type=float, default=24.0, help="of --day")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        began = time.monotonic()
        if args.hour:
            hour(Path(directory))
        elif args.day:
            day(Path(directory), args.hours)
        else:
            cost(Path(directory), args.reads)
    print(f"\n({time.monotonic() - began:.0f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
