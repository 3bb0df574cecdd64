"""Counters count settled dollars and never fall; with the gauges beside them they are exact at any instant."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.agent.driven import T0, Driven, World

from epochcost.agent.meter import Meter
from epochcost.agent.meter_inputs import Inputs, Quote
from epochcost.agent.price_feed import PriceFeed
from epochcost.agent.settlement import LATE_SECONDS, MOST_UNSETTLED_SECONDS, settled_until
from epochcost.agent.snapshot import Snapshot
from epochcost.ledger import Ledger
from epochcost.model import (
    EventKind,
    GpuReading,
    GpuSample,
    Node,
    Phase,
    Price,
    PriceKey,
    PriceStep,
    PurchaseOption,
    RunId,
    TrainingEvent,
)
from epochcost.prices.quote import NodePrice

KEY = PriceKey("aws", "us-east-1", "us-east-1a", "p3.2xlarge", PurchaseOption.SPOT)
MONEY = ("node_cost_usd_total", "run_cost_usd_total", "run_state_cost_usd_total", "run_epoch_cost_usd_sum")


class Source:
    """Tells what the test lets it know; ``fetched`` is when it last asked the provider, None for now."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.steps: list[tuple[float, float]] = [(-9000, 7.2)]
        self.fetched: float | None = None

    def fetch(self, _: float) -> NodePrice:
        fetched = self.world.wall if self.fetched is None else self.fetched
        return NodePrice(Price(KEY, tuple(PriceStep(T0 + t, usd) for t, usd in self.steps), "aws", fetched))

    def usd(self, start: float, end: float) -> float:
        """What the machine cost from ``T0 + start`` to ``T0 + end``."""
        ends = [t for t, _ in self.steps[1:]] + [math.inf]
        spans = ((usd, max(start, t), min(end, until)) for (t, usd), until in zip(self.steps, ends, strict=True))
        return math.fsum(usd * max(0.0, until - since) / 3600 for usd, since, until in spans)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def agent(world: World) -> Iterator[Callable[..., Driven]]:
    made: list[Driven] = []

    def make(source: Source, **flags: str) -> Driven:
        it = Driven(world, **flags)
        it.app.machine.prices = PriceFeed(source, 60.0, lambda: world.wall, it.app.clock.now)
        made.append(it)
        it.ask_price()
        return it

    yield make
    for one in made:
        one.close()


def trains(world: World) -> None:
    world.say("start")
    world.say("phase", phase="train", epoch=0)


def test_a_fall_learnt_half_a_minute_late_right_before_the_end_leaves_no_counter_too_high(
    world: World, agent: Callable[..., Driven]
) -> None:
    source = Source(world)
    it = agent(source)
    it.run(1)  # the ledger opens
    trains(world)
    shown: dict[object, float] = {}
    for second in range(1, 140):
        if second == 34:
            source.steps.append((4.0, 3.6))  # told thirty seconds late
        if second == 36:
            world.say("epoch_end", epoch=1)
            world.say("end", status="finished")
        it.run(1)
        if second % 2 == 0:
            assert it.ask_price()
        now = it.scrape()
        assert all(now.get(series, 0.0) >= value for series, value in shown.items()), second  # type: ignore[call-overload]
        shown = {series: value for series, value in now.items() if series[0].removeprefix("epochcost_") in MONEY}
    exact = source.usd(1, 36)
    assert it.value("run_cost_usd_total", run="r") == pytest.approx(exact, abs=1e-12)
    assert it.value("run_provisional_cost_usd", run="r") == pytest.approx(0, abs=1e-12)
    assert it.sum("run_state_cost_usd_total") == pytest.approx(exact, abs=1e-12)
    assert it.value("run_epoch_cost_usd_sum", run="r") == pytest.approx(exact, abs=1e-12)
    assert it.value("run_epoch_cost_usd_count", run="r") == 1
    assert it.dollars("node_cost_usd") == pytest.approx(source.usd(1, 140), abs=1e-12)


def test_settled_and_provisional_are_exact_at_every_second(world: World, agent: Callable[..., Driven]) -> None:
    source = Source(world)
    it = agent(source)
    it.run(1)  # the ledger opens
    trains(world)
    for second in range(1, 100):
        if second in (20, 70):
            source.steps.append((second - 5.0, 3.6 if second == 20 else 14.4))
            assert it.ask_price()
        it.run(1)
        assert it.dollars("run_cost_usd", run="r") == pytest.approx(source.usd(1, second + 1), abs=1e-9)
        assert it.dollars("node_cost_usd") == pytest.approx(source.usd(1, second + 1), abs=1e-9)


