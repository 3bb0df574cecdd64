"""vast.ai against a local server: the market by GPU, count and country, and rented machines at their own rate."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from tests.prices.asking_http import KEY, NOW, ON_DEMAND, SPOT, api, dollars, wanted
from tests.prices.json_server import JsonServer, ReceivedRequest, Reply

from epochcost.model import InstanceFacts
from epochcost.poller.poller_settings import PollerSettings
from epochcost.prices.price_source import Catalogue, PriceRequests, PriceSourceError, Want
from epochcost.prices.vast.vast_rented import VastRented
from epochcost.prices.vast.vast_source import VastMarket, make

MIB = 1024**2
Offer = dict[str, Any]


def offer(usd: float, bid: float = 0.5, gpus: int = 4, **changes: Any) -> Offer:
    """An offer as the API gives it: by default 4 H100 SXM in Texas."""
    return {
        "id": 12345678,
        "machine_id": 88888,
        "gpu_name": "H100 SXM",
        "num_gpus": gpus,
        "gpu_ram": 81559,
        "gpu_total_ram": 81559 * gpus,
        "gpu_frac": 0.5,
        "cpu_cores": None,
        "cpu_cores_effective": 32,
        "cpu_ram": 65536,
        "disk_space": 2048.5,
        "dph_base": usd,
        "dph_total": usd + 0.43,
        "min_bid": bid,
        "storage_cost": 0.15,
        "is_bid": False,
        "rentable": True,
        "rented": False,
        "verification": "verified",
        "geolocation": "Texas, US",
        "reliability2": 0.99,
        **changes,
    }


def market(server: JsonServer) -> VastMarket:
    return VastMarket(f"{server.url}/api", frozenset(), 600.0, api("vast"))


def fetch(server: JsonServer, offers: list[Offer], *places: tuple[str, str]) -> Catalogue:
    server.on("/api/v0/bundles/", Reply({"offers": offers}))
    return market(server).fetch(wanted("vastai", *(places or (("US", "4x H100 SXM"),))), NOW)


# --- the market ---


def test_the_price_is_that_of_the_cheapest_offer_of_the_whole_machine_without_its_disk(server: JsonServer) -> None:
    result = fetch(server, [offer(8.40, 4.1), offer(7.96, 4.5), offer(9.0, 5.0)])
    assert dollars(result) == {
        ("US", "4x H100 SXM", ON_DEMAND): 7.96,  # $1.99 a GPU
        ("US", "4x H100 SXM", SPOT): 4.1,
    }


def test_types_are_counts_and_models_and_regions_are_countries_or_the_whole_market(server: JsonServer) -> None:
    offers = [
        offer(8.0, 4.0),
        offer(7.0, 3.0, geolocation="Bavaria, DE"),
        offer(6.0, 2.0, geolocation=None),
        offer(2.5, 1.5, gpus=1),
        offer(0.35, 0.2, gpus=1, gpu_name="RTX 4090", gpu_ram=24564),
    ]
    server.script("/api/v0/bundles/", lambda request: _matching(offers, request))
    places = [("any", "4x H100 SXM"), ("US", "4x H100 SXM"), ("FR", "4x H100 SXM"), ("any", "1x H100 SXM")]
    result = market(server).fetch(wanted("vastai", *places, ("US", "1x RTX 4090")), NOW)
    assert {key[:2]: usd for key, usd in dollars(result).items() if key[2] is ON_DEMAND} == {
        ("any", "4x H100 SXM"): 6.0,
        ("US", "4x H100 SXM"): 8.0,
        ("any", "1x H100 SXM"): 2.5,
        ("US", "1x RTX 4090"): 0.35,
    }


def _matching(offers: list[Offer], request: ReceivedRequest) -> Reply:
    body = request.body
    names, counts = body["gpu_name"]["in"], body["num_gpus"]["in"]
    return Reply({"offers": [each for each in offers if each["gpu_name"] in names and each["num_gpus"] in counts]})


def test_two_thousand_offers_make_no_more_series_than_were_wanted(server: JsonServer) -> None:
    offers = [offer(5.0 + number / 1000, id=number, geolocation="Oslo, NO") for number in range(1999)]
    result = fetch(server, offers, ("any", "4x H100 SXM"), ("NO", "4x H100 SXM"))
    assert len(result.prices) == 4
    assert len(result.facts) == 1


def test_the_request_is_for_enough_verified_offers_of_that_model(server: JsonServer) -> None:
    fetch(server, [], ("US", "4x H100 SXM"), ("US", "8x H100 SXM"))
    rent, bid = (request.body for request in server.requests)
    assert (rent["type"], bid["type"]) == ("on-demand", "bid")
    assert rent["gpu_name"] == {"in": ["H100 SXM"]}
    assert rent["num_gpus"] == {"in": [4, 8]}
    assert (rent["verified"], rent["rentable"], rent["rented"]) == ({"eq": True}, {"eq": True}, {"eq": False})
    assert (rent["limit"], rent["reliability2"]) == (2000, {"gte": 0.9})


@pytest.mark.parametrize(
    "changes",
    [{"verification": "unverified"}, {"rented": True}, {"rentable": False}, {"gpu_name": "H100 PCIE"}, {"num_gpus": 8}],
)
def test_an_offer_that_was_not_requested_sets_no_price(server: JsonServer, changes: Offer) -> None:
    result = fetch(server, [{**offer(0.01, 0.01), **changes}, offer(7.96, 4.1)])
    assert set(dollars(result).values()) == {7.96, 4.1}


@pytest.mark.parametrize("usd", [None, 0, -1.0, "7.96", True])
def test_an_offer_without_a_price_is_named_and_does_not_affect_the_others(server: JsonServer, usd: object) -> None:
    result = fetch(server, [offer(0.0, 4.0, id=7, dph_base=usd), offer(7.96, 4.1)])
    assert dollars(result)["US", "4x H100 SXM", ON_DEMAND] == 7.96
    (problem,) = result.problems
    assert problem.startswith("vast: offer 7: dph_base: ")


def test_a_response_at_the_limit_is_reported_as_truncated(server: JsonServer) -> None:
    result = fetch(server, [offer(7.96, id=number) for number in range(2000)])
    assert "vast: 2000 on-demand offers of H100 SXM, the maximum: some may be missing" in result.problems
    assert dollars(result)["US", "4x H100 SXM", ON_DEMAND] == 7.96


def test_a_market_price_counts_from_when_it_was_first_seen(server: JsonServer) -> None:
    source = market(server)
    requested = wanted("vastai", ("US", "4x H100 SXM"))
    values_seen = []
    for usd, ts in ((8.0, NOW), (8.0, NOW + 600), (9.0, NOW + 1200)):
        server.on("/api/v0/bundles/", Reply({"offers": [offer(usd)]}))
        price = next(p for p in source.fetch(requested, ts).prices if p.key.purchase_option is ON_DEMAND)
        values_seen.append((price.steps[0].ts, price.fetched_ts))
    assert values_seen == [(NOW, NOW), (NOW, NOW + 600), (NOW + 1200, NOW + 1200)]


def test_one_name_with_two_sizes_of_memory_is_distinguished_in_the_facts(server: JsonServer) -> None:
    changes = {"gpu_name": "A100 SXM4", "gpu_ram": 81920}
    (fact,) = fetch(server, [offer(3.0, gpus=2, **changes)], ("US", "2x A100 SXM4")).facts  # type: ignore[arg-type]
    assert fact == InstanceFacts("vastai", "2x A100 SXM4", "A100 80GB", 2.0, 81920 * MIB)


def test_a_failing_model_does_not_affect_the_others(server: JsonServer) -> None:
    def reply(request: ReceivedRequest) -> Reply:
        return Reply({}, 500) if request.body["gpu_name"]["in"] == ["L4"] else Reply({"offers": [offer(7.96, 4.1)]})

    server.script("/api/v0/bundles/", reply)
    result = market(server).fetch(wanted("vastai", ("US", "4x H100 SXM"), ("US", "1x L4")), NOW)
    assert len(result.prices) == 2
    assert result.problems == (f"vast: POST {server.host}/api/v0/bundles/: HTTP 500: {{}}",) * 2


@pytest.mark.parametrize("body", [{}, {"offers": {"id": 1}}, {"success": False, "error": "auth"}])
def test_a_response_of_another_form_is_an_error(server: JsonServer, body: object) -> None:
    server.on("/api/v0/bundles/", Reply(body))
    message = r"vast: offers of H100 SXM: not a response of vast\.ai's offers: offers: .* is not a list"
    with pytest.raises(PriceSourceError, match=message):
        market(server).fetch(wanted("vastai", ("US", "4x H100 SXM")), NOW)


def test_the_market_is_not_queried_for_a_rented_machine_or_an_invalid_type(server: JsonServer) -> None:
    names = ("C.12345678", "H100", "0x H100", "4xH100", "gpu")
    result = market(server).fetch(wanted("vastai", *(("US", name) for name in names)), NOW)
    assert (result.prices, result.problems) == ((), ())
    assert {want.instance_type for want in result.requested} == set(names[1:]), "what is misspelt is said"
    assert server.requests == []


# --- rented machines ---


def machine(number: int, usd: float, **changes: Any) -> Offer:
    """A rented machine as the API gives it."""
    return {
        **offer(99.0, 77.0, gpus=2, gpu_name="RTX 4090", gpu_ram=24564),
        "id": number,
        "cur_state": "running",
        "actual_status": "running",
        "intended_status": "running",
        "dph_total": usd,
        "cpu_cores_effective": 15.5,
        **changes,
    }


def rented(server: JsonServer, machines: object, key_file: str = "") -> Catalogue:
    server.on("/api/v1/instances/", Reply({"instances": machines}))
    return VastRented(f"{server.url}/api", 600.0, api("vast_rented", key_file)).fetch(PriceRequests(), NOW)


def test_a_rented_machine_has_the_price_of_its_contract_with_its_disk(server: JsonServer) -> None:
    machines = [machine(101, 0.8123), machine(102, 0.31, is_bid=True), machine(103, 2.05)]
    assert dollars(rented(server, machines)) == {
        ("", "C.101", ON_DEMAND): 0.8123,
        ("", "C.102", SPOT): 0.31,
        ("", "C.103", ON_DEMAND): 2.05,
    }


def test_a_machine_on_two_pages_counts_once_and_at_two_rates_has_no_price(server: JsonServer) -> None:
    machines = [machine(101, 0.81), machine(102, 0.3), machine(101, 0.81), machine(102, 0.4)]
    result = rented(server, machines)
    assert dollars(result) == {("", "C.101", ON_DEMAND): 0.81}
    assert len(result.prices) == 1
    assert result.problems == ("vast_rented: C.102: 2 prices in one response: $0.3, $0.4; none used",)


def test_an_error_with_status_200_is_reported(server: JsonServer) -> None:
    server.on("/api/v0/bundles/", Reply({"success": False, "error": "maintenance", "msg": "back\nsoon"}))
    with pytest.raises(PriceSourceError, match=r"not a response of vast.ai's offers: .*; its message: back soon"):
        market(server).fetch(wanted("vastai", ("US", "4x H100 SXM")), NOW)


def test_a_key_repeated_in_a_response_is_not_shown(server: JsonServer, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY)
    server.on("/api/v1/instances/", Reply({"error": f"no such user {KEY}"}))
    with pytest.raises(PriceSourceError, match=r"no such user \(secret\)"):
        VastRented(f"{server.url}/api", 600.0, api("vast_rented", str(tmp_path / "key"))).fetch(PriceRequests(), NOW)


def test_a_rented_machine_is_priced_since_it_was_rented_and_described(server: JsonServer) -> None:
    result = rented(server, [machine(101, 0.8123)])
    assert result.prices[0].steps[0].ts == -math.inf
    assert result.facts == (InstanceFacts("vastai", "C.101", "RTX 4090", 2.0, 24564 * MIB, 15.5),)


@pytest.mark.parametrize("state", ["stopped", "unloaded", None])
def test_a_machine_without_a_running_contract_is_dropped_at_once(server: JsonServer, state: object) -> None:
    result = rented(server, [machine(101, 0.8), machine(102, 0.5, cur_state=state)])
    assert list(dollars(result)) == [("", "C.101", ON_DEMAND)]
    assert result.complete


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dph_total": None}, "vast_rented: machine 9: dph_total: None is not a number"),
        ({"dph_total": 0.0}, "vast_rented: machine 9: a price must be above 0"),
        ({"is_bid": None}, "vast_rented: machine 9: is_bid: None is neither true nor false"),
        ({"id": "x"}, "vast_rented: machine 'x': id: 'x' is not a number"),
    ],
)
def test_an_unexpected_machine_is_named_and_does_not_affect_the_others(
    server: JsonServer, changes: Offer, message: str
) -> None:
    result = rented(server, [{**machine(9, 0.8), **changes}, machine(10, 0.5)])
    assert list(dollars(result)) == [("", "C.10", ON_DEMAND)]
    (problem,) = result.problems
    assert problem.startswith(message)


def test_more_machines_than_can_be_priced_are_reported(server: JsonServer) -> None:
    result = rented(server, [machine(number, 0.5) for number in range(1, 502)])
    assert len(result.prices) == 500
    assert result.problems == ("vast_rented: 501 machines are running: only 500 are priced",)


def test_expired_credentials_are_an_error_without_the_key(server: JsonServer, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY)
    server.on("/api/v1/instances/", Reply({"success": False, "msg": f"bad key {KEY}"}, 403))
    source = VastRented(f"{server.url}/api", 600.0, api("vast_rented", str(tmp_path / "key")))
    with pytest.raises(PriceSourceError) as caught:
        source.fetch(PriceRequests(), NOW)
    assert f"vast_rented: GET {server.host}/api/v1/instances/: HTTP 403" in str(caught.value)
    assert KEY not in str(caught.value)
    assert server.requests[0].headers["Authorization"] == f"Bearer {KEY}"


def test_rented_machines_are_requested_only_with_a_key_and_the_market_is_watched_anyway() -> None:
    (only,) = make(PollerSettings(vast_instance_types=("8x H100 SXM",), vast_regions=("US",)))
    assert only.watched == {Want("vastai", "US", "8x H100 SXM"), Want("vastai", "any", "8x H100 SXM")}
    assert [each.name for each in make(PollerSettings(vast_api_key_file="k"))] == ["vast", "vast_rented"]


# --- pages ---


def pages_of(server: JsonServer, *pages: dict[str, Any]) -> None:
    """Each page refers to the next one by its token."""

    def reply(request: ReceivedRequest) -> Reply:
        token = request.query.get("after_token", "")
        return Reply(pages[int(token.removeprefix("page ") or 0)])

    server.script("/api/v1/instances/", reply)


def all_rented(server: JsonServer) -> Catalogue:
    return VastRented(f"{server.url}/api/v0", 600.0, api("vast_rented")).fetch(PriceRequests(), NOW)


def test_all_pages_of_rented_machines_are_read_from_version_1_of_the_api(server: JsonServer) -> None:
    pages_of(
        server,
        {"instances": [machine(n, 0.5) for n in range(1, 26)], "next_token": "page 1", "total_instances": 27},
        {"instances": [machine(n, 0.7) for n in (26, 27)], "next_token": None, "total_instances": 27},
    )
    result = all_rented(server)
    assert len(result.prices) == 27
    assert [request.path for request in server.requests[:2]] == ["/api/v1/instances/"] * 2
    assert server.requests[1].query == {"limit": "25", "after_token": "page 1"}


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"instances": [machine(26, 0.5)], "next_token": "page 1"}, "invalid next-page link"),
        ({"instances": None, "next_token": None}, "not a response of vast.ai's list"),
        ({"instances": [], "next_token": None, "total_instances": 30}, "1 of 30 instances received"),
    ],
    ids=["a circle", "no list", "a part"],
)
def test_missing_pages_are_an_error_without_a_price(server: JsonServer, second: dict[str, Any], message: str) -> None:
    pages_of(server, {"instances": [machine(1, 0.5)], "next_token": "page 1", "total_instances": 30}, second)
    with pytest.raises(PriceSourceError, match=message):
        all_rented(server)


def test_a_mirror_with_only_version_0_is_queried_there_and_the_end_of_version_0_is_reported(server: JsonServer) -> None:
    server.on("/api/v0/instances/", Reply({"instances": [machine(5, 0.5)]}))
    assert [price.key.instance_type for price in all_rented(server).prices] == ["C.5"]
    server.on("/api/v0/instances/", Reply({"error": "deprecated_endpoint"}, 410))
    with pytest.raises(PriceSourceError, match=r"/api/v1/instances/: HTTP 404"):
        all_rented(server)


@pytest.mark.parametrize("base", ["", "/v0", "/v1", "/v0/"])
def test_the_address_may_name_any_version_or_none(server: JsonServer, base: str) -> None:
    server.on("/api/v0/bundles/", Reply({"offers": [offer(7.96)]}))
    source = VastMarket(f"{server.url}/api{base}", frozenset(), 600.0, api("vast"))
    assert source.fetch(wanted("vastai", ("US", "4x H100 SXM")), NOW).prices


def test_a_name_in_command_line_spelling_is_pointed_out(server: JsonServer) -> None:
    result = fetch(server, [offer(0.4, gpu_name="RTX 4090", gpus=1)], ("US", "1x RTX_4090"))
    assert result.prices == ()
    assert result.reasons == {"1x RTX_4090": "vast.ai's API writes names with blanks: '1x RTX 4090'?"}


def test_a_new_kind_of_price_in_an_offer_is_noticed(server: JsonServer) -> None:
    assert fetch(server, [offer(7.96)]).unknown == ()
    assert fetch(server, [offer(7.96, dph_surge=1.0, colour="red")]).unknown == ("dph_surge",)


# --- the balance of the account ---


def test_the_balance_of_the_account_and_its_duration_are_known(server: JsonServer) -> None:
    server.on("/api/v0/users/current/", Reply({"credit": 12.5, "balance": 0.0}))
    result = rented(server, [machine(101, 0.75), machine(102, 0.5), machine(103, 9.0, cur_state="stopped")])
    (credit,) = result.credits
    assert (credit.usd, credit.as_of_ts, credit.spend_usd_per_hour) == (12.5, NOW, 1.25)
    assert credit.lasts_seconds == pytest.approx(10 * 3600)


def test_without_a_running_machine_credit_does_not_fall(server: JsonServer) -> None:
    server.on("/api/v0/users/current/", Reply({"credit": 12.5}))
    (credit,) = rented(server, []).credits
    assert (credit.spend_usd_per_hour, credit.lasts_seconds) == (0.0, None)


@pytest.mark.parametrize(
    "reply", [Reply({}, 403), Reply({}, 500), Reply(b"<html>"), Reply({"credit": "12.5"}), Reply({})], ids=str
)
def test_an_unreadable_balance_affects_no_price_and_is_reported(server: JsonServer, reply: Reply) -> None:
    server.on("/api/v0/users/current/", reply)
    result = rented(server, [machine(101, 0.75)])
    assert (len(result.prices), result.problems, result.credits) == (1, (), ())
    assert "the account's remaining credit is not known" in result.notes[-1]


def test_a_new_kind_of_price_of_a_rented_machine_is_noticed(server: JsonServer) -> None:
    assert rented(server, [machine(1, 0.5)]).unknown == ()
    assert rented(server, [machine(1, 0.5, surge_cost=1.0)]).unknown == ("surge_cost",)
