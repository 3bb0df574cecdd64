"""Only what is in use or watched is exported, and never more than a bound."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import pytest
from tests.poller.asking import ask_price, get
from tests.poller.sources import ScriptedSource, price
from tests.poller.test_poller_app import running, settings, value
from tests.waiting import wait_for

from epochcost.model import InstanceFacts, PriceKey, PurchaseOption
from epochcost.poller.export_filter import ExportFilter, names_gpu, parse_watch, select
from epochcost.poller.poller_settings import PollerSettings
from epochcost.prices.adjust import parse_adjustments
from epochcost.prices.allowances import parse_credits, parse_limits
from epochcost.prices.extras import parse_extras
from epochcost.prices.merged_prices import SourcePrices, bind
from epochcost.prices.price_source import Catalogue, PriceRequests, Refused, Want, Zone
from epochcost.settings import SettingsError, load

PRICE = "epochcost_instance_price_usd_per_hour"
DROPPED = "epochcost_price_series_dropped"


def key(instance_type: str, region: str = "us-east-1", provider: str = "aws", zone: str = "") -> PriceKey:
    return PriceKey(provider, region, zone, instance_type, PurchaseOption.ON_DEMAND)


def fact(instance_type: str, model: str, provider: str = "aws") -> InstanceFacts:
    return InstanceFacts(provider, instance_type, model, 1.0)


MARKET = Catalogue(
    (
        price(55.0, instance_type="p5.48xlarge"),
        price(22.0, instance_type="p4d.24xlarge"),
        price(22.5, instance_type="p4d.24xlarge", region="eu-west-1"),
        price(2.7, instance_type="1x H100 SXM", provider="runpod", region="secure"),
        price(0.1, instance_type="m7i.large"),
        price(4.29, instance_type="gpu_1x_h100_sxm5", provider="lambda", region=""),
    ),
    (
        fact("p5.48xlarge", "H100"),
        fact("p4d.24xlarge", "A100 40GB"),
        fact("1x H100 SXM", "H100", "runpod"),
        fact("gpu_1x_h100_sxm5", "H100", "lambda"),
    ),
)


def exported_types(watch: str = "", *requested: Want, most: int = 100) -> list[str]:
    shelf = SourcePrices({p.key: p for p in MARKET.prices}, {(f.provider, f.instance_type): f for f in MARKET.facts})
    exported = select(bind({"scripted": shelf}, ()), parse_watch(watch), frozenset(requested), most)
    assert {key_parts[1] for key_parts in exported.facts} <= {k.instance_type for k in exported.prices}
    assert len(exported.prices) + exported.unwatched + exported.over_limit == len(MARKET.prices)
    return [f"{k.provider} {k.region} {k.instance_type}" for k in exported.prices]


def test_types_neither_used_nor_watched_are_not_exported() -> None:
    assert exported_types() == []


def test_types_in_use_are_exported_in_their_region_and_where_a_price_is_global() -> None:
    requested = (Want("aws", "us-east-1", "p4d.24xlarge"), Want("lambda", "us-west-1", "gpu_1x_h100_sxm5"))
    assert exported_types("", *requested) == ["aws us-east-1 p4d.24xlarge", "lambda  gpu_1x_h100_sxm5"]


@pytest.mark.parametrize(
    ("watch", "count"),
    [
        ("gpu-model=H100", 3),
        ("gpu-model=h100 provider=runpod", 1),
        ("gpu-model=A*", 2),
        ("gpu-model=A100", 2),
        ("gpu-model=A10", 0),
        ("provider=aws region=us-*", 3),
        ("instance-type=p4d.*", 2),
        ("provider=lambda, provider=runpod", 2),
        ("provider=*", 6),
    ],
)
def test_the_watch_list_selects_by_provider_region_type_and_gpu(watch: str, count: int) -> None:
    assert len(exported_types(watch)) == count


def test_beyond_the_bound_types_in_use_come_first() -> None:
    assert exported_types("provider=*", Want("aws", "us-east-1", "p5.48xlarge"), most=1) == [
        "aws us-east-1 p5.48xlarge"
    ]


@pytest.mark.parametrize(
    ("pattern", "model", "matches"),
    [
        ("A10", "NVIDIA A10", True),
        ("A10", "NVIDIA A100", False),
        ("A10", "A10G", False),
        ("A100", "A100 80GB", True),
        ("A100 80GB", "A100 80GB", True),
        ("A100 80GB", "A100 40GB", False),
        ("T4", "", False),
        ("RTX*", "RTX 4090", True),
    ],
)
def test_a_gpu_is_named_by_whole_words(pattern: str, model: str, matches: bool) -> None:
    assert names_gpu(pattern, model) is matches


def test_a_type_watched_by_name_in_a_region_is_requested() -> None:
    (watch,) = parse_watch("provider=aws region=us-east-1 instance-type=p4d.24xlarge")
    assert watch.want == Want("aws", "us-east-1", "p4d.24xlarge")
    assert ExportFilter("aws", "us-*", "p4d.24xlarge").want is None
    (runpod,) = parse_watch("provider=runpod region=secure instance-type=1x H100 SXM")
    assert runpod.want == Want("runpod", "secure", "1x H100 SXM")


@pytest.mark.parametrize("text", ["H100", "gpu=H100", "provider=", "provider=aws provider=gcp", "x provider=aws"])
def test_a_bad_watch_list_is_rejected_with_the_allowed_form(text: str) -> None:
    with pytest.raises(SettingsError, match=r"--prices.watch: .* keys: provider, region, instance-type, gpu-model"):
        load(PollerSettings, "prices", {"prices.watch": text}, {})


@pytest.mark.parametrize(
    ("flag", "text", "error"),
    [
        ("prices.max-series", "-1", "expected a whole number"),
        ("prices.max-age", "spot=soon", "--prices.max-age: 'spot=soon' is not valid"),
        ("prices.max-age", "1ms", "--prices.max-age: '1ms' is not valid: expected a duration from 1s to 366d"),
        ("prices.max-age", "spot=9999d", "expected a duration from 1s to 366d"),
        ("prices.currencies", "EUR=0", "must be a currency and US dollars for one unit of it, EUR=1.08"),
        ("prices.currencies", "euro=1.08", "must be a currency"),
    ],
)
def test_other_bad_settings_of_the_market_are_rejected(flag: str, text: str, error: str) -> None:
    with pytest.raises(SettingsError, match=error):
        load(PollerSettings, "prices", {flag: text}, {})


def test_max_age_is_given_for_all_and_by_name() -> None:
    options = load(PollerSettings, "prices", {"prices.max-age": "3d,spot=6h,aws=2d"}, {})
    assert options.prices_max_age.seconds == 3 * 86400
    assert dict(options.prices_max_age.named) == {"spot": 6 * 3600, "aws": 2 * 86400}


# --- the poller ---


def test_a_type_requested_by_an_agent_is_in_the_metrics_by_the_next_scrape(tmp_path: Path) -> None:
    source = ScriptedSource(lambda wanted, now: MARKET, name="scripted")
    with running(settings(tmp_path), [source]) as app:
        wait_for(lambda: value(app.url, "epochcost_price_source_success", source="scripted"), what="the first answer")
        assert value(app.url, PRICE) is None
        assert value(app.url, DROPPED, reason="unwatched") == 6
        query = {"provider": "aws", "region": "us-east-1", "zone": "", "instance_type": "p4d.24xlarge"}
        document = wait_for(
            lambda: (response := ask_price(app.url, **query, purchase_option="on_demand"))[0] == 200 and response[1],
            what="the price",
        )
        assert wait_for(lambda: value(app.url, PRICE), what="the series") == document["usd_per_hour"] == 22.0


def test_a_watched_type_is_requested_without_any_agent(tmp_path: Path) -> None:
    source = ScriptedSource(lambda wanted, now: MARKET)
    options = settings(tmp_path, prices_watch=parse_watch("provider=aws region=us-east-1 instance-type=p5.48xlarge"))
    with running(options, [source]) as app:
        wait_for(lambda: value(app.url, PRICE) == 55.0, what="the watched price")
        assert source.requests[0] == PriceRequests(frozenset({Want("aws", "us-east-1", "p5.48xlarge")}))


def test_the_bound_is_kept_counted_and_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = ScriptedSource(lambda wanted, now: MARKET, refresh_seconds=0.05)
    options = settings(tmp_path, prices_watch=parse_watch("provider=*"), prices_max_series=4)
    with caplog.at_level(logging.WARNING), running(options, [source]) as app:
        wait_for(lambda: len(source.requests) > 3, what="several refreshes")
        assert get(f"{app.url}/metrics")[1].count(f"{PRICE}{{") == 4
        assert value(app.url, DROPPED, reason="limit") == 2
    response = [record.getMessage() for record in caplog.records if "max-series" in record.getMessage()]
    assert len(response) == 1
    assert response[0].startswith("2 prices are not exported: more than --prices.max-series")


def test_a_price_held_back_is_not_exported_and_is_counted_and_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    usd = [0.9]
    rejected = (Refused(key("g5.xlarge"), 0.0),)
    source = ScriptedSource(lambda wanted, now: Catalogue((price(usd[0], at=now),), refused=rejected))
    source.watched = frozenset({Want("aws", "us-east-1", "p2.xlarge")})
    with caplog.at_level(logging.WARNING), running(settings(tmp_path), [source]) as app:
        wait_for(lambda: value(app.url, PRICE) == 0.9, what="the first price")
        usd[0] = 90.0
        app._schedule._refresh("scripted")
        assert value(app.url, PRICE) == 0.9
        held_metric = "epochcost_price_source_held_back_prices"
        assert value(app.url, held_metric, source="scripted", reason="jump") == 1
        assert value(app.url, held_metric, source="scripted", reason="zero") == 1
        assert "from $0.9 to $90 an hour is held back" in get(f"{app.url}/")[1]
        app._schedule._refresh("scripted")  # the next response confirms it
        assert value(app.url, PRICE) == 90.0
        assert value(app.url, held_metric, source="scripted", reason="jump") == 0
        total = "epochcost_price_source_held_back_total"
        assert value(app.url, total, source="scripted", reason="jump") == 1
        assert value(app.url, total, source="scripted", reason="zero") == 3
        assert value(app.url, "epochcost_price_source_success", source="scripted") == 1
    assert len([r for r in caplog.records if "implausible" in r.getMessage() and "$90" in r.getMessage()]) == 1


def test_a_source_that_is_accepted_jumps_at_once(tmp_path: Path) -> None:
    usd = [0.9]
    source = ScriptedSource(lambda wanted, now: Catalogue((price(usd[0], at=now),)))
    source.watched = frozenset({Want("aws", "us-east-1", "p2.xlarge")})
    with running(settings(tmp_path, prices_accept=("scripted",)), [source]) as app:
        wait_for(lambda: value(app.url, PRICE) == 0.9, what="the first price")
        usd[0] = 90.0
        app._schedule._refresh("scripted")
        assert value(app.url, PRICE) == 90.0


def test_discounts_are_in_the_price_and_extras_beside_it_and_charged_only_where_configured(tmp_path: Path) -> None:
    source = ScriptedSource(lambda wanted, now: MARKET)
    source.watched = frozenset({Want("aws", "us-east-1", "p4d.24xlarge")})
    options = settings(
        tmp_path,
        adjustments=parse_adjustments([{"provider": "aws", "discount-percent": 10}]),
        extras=parse_extras(
            [
                {"name": "disk", "usd-per-hour": 0.25, "charged": True},
                {"name": "address", "usd-per-hour": 0.005},
                {"name": "elsewhere", "provider": "gcp", "usd-per-hour": 1},
            ]
        ),
    )
    with running(options, [source]) as app:
        wait_for(lambda: value(app.url, PRICE), what="the price")
        assert value(app.url, PRICE) == pytest.approx(19.8)
        extra = "epochcost_instance_extra_price_usd_per_hour"
        assert value(app.url, extra, extra="disk", charged="true") == 0.25
        assert value(app.url, extra, extra="address", charged="false") == 0.005
        assert value(app.url, extra, extra="elsewhere") is None
        query = {"provider": "aws", "region": "us-east-1", "zone": "", "instance_type": "p4d.24xlarge"}
        document = ask_price(app.url, **query, purchase_option="on_demand")[1]
        assert document["usd_per_hour"] == document["steps"][-1]["usd_per_hour"] == pytest.approx(20.05)
        assert document["on_demand_usd_per_hour"] == pytest.approx(20.05)
        assert [each["name"] for each in document["extras"]] == ["disk", "address"]


def test_an_account_has_its_own_rate_and_the_components_of_a_price_are_returned(tmp_path: Path) -> None:
    source = ScriptedSource(lambda wanted, now: MARKET)
    source.watched = frozenset({Want("aws", "us-east-1", "p4d.24xlarge")})
    options = settings(
        tmp_path,
        adjustments=parse_adjustments(
            [{"name": "all", "discount-percent": 10}, {"name": "team", "account": "12*", "discount-percent": 50}]
        ),
        extras=parse_extras([{"name": "egress", "usd-per-gb": 0.09}]),
        credits=parse_credits([{"name": "grant", "provider": "aws", "balance-usd": 300, "as-of": "2026-03-01"}]),
        limits=parse_limits([{"name": "nightly", "instance-type": "p4*", "session-hours": 12}]),
    )
    query = {"provider": "aws", "region": "us-east-1", "instance_type": "p4d.24xlarge", "purchase_option": "on_demand"}
    with running(options, [source]) as app:
        wait_for(lambda: value(app.url, PRICE), what="the price")
        own_price, all_others = (ask_price(app.url, **query, **account)[1] for account in ({"account": "123"}, {}))
        assert (own_price["usd_per_hour"], all_others["usd_per_hour"]) == (pytest.approx(9.9), pytest.approx(19.8))
        assert [each["name"] for each in own_price["parts"]] == ["published", "all", "team"]
        assert sum(each["usd_per_hour"] for each in own_price["parts"]) == pytest.approx(9.9)
        assert value(app.url, PRICE) == pytest.approx(19.8), "what is exported is everybody's"
        part = "epochcost_instance_price_part_usd_per_hour"
        assert (value(app.url, part, part="published"), value(app.url, part, part="all")) == (22.0, pytest.approx(-2.2))
        assert value(app.url, "epochcost_instance_extra_price_usd_per_gb", extra="egress") == 0.09
        assert value(app.url, "epochcost_credit_balance_usd", credit="grant", provider="aws") == 300
        assert value(app.url, "epochcost_instance_session_limit_seconds", limit="nightly") == 43200
        assert value(app.url, "epochcost_instance_free_quota_seconds") is None
        assert ask_price(app.url, **query, account="a\nb")[0] == 400


def test_a_reservation_is_requested_by_its_id_and_exported_separately(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    row = "aws,us-east-1,us-east-1a,p5.48xlarge,reserved"
    path.write_text(
        "provider,region,zone,instance_type,purchase_option,reservation,usd_per_hour,date\n"
        f"{row},cr-1,31.464,2025-11-01\n{row},cr-2,44.1,2025-11-01\n"
    )
    query = {"provider": "aws", "region": "us-east-1", "zone": "us-east-1a", "instance_type": "p5.48xlarge"}
    options = settings(tmp_path, listed_files=(str(path),), prices_sources=("listed",))
    with running(options) as app:
        document = wait_for(
            lambda: ask_price(app.url, **query, purchase_option="reserved", reservation="cr-2"), what="an answer"
        )
        wait_for(lambda: value(app.url, "epochcost_reservation_price_usd_per_hour", reservation="cr-1"), what="the row")
        document = ask_price(app.url, **query, purchase_option="reserved", reservation="cr-2")
        assert (document[0], document[1]["usd_per_hour"], document[1]["reservation"]) == (200, 44.1, "cr-2")
        status, response = ask_price(app.url, **query, purchase_option="reserved")
        assert status == 404
        assert "us-east-1a in cr-1, us-east-1a in cr-2 only" in response["error"]
        assert value(app.url, PRICE, purchase_option="reserved") is None


def test_a_zone_is_found_by_its_id_and_both_are_exported(tmp_path: Path) -> None:
    now = time.time()
    spot = price(
        8.1, zone="us-east-1a", instance_type="p4d.24xlarge", option=PurchaseOption.SPOT, since=now - 9, at=now
    )
    zones = (Zone("aws", "us-east-1", "us-east-1a", "use1-az4"),)
    source = ScriptedSource(lambda wanted, now: Catalogue((spot,), zones=zones))
    query = {"provider": "aws", "region": "us-east-1", "instance_type": "p4d.24xlarge", "purchase_option": "spot"}
    options = settings(tmp_path)
    with running(options, [source]) as app:
        wait_for(lambda: ask_price(app.url, **query, zone="us-east-1a")[0] == 200, what="the price")
        assert ask_price(app.url, **query, zone="use1-az4")[1]["zone"] == "us-east-1a"
        assert ask_price(app.url, **query, zone="use1-az1")[0] == 404
        assert value(app.url, "epochcost_zone_info", zone="us-east-1a", zone_id="use1-az4") == 1
    with running(options, [ScriptedSource(lambda wanted, now: Catalogue())]) as app:
        assert ask_price(app.url, **query, zone="use1-az4")[0] == 200, "ids survive a restart"
