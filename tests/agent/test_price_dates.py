"""Prices dated by another machine's clock are charged from the true instant, whatever either clock shows."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.agent.driven_agent import T0, DrivenAgent, SimulatedMachine

from epochcost.agent.price_dates import PriceDates
from epochcost.agent.price_feed import PriceFeed
from epochcost.model import ClockReading, Price, PriceKey, PriceStep, PurchaseOption
from epochcost.prices.quote import NodePrice

KEY = PriceKey("aws", "us-east-1", "us-east-1a", "p3.2xlarge", PurchaseOption.SPOT)


class Poller:
    """A poller whose clock is right, beside an agent whose clock is ``off``, ahead of the true one."""

    def __init__(self, machine: SimulatedMachine, off: float = 0.0, *, exact: bool = True, dated: bool = True) -> None:
        self.machine, self.off, self.exact, self.dated = machine, off, exact, dated
        self.steps: list[tuple[float, float]] = [(T0 - 9000, 10.0)]

    def now(self) -> float:
        return self.machine.wall - self.off

    def fetch(self, _: float) -> NodePrice:
        now = self.now()
        steps = tuple(PriceStep(ts, usd) for ts, usd in self.steps)
        clock = ClockReading(now if self.exact else math.floor(now), exact=self.exact) if self.dated else None
        return NodePrice(Price(KEY, steps, "aws", now), None, clock)

    def change(self, usd: float) -> None:
        self.steps = [*self.steps, (self.now(), usd)]


def agent(machine: SimulatedMachine, poller: Poller) -> DrivenAgent:
    it = DrivenAgent(machine)
    it.app.machine.prices = PriceFeed(poller, 60.0, lambda: machine.wall, it.app.clock.now)
    return it


def set_clock(machine: SimulatedMachine, poller: Poller, seconds: float) -> None:
    """Step the agent's wall clock; no time passes."""
    machine.wall += seconds
    poller.off += seconds


def one_epoch(it: DrivenAgent, poller: Poller) -> None:
    """Twenty seconds at the first price, five at the second, all of one epoch."""
    it.machine.write_event("start")
    it.machine.write_event("phase", phase="train", epoch=0)
    it.run(20)
    poller.change(100.0)
    it.run(3)
    assert it.ask_price()
    it.run(2)
    it.machine.write_event("epoch_end", epoch=1)
    it.run(1)


EXACT = (20 * 10 + 5 * 100) / 3600


@pytest.mark.parametrize("off", [0.0, 7200.0, -7200.0, 3.7])
@pytest.mark.parametrize("exact", [True, False])
def test_with_any_clock_of_the_agent_a_price_counts_from_its_true_change(
    tmp_path: Path, off: float, exact: bool
) -> None:
    machine = SimulatedMachine(tmp_path)
    machine.wall += off
    poller = Poller(machine, off, exact=exact)
    it = agent(machine, poller)
    assert it.ask_price()
    it.run(3)
    one_epoch(it, poller)
    # An HTTP date has a resolution of seconds, and so has the difference of the clocks.
    tolerance = 1e-9 if exact or not off else 90 / 3600
    assert it.value("run_last_epoch_cost_usd", run="r") == pytest.approx(EXACT, abs=tolerance)
    it.close()


@pytest.mark.parametrize(("jump", "dated"), [(7200.0, True), (-7200.0, True), (90.0, True), (7200.0, False)])
def test_a_later_clock_correction_or_a_sleep_of_the_machine_changes_nothing(
    tmp_path: Path, jump: float, dated: bool
) -> None:
    machine = SimulatedMachine(tmp_path)
    machine.wall -= jump
    poller = Poller(machine, -jump if dated else 0.0, dated=dated)
    it = agent(machine, poller)
    assert it.ask_price()
    it.run(4)
    set_clock(machine, poller, jump)
    if not dated:
        poller.off = 0.0  # whose clock agrees with the agent's, as far as is known
    it.run(4)
    assert it.ask_price()
    one_epoch(it, poller)
    assert it.value("run_last_epoch_cost_usd", run="r") == pytest.approx(EXACT, abs=1e-9)
    assert it.value("node_price_usd_per_hour") == 100.0
    it.close()


