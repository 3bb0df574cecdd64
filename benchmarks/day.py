"""A day of one machine with eight GPUs and six runs in minutes: a fault every 30 s, memory by the hour, the bill.

    python benchmarks/day.py [--hours 24] [--no-kills]

The agent is the real one on a clock that the script drives, a tick every five seconds: GPUs are lost, stuck and gone,
the driver fails, lines are nonsense, the machine cannot be read, the price changes every forty minutes and is known ten
minutes late, and the agent is killed and started again every twenty minutes. All of these agents live in this one
process; with ``--no-kills`` there is one agent, whose memory is then the process's. Exits 1 unless all of the bill is
accounted for.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "exporter")]

from tests.agent.day import Day, resident_bytes  # noqa: E402

CENT = 0.01


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=int, default=24)
    parser.add_argument("--no-kills", action="store_true", help="one agent all day")
    args = parser.parse_args()
    hours = args.hours
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as directory:
        day, began = Day(Path(directory), kills=not args.no_kills), time.monotonic()
        print("| hour | RSS | state | dollars |\n| --- | --- | --- | --- |")
        for hour in range(1, hours + 1):
            day.play(3600)
            size = (Path(directory) / "state" / "agent-state.json").stat().st_size / 1024
            print(
                f"| {hour} | {resident_bytes() / 2**20:.1f} MiB | {size:.0f} KiB | {day.accounted[1]:.6f} |", flush=True
            )
        day.play(700)  # every change of the price has come to be known
        seconds, dollars = day.accounted
        assert day.start is not None
        bill = day.market.bill(day.start, day.machine.wall)
        print(f"\n{seconds:.0f} s accounted of {day.machine.wall - day.start:.0f} s")
        print(f"{dollars:.9f} $ of a bill of {bill:.9f} $")
        print(f"played in {time.monotonic() - began:.0f} s")
        day.close()
    exact = abs(dollars - bill) < CENT and abs(seconds - (day.machine.wall - day.start)) < 1.0
    return 0 if dollars > 0 and exact else 1


if __name__ == "__main__":
    sys.exit(main())
