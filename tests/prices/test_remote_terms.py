"""The poller's terms beside a price: used if complete, rejected otherwise."""

from __future__ import annotations

import math

import pytest

from epochcost.prices.allowances import Credit, Limit
from epochcost.prices.quote import PriceTerms
from epochcost.prices.remote_terms import parse_terms

EXTRA = {"name": "disk", "usd_per_hour": 0.5, "charged": True, "now": True}
LIMIT = {"name": "week", "session_seconds": 43200, "free_seconds": 3600, "period": "week", "since_ts": None}
CREDIT = {"name": "account", "usd": 10.0, "as_of_ts": 1000.0, "spend_usd_per_hour": 2.5, "until_ts": None}
ANSWER = {
    "usd_per_hour": 3.5,
    "parts": [],
    "extras": [EXTRA, {**EXTRA, "name": "shown", "charged": False}, {**EXTRA, "name": "ended", "now": False}],
    "limits": [LIMIT],
    "credits": [CREDIT],
}


def test_an_unadjusted_price_is_the_published_one_and_its_charged_extras() -> None:
    assert parse_terms(ANSWER, "vastai") == PriceTerms(
        {"published": 3.0, "extra disk": 0.5},
        (Limit("week", session_seconds=43200.0, free_seconds=3600.0, period="week"),),
        (Credit("account", "vastai", 10.0, 1000.0, math.inf, 2.5),),
        0.5,
    )


def test_the_parts_of_an_adjusted_price_and_its_extras_sum_to_it() -> None:
    parts = [{"name": "published", "usd_per_hour": 4.0}, {"name": "contract", "usd_per_hour": -1.0}]
    components = parse_terms({**ANSWER, "parts": parts}, "aws").parts
    assert components == {"published": 4.0, "contract": -1.0, "extra disk": 0.5}
    assert math.fsum(components.values()) == 3.5


def test_a_poller_of_an_earlier_version_sends_no_terms() -> None:
    assert parse_terms({"usd_per_hour": 3.5}, "aws") == PriceTerms()


@pytest.mark.parametrize(
    "invalid",
    [
        {"extras": 3},
        {"extras": [3]},
        {"extras": [{**EXTRA, "usd_per_hour": "0.5"}]},
        {"extras": [{**EXTRA, "usd_per_hour": -0.5}]},
        {"extras": [{**EXTRA, "name": 3}]},
        {"extras": [{"name": "disk"}]},
        {"extras": [EXTRA] * 65},
        {"extras": [{**EXTRA, "usd_per_hour": 2e6, "charged": True}]},
        {"extras": [{**EXTRA, "name": f"e{n}", "usd_per_hour": 9e5, "charged": True} for n in range(2)]},
        {"extras": [{**EXTRA, "usd_per_hour": None, "unit": "gb", "usd_per_unit": 1e300, "charged": True}]},
        {"parts": [{"name": "published", "usd_per_hour": 1e300}]},
        {"limits": [{**LIMIT, "free_seconds": 1e-9}]},
        {"limits": [{**LIMIT, "since_ts": 1e300}]},
        {"credits": [{**CREDIT, "usd": 1e300}]},
        {"parts": [{"name": "published", "usd_per_hour": math.nan}]},
        {"parts": [{"name": "", "usd_per_hour": 1.0}]},
        {"parts": [{"name": "a\nb", "usd_per_hour": 1.0}]},
        {"parts": {"published": 3}},
        {"limits": [{**LIMIT, "session_seconds": 0}]},
        {"limits": [{**LIMIT, "session_seconds": math.inf}]},
        {"limits": [{**LIMIT, "free_seconds": 10**9}]},
        {"limits": [{**LIMIT, "period": "fortnight"}]},
        {"limits": [{**LIMIT, "period": ["week"]}]},
        {"limits": [{**LIMIT, "since_ts": "monday"}]},
        {"limits": [{"name": "week"}]},
        {"credits": [{**CREDIT, "usd": None}]},
        {"credits": [{**CREDIT, "as_of_ts": 0}]},
        {"credits": [{**CREDIT, "spend_usd_per_hour": -1}]},
        {"credits": [{**CREDIT, "until_ts": True}]},
    ],
)
def test_invalid_terms_are_rejected(invalid: dict[str, object]) -> None:
    with pytest.raises((ValueError, TypeError, KeyError)):
        parse_terms({**ANSWER, **invalid}, "aws")
