"""``python -m scripts.guard_sim [MACHINE-HOURS] [FIRST-SEED]``: 0 wrong stops, and at least 95 % of the dollars."""

from __future__ import annotations

import sys
import time

from epochcost.demo.scenario import HOUR
from scripts.guard_sim.life import Life
from scripts.guard_sim.machine import Simulated
from scripts.guard_sim.oracle import Verdict, judge

LIFE_HOURS = 48.0
LEAST_SHARE = 0.95


def play(seed: int, hours: float = LIFE_HOURS) -> Verdict:
    """One life, from its beginning to its end."""
    machine = Simulated(Life(seed, hours))
    while machine.t < hours * HOUR:
        machine.tick()
    return judge(machine)


def main(arguments: list[str]) -> int:
    """Play as many lives as were asked for; 0 if no stop was wrong and enough was ended."""
    count = float(arguments[0]) if arguments else 10_000.0
    seed = int(arguments[1]) if len(arguments) > 1 else 1
    whole, began = Verdict(), time.monotonic()
    while whole.hours < count:
        whole.add(play(seed))
        seed += 1
        summary = f"{whole.hours:.0f} machine-hours: {whole.stops} stops, {len(whole.wrong)} wrong, {whole.share:.1%}"
        print(summary, file=sys.stderr, flush=True)
    print("\n".join(whole.wrong[:20]))
    print(
        f"{whole.hours:.0f} machine-hours in {time.monotonic() - began:.0f} s: {whole.stops} stops, {len(whole.wrong)} "
        f"wrong; ended ${whole.ended_usd:,.0f} of ${whole.perfect_usd:,.0f} of a perfect guard ({whole.share:.1%})"
    )
    return 0 if not whole.wrong and whole.share >= LEAST_SHARE else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
