"""``python -m scripts.guard_sim [MACHINE-HOURS] [FIRST-SEED]``: 0 wrong stops, and at least 95 % of the dollars."""

from __future__ import annotations

import sys
import time

from scripts.guard_sim.life import HOUR, Life
from scripts.guard_sim.machine import Simulated
from scripts.guard_sim.oracle import Verdict, judge

LIFE_HOURS = 48.0
LEAST_SHARE = 0.95


def play(seed: int, hours: float = LIFE_HOURS) -> Verdict:
    """One life, from its beginning to its end."""
    machine = Simulated(Life(seed, hours))
    while machine.t < hours * HOUR:
        machine.beat()
    return judge(machine)


def main(arguments: list[str]) -> int:
    wanted = float(arguments[0]) if arguments else 10_000.0
    seed = int(arguments[1]) if len(arguments) > 1 else 1
    whole, began = Verdict(), time.monotonic()
    while whole.hours < wanted:
        whole.add(play(seed))
        seed += 1
        if sys.stderr.isatty():
            print(f"\r{whole.hours:.0f} machine-hours, {len(whole.wrong)} wrong", end="", file=sys.stderr)
    share = whole.ended_usd / whole.perfect_usd if whole.perfect_usd else 1.0
    print("\n".join(whole.wrong[:20]))
    print(
        f"{whole.hours:.0f} machine-hours in {time.monotonic() - began:.0f} s: {whole.stops} stops, {len(whole.wrong)} "
        f"wrong; ended ${whole.ended_usd:,.0f} of ${whole.perfect_usd:,.0f} of a perfect guard ({share:.1%})"
    )
    return 0 if not whole.wrong and share >= LEAST_SHARE else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
