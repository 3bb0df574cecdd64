"""The poller's terms beside a price, as parsed by the agent's real client."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tests.poller.asking import ask_price
from tests.poller.sources import ScriptedSource, price
from tests.poller.test_poller_app import running, settings
from tests.waiting import wait_for

from epochcost.model import Node, PurchaseOption
from epochcost.prices.allowances import Credit, Limit, parse_credits, parse_limits
from epochcost.prices.extras import parse_extras
from epochcost.prices.price_source import Catalogue
from epochcost.prices.quote import NodePrice
from epochcost.prices.remote import PriceSourceError, RemotePrice

NODE = Node("n", "aws", "us-east-1", "us-east-1a", "p2.xlarge", PurchaseOption.ON_DEMAND)
KERNEL = Node("k", "kaggle", "", "", "T4 x2", PurchaseOption.ON_DEMAND)
LIMITS = parse_limits(
    [
        {"name": "kaggle", "provider": "kaggle", "session-hours": 12, "free-hours": 30, "per": "week"},
        {"name": "another", "provider": "gcp", "session-hours": 24},
        {"name": "p2", "instance-type": "p2.*", "session-hours": 24},
    ]
)


def response_for(url: str, node: Node) -> NodePrice | None:
    try:
        return RemotePrice(url, node).fetch(time.time())
    except PriceSourceError:
        return None


def test_components_limits_and_credit_of_a_machine_reach_its_agent(tmp_path: Path) -> None:
    now = time.time()
    account = Credit("account", "aws", 40.0, now, spend_usd_per_hour=2.0)
    source = ScriptedSource(lambda *_: Catalogue((price(0.9, at=now),), credits=(account,)))
    options = settings(
        tmp_path,
        extras=parse_extras(
            [
                {"name": "disk", "usd-per-gb-month": 0.073, "gb": 1000, "charged": True},
                {"name": "shown", "usd-per-hour": 5},
                {"name": "over", "usd-per-hour": 5, "charged": True, "until": "2026-01-01"},
            ]
        ),
        limits=LIMITS,
        credits=parse_credits(
            [
                {"name": "grant", "provider": "aws", "balance-usd": 300, "as-of": "2026-11-01"},
                {"name": "other", "provider": "gcp", "balance-usd": 300, "as-of": "2026-11-01"},
            ]
        ),
    )
    with running(options, [source]) as app:
        document = wait_for(lambda: response_for(app.url, NODE), what="the price")
    assert document.price is not None
    assert document.price.usd_per_hour == pytest.approx(1.0)
    assert document.terms.parts == {"published": pytest.approx(0.9), "extra disk": pytest.approx(0.1)}
    assert document.terms.limits == (Limit("p2", session_seconds=86400.0),)
    assert {credit.name for credit in document.terms.credits} == {"grant", "account"}
    assert account in document.terms.credits


def test_free_hours_without_a_price_are_returned_alone(tmp_path: Path) -> None:
    with running(settings(tmp_path, limits=LIMITS), [ScriptedSource(lambda *_: Catalogue())]) as app:
        document = wait_for(lambda: response_for(app.url, KERNEL), what="the free hours")
        assert document.price is None
        assert [(each.name, each.free_seconds, each.period) for each in document.terms.limits] == [
            ("kaggle", 108000.0, "week")
        ]
        status, raw = ask_price(app.url, provider="kaggle", instance_type="T4 x2", purchase_option="on_demand")
        assert (status, raw["steps"], raw["usd_per_hour"], raw["source"]) == (200, [], None, "free")
        # A session limit alone makes nothing free.
        status, _ = ask_price(app.url, provider="gcp", instance_type="a2", purchase_option="on_demand")
        assert status == 404
