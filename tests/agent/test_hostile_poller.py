"""Whatever a poller answers, time after time: the ledger continues, and the next agent resumes from what is saved."""

from __future__ import annotations

import json
import math
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from epochcost.agent.meter import Meter
from epochcost.agent.meter_inputs import Inputs
from epochcost.agent.price_feed import PriceFeed
from epochcost.ledger import Ledger
from epochcost.model import ClockReading, HostReading, Node, PurchaseOption
from epochcost.prices.quote import NodePrice
from epochcost.prices.remote import _parse

START = 1_795_000_000.0
GB = 2**30
NODE = Node("n", "aws", "us-east-1", "us-east-1a", "p4d.24xlarge", PurchaseOption.ON_DEMAND)
GOOD = {
    "v": 1, "provider": "aws", "region": "us-east-1", "zone": "", "instance_type": "p4d.24xlarge",
    "purchase_option": "on_demand", "source": "aws", "on_demand_usd_per_hour": None,
}  # fmt: skip
FIGURES = st.floats(1e-6, 1e4) | st.sampled_from([1e-9, 3e5, 1e6, 2e6, 1e12, 1e308, -1.0, 0.0]) | st.floats(0.01, 99.0)
TIMES = st.none() | st.sampled_from([0.0, 1.0, 1e9, 1e12, 1e300, -1e300]) | st.floats(START - 1e7, START + 1e7)
NAMES = st.sampled_from(["a", "b", "disk", "egress"]) | st.text(max_size=8)


def _objects(**fields: Any) -> Any:
    return st.lists(st.fixed_dictionaries(fields), max_size=3)


def _steps(usd_by_ts: dict[float | None, float]) -> list[dict[str, float | None]]:
    ordered = sorted(usd_by_ts, key=lambda ts: -math.inf if ts is None else ts)
    return [{"ts": ts, "usd_per_hour": usd_by_ts[ts]} for ts in ordered]


ANSWERS = st.fixed_dictionaries(
    {
        "fetched_ts": TIMES.filter(lambda ts: ts is not None),
        "steps": st.dictionaries(TIMES, FIGURES, min_size=1, max_size=3).map(_steps),
        "usd_per_hour": st.none() | FIGURES,
        "parts": _objects(name=NAMES, usd_per_hour=FIGURES),
        "extras": _objects(
            name=NAMES,
            usd_per_hour=st.none() | FIGURES,
            usd_per_unit=FIGURES,
            unit=st.sampled_from(["gb", "hour"]),
            charged=st.booleans(),
            now=st.booleans(),
        ),
        "limits": _objects(
            name=NAMES,
            session_seconds=st.none() | FIGURES,
            free_seconds=st.none() | FIGURES,
            period=st.sampled_from(["day", "week", "month", "year"]),
            since_ts=TIMES,
        ),
        "credits": _objects(
            name=NAMES, usd=FIGURES, as_of_ts=TIMES, until_ts=TIMES, spend_usd_per_hour=st.none() | FIGURES
        ),
    }
)


class Says:
    """A poller that gives one answer after another."""

    def __init__(self) -> None:
        self.answer: dict[str, Any] = {}
        self.now = START

    def fetch(self, now: float) -> NodePrice:
        found = _parse({**GOOD, **self.answer}, NODE, PurchaseOption.ON_DEMAND)
        return NodePrice(found.price, found.on_demand_usd_per_hour, ClockReading(self.now), found.terms)


def _begun() -> Meter:
    meter = Meter(Ledger(), NODE)
    meter.begin_boot(START, START - 60.0, [])
    return meter


@given(st.lists(st.tuples(ANSWERS, FIGURES.filter(lambda ts: ts > 0), st.floats(1.0, 4e5)), min_size=1, max_size=5))
@settings(max_examples=150, deadline=None)
def test_nothing_that_a_poller_says_makes_the_books_impossible(
    responses: list[tuple[dict[str, Any], float, float]],
) -> None:
    meter, poller, t = _begun(), Says(), START
    feed = PriceFeed(poller, 60.0, lambda: t, lambda: t)
    for number, (answer, clock, passed) in enumerate(responses, start=1):
        poller.answer, poller.now = answer, clock
        feed.ask()
        for at in (t + passed / 2, t + passed):
            host = HostReading(at, 0.5, sent_bytes_by_interface={"eth1": number * 5 * GB})
            shown = meter.tick(at, Inputs(has_gpus=False, host=host, quote=feed.quote))
        t += passed
        assert math.isfinite(math.fsum(shown.node.totals.cost_usd.values()))
        assert math.isfinite(math.fsum(shown.node.terms.egress_usd.values()))
        saved = json.loads(json.dumps(meter.state(), allow_nan=False))
        again = Meter(Ledger(), NODE)
        again.take(again.restored(saved, t + 1.0))
        assert again.ledger.cursor == meter.ledger.cursor