def test_a_fall_in_time_that_was_settled_lets_the_counter_wait_and_the_gauge_says_by_how_much(
    world: World, agent: Callable[..., Driven]
) -> None:
    source = Source(world)
    it = agent(source)
    it.run(1)
    trains(world)
    it.run(200)
    assert it.ask_price()
    it.run(1)
    before = it.value("run_cost_usd_total", run="r")
    assert before == pytest.approx(source.usd(1, 201 - LATE_SECONDS), abs=1e-9)
    source.steps.append((10.0, 0.36))
    assert it.ask_price()
    it.run(1)
    assert it.value("run_cost_usd_total", run="r") == before
    assert (it.value("run_provisional_cost_usd", run="r") or 0) < 0
    assert it.dollars("run_cost_usd", run="r") == pytest.approx(source.usd(1, 203), abs=1e-9)
    assert it.dollars("node_cost_usd") == pytest.approx(source.usd(1, 203), abs=1e-9)


def test_states_sum_to_the_run_and_to_the_machine_after_a_fall_in_settled_time(
    world: World, agent: Callable[..., Driven]
) -> None:
    """What start-up, which is over, shows too much, the other states show too little."""
    source = Source(world)
    it = agent(source)
    it.run(1)
    world.say("start")
    it.run(100)
    trains(world)
    it.run(100)
    assert it.ask_price()
    it.run(1)
    source.steps.append((10.0, 3.6))
    for _ in range(10):
        assert it.ask_price()
        it.run(60)
        cost = it.value("run_cost_usd_total", run="r")
        assert it.sum("run_state_cost_usd_total") == pytest.approx(cost, abs=1e-9)
        assert it.sum("node_cost_usd_total") == pytest.approx(cost, abs=1e-9)
    assert cost == pytest.approx(source.usd(1, 202 + 600 - 60 - LATE_SECONDS), abs=1e-9)


def test_a_price_without_dates_changes_no_past_so_all_of_it_is_settled(world: World) -> None:
    it = Driven(world, price__usd_per_hour="3.6")
    it.ask_price()
    world.say("start")
    it.run(10)
    assert it.value("run_cost_usd_total", run="r") == pytest.approx(0.010, abs=1e-12)
    assert it.value("run_provisional_cost_usd", run="r") == 0
    it.close()


def test_counters_go_on_over_a_kill_and_nothing_is_settled_twice(world: World, agent: Callable[..., Driven]) -> None:
    source = Source(world)
    it = agent(source)
    trains(world)
    it.run(100)
    assert it.ask_price()
    it.run(1)
    it.save()
    before = {name: it.sum(name) for name in MONEY}
    it.kill()
    it = agent(source)
    it.run(1)
    assert all(it.sum(name) >= value for name, value in before.items())
    assert it.dollars("run_cost_usd", run="r") == pytest.approx(source.usd(0, 102), abs=1e-9)


def test_a_run_that_has_ended_is_shown_until_it_is_settled(world: World, agent: Callable[..., Driven]) -> None:
    source = Source(world)
    it = agent(source, runs__keep="5s")
    trains(world)
    it.run(10)
    world.say("end", status="finished")
    it.run(100, every=5)
    assert it.value("run_provisional_cost_usd", run="r") == pytest.approx(source.usd(0, 10), abs=1e-9)
    assert it.ask_price()
    it.run(1)
    assert it.value("run_cost_usd_total", run="r") is None  # settled, and longer ago than it is kept


def test_where_nobody_knows_a_price_a_run_that_has_ended_goes_in_time(world: World) -> None:
    it = Driven(world, runs__keep="5s")
    world.say("start")
    it.run(3)
    world.say("end", status="finished")
    it.run(4)
    assert it.value("run_seconds_total", run="r") == pytest.approx(3)
    it.run(4)
    assert it.value("run_seconds_total", run="r") is None
    it.close()


def test_an_answer_whose_source_was_last_asked_long_ago_settles_no_more_than_that(
    world: World, agent: Callable[..., Driven]
) -> None:
    source = Source(world)
    it = agent(source)
    trains(world)
    it.run(300)
    source.fetched = T0 + 200  # the poller has answered, and its source has not since then
    assert it.ask_price()
    it.run(1)
    assert it.value("run_cost_usd_total", run="r") == pytest.approx(source.usd(0, 200 - LATE_SECONDS), abs=1e-9)


@pytest.mark.parametrize(
    ("steps", "confirmed", "answered", "now", "until"),
    [
        ([(-math.inf, 1.0)], 0, 0, 5e6, 5e6),  # no date: no past changes
        ([(0, 1.0)], 1000, 1000, 1010, 1000 - LATE_SECONDS),
        ([(0, 1.0)], 700, 1000, 1010, 700 - LATE_SECONDS),
        ([(-math.inf, 1.0), (50, 2.0)], 1000, 1000, 1010, 1000 - LATE_SECONDS),
        ([(0, 1.0)], 0, 9e6, 9e6 + 10, 9e6 - LATE_SECONDS),  # a dated list, written long ago
        ([(0, 1.0)], 1000, 1000, 9e6, 9e6 - MOST_UNSETTLED_SECONDS),  # a poller that never came back
        ([(0, 1.0)], 5e6, 1000, 1010, 1000 - LATE_SECONDS),  # a source whose clock is ahead
    ],
)
def test_up_to_when_a_price_is_confirmed(
    steps: list[tuple[float, float]], confirmed: float, answered: float, now: float, until: float
) -> None:
    assert settled_until(tuple(PriceStep(*step) for step in steps), confirmed, answered, now) == until


