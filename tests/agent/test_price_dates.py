"""Prices dated by another machine's clock are charged from the true instant, whatever either clock says."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.agent.driven import T0, Driven, World

from epochcost.agent.price_dates import PriceDates
from epochcost.agent.price_feed import PriceFeed
from epochcost.model import ClockReading, Price, PriceKey, PriceStep, PurchaseOption
from epochcost.prices.quote import NodePrice

KEY = PriceKey("aws", "us-east-1", "us-east-1a", "p3.2xlarge", PurchaseOption.SPOT)


class Poller:
    """A poller whose clock is right, beside an agent whose clock is ``off``, ahead of the true one."""

    def __init__(self, world: World, off: float = 0.0, *, exact: bool = True, says: bool = True) -> None:
        self.world, self.off, self.exact, self.says = world, off, exact, says
        self.steps: list[tuple[float, float]] = [(T0 - 9000, 10.0)]

    def now(self) -> float:
        return self.world.wall - self.off

    def fetch(self, _: float) -> NodePrice:
        now = self.now()
        steps = tuple(PriceStep(ts, usd) for ts, usd in self.steps)
        clock = ClockReading(now if self.exact else math.floor(now), exact=self.exact) if self.says else None
        return NodePrice(Price(KEY, steps, "aws", now), None, clock)

    def change(self, usd: float) -> None:
        self.steps = [*self.steps, (self.now(), usd)]


def agent(world: World, poller: Poller) -> Driven:
    it = Driven(world)
    it.app.machine.prices = PriceFeed(poller, 60.0, lambda: world.wall, it.app.clock.now)
    return it


def set_clock(world: World, poller: Poller, seconds: float) -> None:
    """The agent's wall clock is set by so much; no time passes."""
    world.wall += seconds
    poller.off += seconds


def one_epoch(it: Driven, poller: Poller) -> None:
    """Twenty seconds at the first price, five at the second, all of one epoch."""
    it.world.say("start")
    it.world.say("phase", phase="train", epoch=0)
    it.run(20)
    poller.change(100.0)
    it.run(3)
    assert it.ask_price()
    it.run(2)
    it.world.say("epoch_end", epoch=1)
    it.run(1)


EXACT = (20 * 10 + 5 * 100) / 3600


@pytest.mark.parametrize("off", [0.0, 7200.0, -7200.0, 3.7])
@pytest.mark.parametrize("exact", [True, False])
def test_whatever_the_agents_clock_says_a_price_counts_from_when_it_changed(
    tmp_path: Path, off: float, exact: bool
) -> None:
    world = World(tmp_path)
    world.wall += off
    poller = Poller(world, off, exact=exact)
    it = agent(world, poller)
    assert it.ask_price()
    it.run(3)
    one_epoch(it, poller)
    # An HTTP date has whole seconds: so exact is the difference of clocks then, and no more.
    tolerance = 1e-9 if exact or not off else 90 / 3600
    assert it.value("run_last_epoch_cost_usd", run="r") == pytest.approx(EXACT, abs=tolerance)
    it.close()


@pytest.mark.parametrize(("jump", "says"), [(7200.0, True), (-7200.0, True), (90.0, True), (7200.0, False)])
def test_a_clock_that_is_set_right_later_or_a_machine_that_slept_changes_nothing(
    tmp_path: Path, jump: float, says: bool
) -> None:
    world = World(tmp_path)
    world.wall -= jump
    poller = Poller(world, -jump if says else 0.0, says=says)
    it = agent(world, poller)
    assert it.ask_price()
    it.run(4)
    set_clock(world, poller, jump)
    if not says:
        poller.off = 0.0  # whose clock is ours as far as anybody can tell
    it.run(4)
    assert it.ask_price()
    one_epoch(it, poller)
    assert it.value("run_last_epoch_cost_usd", run="r") == pytest.approx(EXACT, abs=1e-9)
    assert it.value("node_price_usd_per_hour") == 100.0
    it.close()


