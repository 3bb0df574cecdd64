"""Discounts, taxes and extras: paid prices derived from published ones."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from epochcost.model import Price, PriceKey, PriceStep, PurchaseOption
from epochcost.poller.poller_settings import PollerSettings
from epochcost.prices.adjust import parse_adjustments
from epochcost.prices.allowances import Credit, parse_credits, parse_limits
from epochcost.prices.extras import parse_charged, parse_extras, with_extras
from epochcost.prices.merged_prices import usd_per_hour_at
from epochcost.prices.price_source import Catalogue
from epochcost.prices.store import PriceStore, StoreRules
from epochcost.settings import SettingsError, load

DEMAND = PriceKey("aws", "us-east-1", "", "p4d.24xlarge", PurchaseOption.ON_DEMAND)
DAY = 86400.0
MARCH = 1_772_323_200.0  # 2026-03-01T00:00:00Z


def published(usd: float = 30.0, key: PriceKey = DEMAND, source: str = "aws") -> Price:
    return Price(key, (PriceStep(-math.inf, usd),), source, MARCH)


def adjusted(raw: object, price: Price | None = None) -> Price | None:
    return parse_adjustments(raw)(price or published())


def test_a_discount_in_percent_an_absolute_one_and_a_tax_apply_in_their_order() -> None:
    raw = [
        {"name": "contract", "provider": "aws", "discount-percent": 10},
        {"name": "credit", "provider": "aws", "discount-usd-per-hour": 2},
        {"name": "VAT", "tax-percent": 24},
    ]
    result = adjusted(raw)
    assert result is not None
    assert result.usd_per_hour == pytest.approx((30 * 0.9 - 2) * 1.24, abs=1e-12)
    assert (result.key, result.source, result.fetched_ts) == (DEMAND, "aws", MARCH)


@pytest.mark.parametrize(
    "where",
    [
        {"provider": "gcp"},
        {"region": "eu-*"},
        {"instance-type": "p5*"},
        {"purchase-option": "spot"},
        {"source": "listed"},
    ],
)
def test_it_does_not_affect_other_prices(where: dict[str, str]) -> None:
    assert adjusted([{**where, "discount-percent": 10}]) == published()


def test_it_selects_a_family_or_a_region_by_a_glob() -> None:
    result = adjusted([{"provider": "AWS", "region": "us-*", "instance-type": "p4*", "discount-percent": 50}])
    assert result is not None
    assert result.usd_per_hour == 15.0


@pytest.mark.parametrize("source", ["owned", "listed_file"])
def test_a_configured_price_is_not_adjusted_unless_the_adjustment_names_it(source: str) -> None:
    price = published(source=source)
    assert adjusted([{"tax-percent": 24}], price) == price
    taxed = adjusted([{"tax-percent": 24, "source": source}], price)
    assert taxed is not None
    assert taxed.usd_per_hour == pytest.approx(37.2)


def test_a_contract_that_begins_in_march_changes_nothing_of_february() -> None:
    result = adjusted([{"discount-percent": 10, "from": "2026-03-01", "until": "2026-04-01"}])
    assert result is not None
    assert [(step.ts, step.usd_per_hour) for step in result.steps] == [
        (-math.inf, 30.0),
        (MARCH, 27.0),
        (MARCH + 31 * DAY, 30.0),
    ]


def test_spot_steps_keep_their_times() -> None:
    key = PriceKey("aws", "us-east-1", "us-east-1a", "p4d.24xlarge", PurchaseOption.SPOT)
    price = Price(key, (PriceStep(MARCH - 60, 8.0), PriceStep(MARCH + 60, 10.0)), "aws_spot", MARCH)
    result = adjusted([{"discount-percent": 10, "from": "2026-03-01T00:00:00Z"}], price)
    assert result is not None
    assert [(step.ts, step.usd_per_hour) for step in result.steps] == [
        (MARCH - 60, 8.0),
        (MARCH, 7.2),
        (MARCH + 60, 9.0),
    ]


def test_a_price_discounted_to_zero_is_absent_and_not_zero() -> None:
    store = PriceStore(None, ["aws"], StoreRules(adjust=parse_adjustments([{"discount-usd-per-hour": 30}])))
    store.put("aws", Catalogue((published(),)), MARCH)
    assert not store.merged.prices


def test_the_store_keeps_published_prices_so_that_a_contract_change_is_not_a_price_change(tmp_path: Path) -> None:
    path = tmp_path / "prices.json"
    first = PriceStore(path, ["aws"], StoreRules(adjust=parse_adjustments([{"discount-percent": 95}])))
    first.put("aws", Catalogue((published(),)), MARCH)
    assert first.merged.prices[DEMAND].usd_per_hour == pytest.approx(1.5)
    second = PriceStore(path, ["aws"])
    assert not second.put("aws", Catalogue((published(),)), MARCH + 60).held, "no jump: nothing was published anew"
    assert usd_per_hour_at(second.merged.prices[DEMAND], MARCH) == 30.0


def test_only_charged_extras_are_part_of_what_an_agent_charges() -> None:
    extras = parse_extras(
        [
            {"name": "disk", "instance-type": "p4*", "usd-per-hour": 0.5, "charged": True},
            {"name": "address", "usd-per-hour": 0.005},
            {"name": "elsewhere", "provider": "gcp", "usd-per-hour": 9, "charged": True},
        ]
    )
    assert with_extras(published(), extras).usd_per_hour == 30.5


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        ("ten", "adjustment 1: 'ten' must be a mapping with name, provider"),
        ([{"discount-percent": 10}, {"rebate": 3}], "adjustment 2: unknown key 'rebate'; allowed: name, provider"),
        ([{"provider": "aws"}], r"adjustment 1: give one of discount-percent, .*, not \[\]"),
        ([{"discount-percent": 10, "tax-percent": 3}], "adjustment 1: give one of"),
        ([{"discount-percent": 100}], "adjustment 1: discount-percent: 100 must be a number above 0 and below 100"),
        ([{"discount-percent": "10%"}], "discount-percent: '10%' must be a number above 0"),
        ([{"tax-percent": True}], "tax-percent: True must be a number above 0"),
        ([{"discount-usd-per-hour": 10**400}], "discount-usd-per-hour: 1000.* must be a number above 0"),
        ([{"tax-percent": 24, "from": "soon"}], "from: 'soon' must be a day, 2026-11-21, or a time"),
    ],
)
def test_a_bad_adjustment_is_rejected_with_its_location_and_the_allowed_values(raw: object, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        parse_adjustments(raw)


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        ([{"usd-per-hour": 1}], "extra 1: name: '' must be 1 to 64 letters"),
        ([{"name": "disk"}], "extra 1: give one of usd-per-hour"),
        ([{"name": "disk", "usd-per-hour": 1, "charged": "yes"}], "extra 1: charged: 'yes' must be true or false"),
        ([{"name": "d", "usd-per-hour": 1}] * 2, "extra 'd' is given 2 times"),
    ],
)
def test_a_bad_extra_is_rejected_with_its_location_and_the_allowed_values(raw: object, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        parse_extras(raw)


def test_they_come_from_the_file_and_a_mistake_names_it(tmp_path: Path) -> None:
    path = tmp_path / "epochcost.yml"
    path.write_text("prices:\n  adjustments:\n  - {name: EDP, provider: aws, discount-percent: 12}\n")
    settings = load(PollerSettings, "prices", {"config.file": str(path)}, {})
    result = settings.adjustments(published())
    assert result is not None
    assert result.usd_per_hour == pytest.approx(26.4)
    path.write_text("prices:\n  extras:\n  - {name: disk}\n")
    with pytest.raises(SettingsError, match=r"epochcost.yml: prices: extras: .*extra 1: give one of usd-per-hour"):
        load(PollerSettings, "prices", {"config.file": str(path)}, {})


# --- rates of one account, commitments, parts ---


def test_a_rate_of_one_account_counts_only_for_that_account() -> None:
    adjust = parse_adjustments([{"name": "team", "account": "1234*", "discount-percent": 50}])
    assert adjust(published()) == published()
    assert adjust.paid(published(), "999") == published()
    own_rate = adjust.paid(published(), "123456789012")
    assert own_rate is not None
    assert own_rate.usd_per_hour == 15.0


PLAN = {"name": "plan", "commitment-usd-per-hour": 40, "committed-discount-percent": 50, "machines": 4}


@pytest.mark.parametrize(
    ("usd", "committed", "usd_per_machine"),
    [
        (30.0, 60.0, 15.0),  # 4 x 15 = 60: all four covered, to the dollar
        (30.0, 30.0, 22.5),  # two covered: (30 + 2 x 30) / 4
        (30.0, 100.0, 25.0),  # more than they need, paid in any case: 100 / 4
    ],
)
def test_a_commitment_covers_its_machines_and_the_rest_has_the_published_price(
    usd: float, committed: float, usd_per_machine: float
) -> None:
    adjust = parse_adjustments([{**PLAN, "commitment-usd-per-hour": committed}])
    result = adjust(published(usd))
    assert result is not None
    assert result.usd_per_hour == pytest.approx(usd_per_machine, abs=1e-12)
    parts = adjust.parts(published(usd), MARCH)
    assert sum(parts.values()) == pytest.approx(usd_per_machine, abs=1e-12)
    assert parts["plan"] == committed / 4


def test_a_commitment_affects_on_demand_prices_only() -> None:
    spot = PriceKey("aws", "us-east-1", "us-east-1a", "p4d.24xlarge", PurchaseOption.SPOT)
    assert adjusted([PLAN], published(10.0, spot)) == published(10.0, spot)


def test_a_price_is_the_sum_of_its_parts() -> None:
    raw = [
        {"name": "contract", "discount-percent": 10},
        {"name": "later", "discount-percent": 50, "from": "2030-01-01"},
        {"name": "VAT", "tax-percent": 20},
    ]
    adjust = parse_adjustments(raw)
    parts = adjust.parts(published(30.0), MARCH)
    assert parts == {"published": 30.0, "contract": pytest.approx(-3.0), "VAT": pytest.approx(5.4)}
    result = adjust(published(30.0))
    assert result is not None
    assert sum(parts.values()) == pytest.approx(usd_per_hour_at(result, MARCH), abs=1e-12)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"commitment-usd-per-hour": 10}, "committed-discount-percent: None must be a number above 0 and below 100"),
        ({"commitment-usd-per-hour": 10, "committed-discount-percent": 30}, "machines: None must be a number above 0"),
        ({"commitment-usd-per-hour": 0, "committed-discount-percent": 30, "machines": 1}, "must be a number above 0"),
    ],
)
def test_a_bad_commitment_is_refused(raw: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_adjustments([raw])


# --- extras by their units, credit, limits ---


def test_extras_have_units_and_hourly_ones_are_charged_per_hour() -> None:
    raw = [
        {"name": "disk", "usd-per-gb-month": 0.073, "gb": 1000, "charged": True},
        {"name": "licence", "usd-per-month": 365, "charged": True},
        {"name": "egress", "usd-per-gb": 0.09},
    ]
    disk, licence, egress = parse_extras(raw)
    assert (disk.usd_per_hour, licence.usd_per_hour, egress.usd_per_hour) == (pytest.approx(0.1), 0.5, None)
    assert with_extras(published(30.0), (disk, licence, egress)).usd_per_hour == pytest.approx(30.6)


def test_traffic_with_a_configured_volume_has_an_hourly_price() -> None:
    (egress,) = parse_extras({"name": "egress", "usd-per-gb": 0.1, "gb-per-month": 7300, "charged": True})
    assert egress.usd_per_hour == pytest.approx(1.0)
    assert with_extras(published(30.0), (egress,)).usd_per_hour == pytest.approx(31.0)


def test_an_extra_with_a_start_and_an_end_changes_nothing_outside_them() -> None:
    raw = {"name": "disk", "usd-per-hour": 1, "charged": True, "from": "2026-03-01", "until": "2026-04-01"}
    april = MARCH + 31 * 86400
    price = with_extras(published(30.0), parse_extras(raw))
    assert [(step.ts, step.usd_per_hour) for step in price.steps] == [(-math.inf, 30.0), (MARCH, 31.0), (april, 30.0)]


def test_extras_of_one_machine_are_written_in_a_line() -> None:
    disk, address, licence, egress = parse_charged(
        "disk=0.073*1000/gb-month, address=0.005/hour, licence=365/month,egress=0.1*7300/gb"
    )
    assert [extra.usd_per_hour for extra in (disk, address, licence, egress)] == pytest.approx([0.1, 0.005, 0.5, 1.0])
    assert {extra.charged for extra in (disk, address, licence, egress)} == {True}
    assert parse_charged("") == ()


@pytest.mark.parametrize(
    "text",
    [
        "disk",
        "disk=0.08",
        "disk=0.08/week",
        "disk=0.08/gb-month",
        "address=0.005*2/hour",
        "disk=-1*10/gb-month",
        "disk=0*10/gb-month",
        "disk=1..2*10/gb-month",
        "=1/hour",
        "a\nb=1/hour",
        "disk=1/hour,disk=1/month",
        "disk=0.08*nan/gb-month",
    ],
)
def test_a_bad_line_of_extras_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected NAME=|must be 1 to 64|each needs its own name"):
        parse_charged(text)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"name": "disk", "usd-per-gb-month": 0.1}, "gb: the number of GB is required"),
        ({"name": "disk", "usd-per-hour": 0.1, "gb": 5}, "gb: the number of GB is required"),
        ({"name": "disk", "usd-per-hour": 0.1, "gb-per-month": 5}, "gb-per-month: the GB of traffic per month"),
        ({"name": "egress", "usd-per-gb": 0.1, "gb-per-month": 0}, "gb-per-month: 0 must be a number above 0"),
        ({"name": "d", "usd-per-hour": 1, "from": "2026-03-01", "until": "2026-03-01"}, "until: .* is not after from"),
        ({"name": "d", "usd-per-hour": 1, "from": "soon"}, "from: 'soon' must be a day"),
        ({"name": "disk", "usd-per-hour": 0.1, "usd-per-month": 5}, "give one of"),
    ],
)
def test_a_bad_unit_is_refused(raw: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_extras([raw])


def test_credit_has_a_balance_of_a_day_and_limits_have_hours() -> None:
    (credit,) = parse_credits([{"name": "grant", "provider": "gcp", "balance-usd": 300, "as-of": "2026-03-01"}])
    assert credit == Credit("grant", "gcp", 300.0, MARCH)
    (limit,) = parse_limits(
        [{"name": "kaggle", "provider": "kaggle", "session-hours": 12, "free-hours": 30, "per": "week"}]
    )
    assert (limit.session_seconds, limit.free_seconds, limit.period) == (43200.0, 108000.0, "week")


@pytest.mark.parametrize(
    ("parse", "raw", "message"),
    [
        (parse_credits, {"name": "grant", "balance-usd": 300}, "as-of: must be given"),
        (parse_credits, {"name": "grant", "balance-usd": -1, "as-of": "2026-03-01"}, "balance-usd: -1 must be"),
        (
            parse_credits,
            {"name": "g", "balance-usd": 1, "as-of": "2026-03-01", "until": "2026-02-01"},
            "until: .* is not after as-of",
        ),
        (
            parse_adjustments,
            {"name": "d", "discount-percent": 5, "from": "2026-03-01", "until": "2026-02-01"},
            "until: .* is not after from",
        ),
        (parse_credits, {"name": "", "balance-usd": 1, "as-of": "2026-03-01"}, "name: '' must be"),
        (parse_limits, {"name": "x"}, "give session-hours, free-hours or both"),
        (parse_limits, {"name": "x", "free-hours": 30}, "per: '' must be one of day, week, month"),
        (parse_limits, {"name": "x", "session-hours": 30, "per": "week"}, "goes with free-hours"),
        (parse_limits, {"name": "x", "free-hours": 25, "per": "day"}, "free-hours: 25 is more than a day has"),
        (parse_limits, {"name": "x", "free-hours": 9, "per": "month", "from": "2026-03-01"}, "from: a day on which"),
        (parse_limits, {"name": "x", "session-hours": 9, "from": "2026-03-01"}, "from: a day on which"),
        (parse_limits, {"name": "x", "free-hours": 9, "per": "week", "from": "saturday"}, "from: 'saturday' must be"),
    ],
)
def test_bad_credit_and_bad_limits_are_refused(parse: Callable[[object], object], raw: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse([raw])