def test_a_price_from_before_the_sleep_keeps_its_date(tmp_path: Path) -> None:
    machine = SimulatedMachine(tmp_path)
    poller = Poller(machine)
    it = agent(machine, poller)
    assert it.ask_price()
    it.run(10)
    poller.change(20.0)
    it.run(5)
    assert it.ask_price()
    it.run(5)
    before = it.dollars("node_cost_usd")
    assert before == pytest.approx((9 * 10 + 10 * 20) / 3600, abs=1e-9)  # the ledger opens with the first second
    machine.wall += 7200  # it sleeps: the monotonic clock stops
    it.run(1)
    assert it.ask_price()
    it.run(1)
    assert it.dollars("node_cost_usd") == pytest.approx(before + 2 * 20 / 3600, abs=1e-9)
    it.close()


def test_dates_outlive_the_agent(tmp_path: Path) -> None:
    machine = SimulatedMachine(tmp_path)
    poller = Poller(machine)
    it = agent(machine, poller)
    assert it.ask_price()
    it.run(10)
    machine.wall += 7200
    it.run(1)
    assert it.ask_price()
    it.run(1)
    it.save()
    state = it.app.machine.prices.dates.state()  # type: ignore[union-attr]
    assert len(state) == 2
    it.kill()
    again = DrivenAgent(machine, prices__url="http://127.0.0.1:9")
    assert again.app.machine.prices.dates.state() == state  # type: ignore[union-attr]
    again.close()


def test_a_date_known_to_a_second_is_replaced_by_a_more_exact_one() -> None:
    dates = PriceDates()
    dates.received(
        ClockReading(T0 + 0.0, exact=False), T0 + 7200.9, T0 + 7200.9
    )  # the agent's clock is about two hours ahead
    assert dates.on_timeline(T0 - 100) == pytest.approx(T0 - 100 + 7200.4)
    dates.received(ClockReading(T0 + 10.0, exact=False), T0 + 10.9, T0 + 7210.9)  # and was set right
    assert dates.on_timeline(T0 + 50) == T0 + 7250
    assert dates.on_timeline(T0 - 100) == pytest.approx(T0 - 100 + 7200.4)  # dates once assigned stay


@pytest.mark.parametrize("ahead", [2 * 86400.0, 400 * 86400.0, 1e12])
def test_a_poller_whose_clock_was_far_ahead_delays_no_later_date(ahead: float) -> None:
    dates = PriceDates()
    dates.received(ClockReading(T0 - 60), T0 - 60, T0 - 60)
    dates.received(ClockReading(T0 + ahead), T0, T0)
    dates.received(ClockReading(T0 + 60), T0 + 60, T0 + 60)
    assert dates.on_timeline(T0 + 50) == T0 + 50
    assert dates.on_timeline(T0 + 1e6) == T0 + 1e6
    assert dates.on_timeline(T0 - 100) == T0 - 100


def test_small_clock_differences_are_ignored_to_avoid_jitter() -> None:
    dates = PriceDates()
    for k in range(50):
        dates.received(ClockReading(T0 + k - 0.4 * (k % 2)), T0 + k, T0 + k + 1e-7 * k)
    assert dates.on_timeline(T0 - 10) == T0 - 10
    assert len(dates.state()) == 1


@given(
    st.lists(st.tuples(st.floats(0, 1e5), st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.booleans()), max_size=80),
    st.lists(st.floats(-1e7, 1e7), min_size=1, max_size=30, unique=True),
)
def test_whatever_the_clocks_do_steps_ascend_and_dates_keep_their_order(
    readings: list[tuple[float, float, float, bool]], dated: list[float]
) -> None:
    dates = PriceDates()
    now = T0
    for elapsed, own_clock, poller_clock, exact in readings:
        now += elapsed
        dates.received(ClockReading(now + poller_clock, exact=exact), now + own_clock, now)
    steps = dates.steps([PriceStep(T0 + ts, 1.0 + k) for k, ts in enumerate(sorted(dated))])
    assert steps
    assert all(a.ts < b.ts for a, b in itertools.pairwise(steps))
    assert steps[-1].usd_per_hour == len(dated)


@pytest.mark.parametrize("invalid", [[[1]], [["a", 1, 0]], [[1, math.nan, 0]], [[1, True, 0]], "x", 7, [[1, 2]]])
def test_invalid_dates_are_rejected(invalid: object) -> None:
    dates = PriceDates()
    with pytest.raises((ValueError, TypeError)):
        dates.restore(invalid)  # type: ignore[arg-type]
    assert dates.state() == []
