"""A sample of `scripts/guard-sim`: simulated lives with faults, judged by an oracle that knows the script."""

from __future__ import annotations

from scripts.guard_sim.__main__ import play
from scripts.guard_sim.oracle import Verdict

SEEDS = range(1, 5)


def test_nothing_is_stopped_wrongly_and_most_of_the_dollars_are_ended() -> None:
    whole = Verdict()
    for seed in SEEDS:
        whole.add(play(seed, 24.0))
    assert whole.wrong == []
    assert whole.stops > 3
    # Of a sample this small; the whole is held to 95 % by the script.
    assert whole.ended_usd >= 0.8 * whole.perfect_usd > 0