def test_time_that_waits_for_a_day_for_its_price_takes_little_memory_and_stays_exact() -> None:
    meter = metered()
    now = T0
    for _ in range(20_000):
        now += 1.0
        snapshot = tick(meter, now, None, 0.5)
    usd = math.fsum(meter.ledger.unsettled.dollars(meter.ledger.price).values())
    assert usd == 0
    snapshot = tick(meter, now + 1, Quote((PriceStep(T0 - 1, 3.6),), None, "x", T0), 0.5)
    assert len(meter.ledger.unsettled.state()[1]) <= 720
    usd = math.fsum(meter.ledger.unsettled.dollars(meter.ledger.price).values())
    assert usd == pytest.approx(20.001, abs=1e-6)
    assert whole(snapshot.node.settled.states) == 0  # type: ignore[arg-type]


def metered() -> Meter:
    meter = Meter(Ledger(), Node("n"))
    meter.begin_boot(T0, T0 - 7200, [])
    return meter


def tick(meter: Meter, now: float, quote: Quote | None, utilization: float, *events: TrainingEvent) -> Snapshot:
    gpus = GpuReading(now, (GpuSample("0", "GPU-0", utilization_ratio=utilization),))
    return meter.tick(now, Inputs(gpus=gpus, quote=quote, events=events, watched=("w",)))


def whole(usd: Mapping[object, float]) -> float:
    return math.fsum(usd.values())


@settings(max_examples=60, deadline=None)
@given(
    seconds=st.lists(st.floats(0.1, 40), min_size=5, max_size=60),
    used=st.lists(st.sampled_from([0.0, 0.3, 1.0]), min_size=60, max_size=60),
    changes=st.lists(
        st.tuples(st.floats(0, 900), st.floats(0.36, 36), st.floats(0, 300)), max_size=8, unique_by=lambda c: c[0]
    ),
    asks=st.sets(st.integers(0, 59)),
)
def test_whatever_is_learnt_when_counters_never_fall_and_both_together_are_the_bill(
    seconds: list[float], used: list[float], changes: list[tuple[float, float, float]], asks: set[int]
) -> None:
    meter, now, shown, most = metered(), T0, {}, 0.0
    quote, true = None, [PriceStep(T0 - 100, 3.6)]
    start = TrainingEvent(EventKind.START, T0 + 1, RunId("r"), "w")
    train = TrainingEvent(EventKind.PHASE, T0 + 30, RunId("r"), "w", phase=Phase.TRAIN)
    for k, passed in enumerate(seconds):
        now += passed
        if k in asks:
            known = [PriceStep(T0 + at, usd) for at, usd, late in sorted(changes) if T0 + at + late <= now]
            quote = Quote((*true, *known), None, "x", now)
        events = [e for e in (start, train) if now - passed < e.t <= now]
        snapshot = tick(meter, now, quote, used[k], *events)
        if not meter.ledger.price.times:
            continue
        node, bill = snapshot.node, meter.ledger.price.integral(T0, now)[0]
        assert whole(node.settled.states) + whole(node.settled.provisional) == pytest.approx(bill, abs=1e-9)  # type: ignore[arg-type]
        assert whole(node.totals.cost_usd) == pytest.approx(bill, abs=1e-9)  # type: ignore[arg-type]
        most = max(most, bill - whole(meter.ledger.unsettled.dollars(meter.ledger.price)))  # type: ignore[arg-type]
        assert whole(node.settled.states) == pytest.approx(most, abs=1e-9)  # type: ignore[arg-type]
        figures: dict[str, float] = {f"node {s.value}": usd for s, usd in node.settled.states.items()}
        for run in snapshot.runs:
            if run.settled is not None and run.cost_usd is not None:
                both = run.settled.cost_usd + run.settled.provisional_usd
                assert both == pytest.approx(run.cost_usd, abs=1e-9)
                assert whole(run.settled.states) == pytest.approx(run.settled.cost_usd, abs=1e-9)  # type: ignore[arg-type]
                figures["run"] = run.settled.cost_usd
                figures |= {f"run {s.value}": usd for s, usd in run.settled.states.items()}
        assert all(figures.get(name, 0.0) >= value for name, value in shown.items())
        shown = figures