def test_a_price_of_before_the_sleep_stays_where_it_was(tmp_path: Path) -> None:
    world = World(tmp_path)
    poller = Poller(world)
    it = agent(world, poller)
    assert it.ask_price()
    it.run(10)
    poller.change(20.0)
    it.run(5)
    assert it.ask_price()
    it.run(5)
    before = it.dollars("node_cost_usd")
    assert before == pytest.approx((9 * 10 + 10 * 20) / 3600, abs=1e-9)  # the ledger opens with the first second
    world.wall += 7200  # it sleeps: the monotonic clock stands still
    it.run(1)
    assert it.ask_price()
    it.run(1)
    assert it.dollars("node_cost_usd") == pytest.approx(before + 2 * 20 / 3600, abs=1e-9)
    it.close()


def test_dates_outlive_the_agent(tmp_path: Path) -> None:
    world = World(tmp_path)
    poller = Poller(world)
    it = agent(world, poller)
    assert it.ask_price()
    it.run(10)
    world.wall += 7200
    it.run(1)
    assert it.ask_price()
    it.run(1)
    it.save()
    saved = it.app.machine.prices.dates.state()  # type: ignore[union-attr]
    assert len(saved) == 2
    it.kill()
    again = Driven(world, prices__url="http://127.0.0.1:9")
    assert again.app.machine.prices.dates.state() == saved  # type: ignore[union-attr]
    again.close()


def test_what_is_known_to_a_second_gives_way_to_what_is_known_better() -> None:
    dates = PriceDates()
    dates.received(ClockReading(T0 + 0.0, exact=False), T0 + 7200.9, T0 + 7200.9)  # ours is two hours ahead, or so
    assert dates.on_timeline(T0 - 100) == pytest.approx(T0 - 100 + 7200.4)
    dates.received(ClockReading(T0 + 10.0, exact=False), T0 + 10.9, T0 + 7210.9)  # and was set right
    assert dates.on_timeline(T0 + 50) == T0 + 7250
    assert dates.on_timeline(T0 - 100) == pytest.approx(T0 - 100 + 7200.4)  # what was once dated stays


@pytest.mark.parametrize("ahead", [2 * 86400.0, 400 * 86400.0, 1e12])
def test_a_poller_whose_clock_was_far_ahead_holds_no_later_date_back(ahead: float) -> None:
    dates = PriceDates()
    dates.received(ClockReading(T0 - 60), T0 - 60, T0 - 60)
    dates.received(ClockReading(T0 + ahead), T0, T0)
    dates.received(ClockReading(T0 + 60), T0 + 60, T0 + 60)
    assert dates.on_timeline(T0 + 50) == T0 + 50
    assert dates.on_timeline(T0 + 1e6) == T0 + 1e6
    assert dates.on_timeline(T0 - 100) == T0 - 100


def test_small_differences_are_no_difference_so_that_nothing_jitters() -> None:
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
    heard: list[tuple[float, float, float, bool]], dated: list[float]
) -> None:
    dates = PriceDates()
    now = T0
    for passed, ours, theirs, exact in heard:
        now += passed
        dates.received(ClockReading(now + theirs, exact=exact), now + ours, now)
    steps = dates.steps([PriceStep(T0 + ts, 1.0 + k) for k, ts in enumerate(sorted(dated))])
    assert steps
    assert all(a.ts < b.ts for a, b in itertools.pairwise(steps))
    assert steps[-1].usd_per_hour == len(dated)


@pytest.mark.parametrize("broken", [[[1]], [["a", 1, 0]], [[1, math.nan, 0]], [[1, True, 0]], "x", 7, [[1, 2]]])
def test_dates_that_are_none_are_refused(broken: object) -> None:
    dates = PriceDates()
    with pytest.raises((ValueError, TypeError)):
        dates.restore(broken)  # type: ignore[arg-type]
    assert dates.state() == []
