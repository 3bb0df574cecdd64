"""A sample of `scripts/guard-sim`: simulated machines with faults, assessed by an oracle that knows the script."""

from __future__ import annotations

from scripts.guard_sim.__main__ import play
from scripts.guard_sim.oracle import Verdict

SEEDS = range(1, 5)


def test_nothing_is_stopped_wrongly_and_most_of_the_wasted_dollars_are_saved() -> None:
    total = Verdict()
    for seed in SEEDS:
        total.add(play(seed, 24.0))
    assert total.wrong == []
    assert total.stops > 3
    # The limit for a small sample; the script requires 95 % of the full set.
    assert total.ended_usd >= 0.8 * total.perfect_usd > 0
