"""RunPod's GraphQL against a local server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.prices.asking_http import GIB, KEY, NOW, ON_DEMAND, SPOT, api, dollars, wanted
from tests.prices.json_server import JsonServer, ReceivedRequest, Reply, Script

from epochcost.model import InstanceFacts
from epochcost.poller.poller_settings import PollerSettings
from epochcost.prices.price_source import Catalogue, PriceSourceError, Want
from epochcost.prices.runpod import RunPod, make
from epochcost.prices.store import PriceStore

Row = dict[str, Any]


def gpu(name: str = "H100 SXM", gpu_id: str = "NVIDIA H100 80GB HBM3", memory: int = 80, **changes: Any) -> Row:
    return {
        "id": gpu_id,
        "displayName": name,
        "memoryInGb": memory,
        "maxGpuCount": 8,
        "secureCloud": True,
        "communityCloud": True,
        "securePrice": 2.69,
        "communityPrice": 2.39,
        "secureSpotPrice": 2.49,
        "communitySpotPrice": 2.19,
        "lowestPrice": {"minimumBidPrice": 0.01, "uninterruptablePrice": 0.02},
        **changes,
    }


L4 = gpu("L4", "NVIDIA L4", 24, securePrice=0.43, communityPrice=None, secureSpotPrice=0.25, communitySpotPrice=None)
MI300X = gpu("MI300X", "AMD Instinct MI300X OAM", 192, securePrice=2.49, communityCloud=False)


def fetch(server: JsonServer, gpus: object, *places: tuple[str, str]) -> Catalogue:
    server.on("/graphql", Reply({"data": {"gpuTypes": gpus}}))
    return source(server).fetch(wanted("runpod", *places), NOW)


def source(server: JsonServer, key_file: str = "") -> RunPod:
    return RunPod(f"{server.url}/graphql", frozenset(), 1800.0, api("runpod", key_file))


def test_prices_are_per_gpu_and_the_two_clouds_are_separate(server: JsonServer) -> None:
    places = [("secure", "1x H100 SXM"), ("community", "1x H100 SXM"), ("secure", "8x H100 SXM"), ("secure", "2x L4")]
    result = fetch(server, [gpu(), L4, MI300X], *places)
    assert dollars(result) == {
        ("secure", "1x H100 SXM", ON_DEMAND): 2.69,
        ("secure", "1x H100 SXM", SPOT): 2.49,
        ("community", "1x H100 SXM", ON_DEMAND): 2.39,
        ("community", "1x H100 SXM", SPOT): 2.19,
        ("secure", "8x H100 SXM", ON_DEMAND): 21.52,  # 8 x 2.69
        ("secure", "8x H100 SXM", SPOT): 19.92,  # 8 x 2.49
        ("secure", "2x L4", ON_DEMAND): 0.86,  # 2 x 0.43
        ("secure", "2x L4", SPOT): 0.50,  # 2 x 0.25
    }
    assert len(server.requests) == 1


def test_the_lowest_price_of_both_clouds_is_neither_requested_nor_used(server: JsonServer) -> None:
    fetch(server, [gpu()], ("secure", "1x H100 SXM"))
    assert "lowestPrice" not in server.requests[0].body["query"]


def test_a_cloud_that_does_not_offer_a_model_has_no_price_for_it(server: JsonServer) -> None:
    assert fetch(server, [MI300X], ("community", "1x MI300X")).prices == ()


def test_more_gpus_than_a_machine_has_have_no_price(server: JsonServer) -> None:
    result = fetch(server, [gpu(maxGpuCount=4)], ("secure", "8x H100 SXM"))
    assert (result.prices, result.reasons) == ((), {"8x H100 SXM": "at most 4 GPUs can be rented together"})


def test_each_cloud_has_its_own_bound_of_gpus(server: JsonServer) -> None:
    row = gpu(maxGpuCount=8, maxGpuCountSecureCloud=8, maxGpuCountCommunityCloud=2)
    result = fetch(server, [row], ("secure", "4x H100 SXM"), ("community", "4x H100 SXM"), ("community", "2x H100 SXM"))
    assert {(key[0], key[1]) for key in dollars(result)} == {("secure", "4x H100 SXM"), ("community", "2x H100 SXM")}


@pytest.mark.parametrize("places", [[], [("secure", "H100 SXM")], [("secure", "0x L4")]])
def test_there_is_no_request_while_no_type_is_wanted(server: JsonServer, places: list[tuple[str, str]]) -> None:
    result = fetch(server, [gpu()], *places)
    assert (result.prices, result.problems) == ((), ())
    assert set(result.reasons) == {name for _, name in places}, "what is misspelt is said"
    assert server.requests == []


@pytest.mark.parametrize("name", ["MIG 1g.24gb", "RTX PRO 6000 MIG 1g.24gb"])
def test_a_slice_of_a_gpu_is_not_offered_as_one(server: JsonServer, name: str) -> None:
    assert fetch(server, [gpu(name)], ("secure", f"1x {name}")).prices == ()
    assert fetch(server, [gpu("X", f"NVIDIA {name}")], ("secure", "1x X")).prices == ()


def test_a_price_that_is_null_while_out_of_stock_stays_with_its_age(server: JsonServer) -> None:
    store = PriceStore(None, ["runpod"])
    store.put("runpod", fetch(server, [gpu()], ("secure", "1x H100 SXM")), NOW)
    missing = fetch(server, [gpu(securePrice=None, secureSpotPrice=2.5)], ("secure", "1x H100 SXM"))
    assert missing.problems == ()
    store.put("runpod", missing, NOW + 1800)
    prices = {key.purchase_option: price for key, price in store.merged.prices.items()}
    assert (prices[ON_DEMAND].usd_per_hour, prices[ON_DEMAND].fetched_ts) == (2.69, NOW)
    assert prices[SPOT].usd_per_hour == 2.5


def test_a_price_of_zero_is_absent_and_affects_no_other_price(server: JsonServer) -> None:
    result = fetch(server, [gpu(securePrice=0, communityPrice=0.0)], ("secure", "1x H100 SXM"))
    assert dollars(result) == {("secure", "1x H100 SXM", SPOT): 2.49}
    assert result.problems == ()


def test_facts_of_a_type_come_from_the_same_response(server: JsonServer) -> None:
    facts = {
        f.instance_type: f
        for f in fetch(server, [gpu(), MI300X], ("secure", "8x H100 SXM"), ("secure", "1x MI300X")).facts
    }
    assert facts["8x H100 SXM"] == InstanceFacts("runpod", "8x H100 SXM", "H100", 8.0, 80 * GIB)
    assert facts["1x MI300X"].gpu_model == "MI300X"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"errors": [{"message": "Something went wrong"}], "data": None}, "runpod: gpuTypes: Something went wrong"),
        ({"errors": ["odd"]}, "runpod: gpuTypes: odd"),
        ({"errors": {"message": "x"}, "data": {"gpuTypes": []}}, "runpod: gpuTypes: x"),
        ({"data": None}, "runpod: gpuTypes: not a response of RunPod's API: data: None is not an object"),
        (
            {"data": {"gpuTypes": [None]}},
            "runpod: gpuTypes: not a response of RunPod's API: gpuTypes: None in it is not an object",
        ),
    ],
)
def test_an_error_that_arrives_as_a_success_is_an_error(server: JsonServer, body: object, message: str) -> None:
    server.on("/graphql", Reply(body))
    with pytest.raises(PriceSourceError) as caught:
        source(server).fetch(wanted("runpod", ("secure", "1x H100 SXM")), NOW)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"securePrice": "2.69"}, "runpod: 1x H100 SXM: securePrice: '2.69' is not a number"),
        ({"maxGpuCount": "many"}, "runpod: 1x H100 SXM: maxGpuCount: 'many' is not a number"),
        ({"securePrice": -1}, "runpod: 1x H100 SXM: a price must be above 0"),
    ],
)
def test_an_unexpected_model_is_named_and_does_not_affect_the_others(
    server: JsonServer, changes: Row, message: str
) -> None:
    result = fetch(server, [{**gpu(), **changes}, L4], ("secure", "1x H100 SXM"), ("secure", "1x L4"))
    assert ("secure", "1x L4", ON_DEMAND) in dollars(result)
    (problem,) = result.problems
    assert problem.startswith(message)


def test_a_key_is_sent_as_a_bearer_where_there_is_one(server: JsonServer, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY)
    server.on("/graphql", Reply({"data": {"gpuTypes": [gpu()]}}))
    source(server, str(tmp_path / "key")).fetch(wanted("runpod", ("secure", "1x H100 SXM")), NOW)
    assert {request.headers["Authorization"] for request in server.requests} == {f"Bearer {KEY}"}
    assert all(request.query == {} for request in server.requests)


def test_watched_types_are_watched_in_both_clouds() -> None:
    (source_made,) = make(PollerSettings(runpod_instance_types=("8x H100 SXM",)))
    assert source_made.watched == {Want("runpod", "secure", "8x H100 SXM"), Want("runpod", "community", "8x H100 SXM")}


# --- a schema that changes, and partial responses ---


def no_field(name: str, quote: str = '"') -> dict[str, Any]:
    return {"errors": [{"message": f"Cannot query field {quote}{name}{quote} on type {quote}GpuType{quote}."}]}


@pytest.mark.parametrize("status", [400, 200])
def test_removed_fields_affect_no_on_demand_price(server: JsonServer, status: int) -> None:
    server.on(
        "/graphql",
        Reply(no_field("secureSpotPrice"), status),
        Reply(no_field("communitySpotPrice", "'"), status),
        Reply({"data": {"gpuTypes": [gpu(secureSpotPrice=None, communitySpotPrice=None)]}}),
    )
    result = source(server).fetch(wanted("runpod", ("secure", "1x H100 SXM")), NOW)
    assert dollars(result) == {("secure", "1x H100 SXM", ON_DEMAND): 2.69}
    assert [note for note in result.notes if "secureSpotPrice" in note]
    assert "SpotPrice" not in server.requests[-1].body["query"]


def test_a_removed_required_field_is_an_error(server: JsonServer) -> None:
    server.on("/graphql", Reply(no_field("displayName"), 400))
    with pytest.raises(PriceSourceError, match="displayName"):
        source(server).fetch(wanted("runpod", ("secure", "1x H100 SXM")), NOW)
    assert len(server.requests) == 1


def _schema_without(*names: str) -> Script:
    """Responds as a server without those fields, and names two of them at a time."""

    def script(request: ReceivedRequest) -> Reply:
        missing = [name for name in names if f" {name} " in f"{request.body['query']} "][:2]
        if missing:
            return Reply({"errors": [no_field(name)["errors"][0] for name in missing]}, 400)
        return Reply({"data": {"gpuTypes": [{key: value for key, value in gpu().items() if key not in names}]}})

    return script


BOUNDS = ("maxGpuCount", "maxGpuCountSecureCloud", "maxGpuCountCommunityCloud")
PLACES = [("secure", "1x H100 SXM"), ("secure", "4x H100 SXM"), ("community", "1x H100 SXM")]


def test_without_the_bound_of_gpus_prices_per_gpu_stay(server: JsonServer) -> None:
    server.script("/graphql", _schema_without(*BOUNDS))
    result = dollars(source(server).fetch(wanted("runpod", *PLACES), NOW))
    assert result["secure", "1x H100 SXM", ON_DEMAND] == 2.69
    assert result["secure", "4x H100 SXM", ON_DEMAND] == 10.76
    assert dollars(fetch(server, [gpu(maxGpuCount=None)], *PLACES)) == result, "or is null"


def test_a_removed_price_of_one_cloud_does_not_affect_the_other(server: JsonServer) -> None:
    server.script("/graphql", _schema_without("communityPrice", "communitySpotPrice", "communityCloud"))
    result = source(server).fetch(wanted("runpod", *PLACES), NOW)
    assert {key[0] for key in dollars(result)} == {"secure"}
    assert [note for note in result.notes if "communityPrice" in note]


def test_a_schema_without_any_price_is_an_error(server: JsonServer) -> None:
    server.script("/graphql", _schema_without("securePrice", "communityPrice", "secureSpotPrice", "communitySpotPrice"))
    with pytest.raises(PriceSourceError, match="no longer has a price field"):
        source(server).fetch(wanted("runpod", *PLACES), NOW)


def test_a_duplicate_model_counts_once(server: JsonServer) -> None:
    assert dollars(fetch(server, [gpu(), gpu()], PLACES[0]))["secure", "1x H100 SXM", ON_DEMAND] == 2.69


def test_a_partial_response_is_used_and_reported(server: JsonServer) -> None:
    server.on("/graphql", Reply({"errors": [{"message": "timeout of one field"}], "data": {"gpuTypes": [gpu()]}}))
    result = source(server).fetch(wanted("runpod", ("secure", "1x H100 SXM")), NOW)
    assert ("secure", "1x H100 SXM", ON_DEMAND) in dollars(result)
    assert result.problems == ("runpod: gpuTypes: partial response: timeout of one field",)


def test_two_models_of_one_name_have_no_price_and_are_reported(server: JsonServer) -> None:
    forty = gpu("A100 SXM", "NVIDIA A100-SXM4-40GB", memoryInGb=40, securePrice=1.19)
    eighty = gpu("A100 SXM", "NVIDIA A100-SXM4-80GB", memoryInGb=80, securePrice=1.89)
    result = fetch(server, [forty, eighty], ("secure", "1x A100 SXM"))
    assert result.prices == ()
    assert "NVIDIA A100-SXM4-40GB and NVIDIA A100-SXM4-80GB" in result.reasons["1x A100 SXM"]


def test_with_a_key_the_balance_of_the_account_is_known_too(server: JsonServer, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY)
    server.on(
        "/graphql",
        Reply({"data": {"gpuTypes": [gpu()]}}),
        Reply({"data": {"myself": {"clientBalance": 10.0, "currentSpendPerHr": 2.5}}}),
    )
    source_with_key = RunPod(f"{server.url}/graphql", frozenset(), 1800.0, api("runpod", str(tmp_path / "key")))
    (credit,) = source_with_key.fetch(wanted("runpod", ("secure", "1x H100 SXM")), NOW).credits
    assert (credit.usd, credit.spend_usd_per_hour, credit.lasts_seconds) == (10.0, 2.5, 4 * 3600)


def test_a_rejected_balance_request_affects_no_price(server: JsonServer, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY)
    server.on("/graphql", Reply({"data": {"gpuTypes": [gpu()]}}), Reply({"errors": [{"message": "no"}], "data": None}))
    source_with_key = RunPod(f"{server.url}/graphql", frozenset(), 1800.0, api("runpod", str(tmp_path / "key")))
    result = source_with_key.fetch(wanted("runpod", ("secure", "1x H100 SXM")), NOW)
    assert (len(result.prices), result.problems, result.credits) == (2, (), ())
    assert "the account's remaining credit is not known" in result.notes[0]


def test_a_model_with_an_error_is_reported_and_does_not_affect_the_others(server: JsonServer) -> None:
    errors = [{"message": "Something failed for one model", "path": ["gpuTypes", 1]}]
    server.on("/graphql", Reply({"data": {"gpuTypes": [L4, None]}, "errors": errors}))
    result = source(server).fetch(wanted("runpod", ("secure", "1x L4")), NOW)
    assert dollars(result)["secure", "1x L4", ON_DEMAND] == 0.43
    assert result.problems == ("runpod: gpuTypes: partial response: Something failed for one model",)


def test_a_model_that_is_null_without_an_error_is_left_out_and_reported(server: JsonServer) -> None:
    server.on("/graphql", Reply({"data": {"gpuTypes": [L4, None]}}))
    result = source(server).fetch(wanted("runpod", ("secure", "1x L4")), NOW)
    assert dollars(result)["secure", "1x L4", ON_DEMAND] == 0.43
    assert result.problems == ("runpod: 1 row left out: gpuTypes: None is not an object",)


def test_an_invalid_spot_price_does_not_affect_the_on_demand_price(server: JsonServer) -> None:
    result = fetch(server, [{**gpu(), "secureSpotPrice": "soon"}], ("secure", "1x H100 SXM"))
    assert list(dollars(result)) == [("secure", "1x H100 SXM", ON_DEMAND)]
    assert result.problems == ("runpod: 1x H100 SXM: secureSpotPrice: 'soon' is not a number",)
