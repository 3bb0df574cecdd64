"""The real poller over HTTP: prices, metrics, restarts, and the real boto3 against a simulated AWS."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.poller.asking import ask_price, get
from tests.poller.sources import ScriptedSource, price
from tests.prices.aws_server import AwsPriceServer, TypeFacts, capacity_block_twin, ec2_error, product, spot
from tests.waiting import wait_for

from epochcost.model import InstanceFacts, Node, PriceStep, PurchaseOption
from epochcost.poller.app import PollerApp, state_file
from epochcost.poller.poller_settings import PollerSettings
from epochcost.prices.price_source import Catalogue, PriceRequests, Source, Want
from epochcost.prices.remote import PriceSourceError, RemotePrice
from epochcost.settings import SettingsError

SPOT = {
    "provider": "aws",
    "region": "us-east-1",
    "zone": "us-east-1a",
    "instance_type": "p2.xlarge",
    "purchase_option": "spot",
}
DEMAND = {**SPOT, "purchase_option": "on_demand"}


def settings(tmp_path: Path, **changes: Any) -> PollerSettings:
    plain = PollerSettings(web_listen_address=("127.0.0.1", 0), state_dir=str(tmp_path / "state"))
    return dataclasses.replace(plain, **changes)  # type: ignore[arg-type]


@contextmanager
def running(options: PollerSettings, sources: Sequence[Source] | None = None) -> Iterator[PollerApp]:
    app = PollerApp(options, sources)
    app.start()
    try:
        yield app
    finally:
        app.stop()


def samples(url: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(get(f"{url}/metrics")[1])
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def value(url: str, metric: str, **labels: str) -> float | None:
    values = [v for (name, has), v in samples(url).items() if name == metric and labels.items() <= dict(has).items()]
    assert len(values) <= 1, f"{metric}{labels} has {len(values)} series"
    return values[0] if values else None


OWNED = {"owned_price_usd": 2000.0, "owned_years": 2.0, "owned_watts": 355.0, "owned_tariff": 0.12}


def test_the_owned_desktop_of_the_reference_is_priced_end_to_end(tmp_path: Path) -> None:
    with running(settings(tmp_path, prices_sources=("owned",), **OWNED)) as app:
        node = Node("me", "owned", "", "", "desktop", PurchaseOption.OWNED)
        quote = wait_for(lambda: _quote(app.url, node), what="the price")
        assert quote.price.usd_per_hour == 2000 / (2 * 8766) + 0.355 * 0.12
        assert math.isclose(quote.price.usd_per_hour, 0.1566771161305042, rel_tol=1e-15)
        assert (quote.price.steps[0].ts, quote.on_demand_usd_per_hour) == (-math.inf, None)
        exported = value(app.url, "epochcost_instance_price_usd_per_hour", provider="owned", purchase_option="owned")
        assert exported == quote.price.usd_per_hour


def _quote(url: str, node: Node):
    try:
        return RemotePrice(url, node).fetch(time.time())
    except PriceSourceError:
        return None


def test_spot_and_on_demand_of_the_real_client_reach_the_agent_and_the_scrape(
    tmp_path: Path, aws: AwsPriceServer
) -> None:
    now = float(int(time.time()))  # EC2 dates its changes in whole seconds
    aws.products = [product("p2.xlarge", "us-east-1", 0.9), capacity_block_twin("p2.xlarge", "us-east-1")]
    aws.spot_history = [
        spot("p2.xlarge", "us-east-1a", 0.28, now - 7200),
        spot("p2.xlarge", "us-east-1a", 0.30, now - 600),
        spot("p2.xlarge", "us-east-1b", 0.40, now - 600),
    ]
    aws.types = [TypeFacts("p2.xlarge", 4, 61 * 1024, "K80", 1, 12 * 1024)]
    options = settings(tmp_path, aws_regions=("us-east-1",), aws_instance_types=("p2.xlarge",), prices_sources=("aws",))
    with running(options) as app:
        wait_for(lambda: ask_price(app.url, **SPOT)[0] == 200 and ask_price(app.url, **DEMAND)[0] == 200, 30, "prices")
        quote = RemotePrice(app.url, Node("n", *list(SPOT.values())[:4], PurchaseOption.SPOT)).fetch(now)  # type: ignore[arg-type, call-arg]
        assert [s.ts for s in quote.price.steps] == [now - 7200, now - 600]
        assert [s.usd_per_hour for s in quote.price.steps] == [0.28, 0.30]
        assert quote.on_demand_usd_per_hour == 0.9
        status, demand = ask_price(app.url, **DEMAND)
        assert (status, demand["usd_per_hour"], demand["zone"], demand["source"]) == (200, 0.9, "", "aws")
        status, other = ask_price(app.url, **{**SPOT, "zone": "us-east-1c"})
        assert status == 404  # neither the neighbour's nor the on-demand price
        assert "no spot price is known for 'p2.xlarge' of 'aws' in 'us-east-1c'" in other["error"]
        price_of = {"instance_type": "p2.xlarge", "purchase_option": "spot"}
        metric = "epochcost_instance_price_usd_per_hour"
        assert value(app.url, metric, zone="us-east-1a", **price_of) == 0.30
        assert value(app.url, metric, zone="us-east-1b", **price_of) == 0.40
        assert value(app.url, "epochcost_instance_gpus", gpu_model="K80") == 1
        assert value(app.url, "epochcost_instance_gpu_memory_bytes", instance_type="p2.xlarge") == 12 * 1024**3
        wait_for(lambda: value(app.url, "epochcost_price_source_success", source="aws_spot") == 1, what="the success")


def test_an_unknown_type_is_fetched_within_a_minute_of_an_agents_request(tmp_path: Path, aws: AwsPriceServer) -> None:
    aws.products = [product("p2.xlarge", "us-east-1", 0.9)]
    aws.spot_history = [spot("p2.xlarge", "us-east-1a", 0.28, time.time() - 60)]
    with running(settings(tmp_path)) as app:  # nothing is watched; the listed price of 2016 is known
        wait_for(lambda: get(f"{app.url}/-/ready")[0] == 200, 30, "readiness")
        first = ask_price(app.url, **DEMAND)
        assert (first[0], first[1]["pending"]) == (404, True)  # and not the price of 2016 in the meantime
        wait_for(lambda: ask_price(app.url, **DEMAND)[0] == 200, 60, "the on-demand price")
        assert ask_price(app.url, **DEMAND)[1]["source"] == "aws"
        wait_for(lambda: ask_price(app.url, **SPOT)[0] == 200, 60, "the spot price")


def test_a_dated_price_is_used_where_the_live_source_has_none(
    tmp_path: Path, aws: AwsPriceServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with running(settings(tmp_path)) as app:
        wait_for(lambda: ask_price(app.url, **DEMAND)[0] == 200, 30, "the listed price")
        document = ask_price(app.url, **DEMAND)[1]
        assert (document["usd_per_hour"], document["source"]) == (0.9, "listed")
        assert document["fetched_ts"] == 1538352000.0  # the date of the row: October 2018
        assert value(app.url, "epochcost_price_source_success", source="aws") is None  # skipped, neither 0 nor 1
        assert "no AWS credentials found" in ask_price(app.url, **SPOT)[1]["error"]


def timeless(document: Mapping[str, object]) -> dict[str, Any]:
    """A response without its timestamp; it keeps the poller's id."""
    assert isinstance(document["now"], float)
    return {name: value for name, value in document.items() if name != "now"}


def test_the_last_good_prices_survive_a_restart_without_any_network(
    tmp_path: Path, aws: AwsPriceServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws.spot_history = [spot("p2.xlarge", "us-east-1a", 0.28, time.time() - 60)]
    options = settings(tmp_path, aws_regions=("us-east-1",), aws_instance_types=("p2.xlarge",))
    with running(options) as app:
        wait_for(lambda: ask_price(app.url, **SPOT)[0] == 200, 30, "the spot price")
        before = ask_price(app.url, **SPOT)[1]
        metric, key = "epochcost_price_source_last_success_timestamp_seconds", {"source": "aws_spot"}
        last_success = wait_for(lambda: value(app.url, metric, **key), what="the last success")
    monkeypatch.setenv("AWS_ENDPOINT_URL_EC2", "http://127.0.0.1:9")
    with running(options) as app:
        assert timeless(ask_price(app.url, **SPOT)[1]) == timeless(before), "at once, with its true age"
        assert get(f"{app.url}/-/ready")[0] == 200
        wait_for(lambda: value(app.url, "epochcost_price_source_success", **key) == 0, 30, "the failure")
        assert timeless(ask_price(app.url, **SPOT)[1]) == timeless(before)
        assert value(app.url, metric, **key) == last_success
        assert value(app.url, "epochcost_price_source_failures_total", **key) == 1


def test_a_spot_price_that_changes_later_extends_the_history(tmp_path: Path, aws: AwsPriceServer) -> None:
    now = time.time()
    aws.spot_history = [spot("p2.xlarge", "us-east-1a", 0.28, now - 600)]
    options = settings(tmp_path, aws_regions=("us-east-1",), aws_instance_types=("p2.xlarge",), aws_spot_interval=0.5)
    with running(options) as app:
        wait_for(lambda: ask_price(app.url, **SPOT)[0] == 200, 30, "the spot price")
        # The change of five minutes ago is published only now, and the first steps are no longer in the response.
        aws.spot_history = [spot("p2.xlarge", "us-east-1a", 0.35, now - 300)]
        document = wait_for(
            lambda: (response := ask_price(app.url, **SPOT)[1])["usd_per_hour"] == 0.35 and response,
            30,
            "the new price",
        )
        assert [step["usd_per_hour"] for step in document["steps"]] == [0.28, 0.35]
        assert document["steps"][1]["ts"] == pytest.approx(now - 300, abs=0.001)


def test_a_throttled_region_keeps_prices_and_is_reported(tmp_path: Path, aws: AwsPriceServer) -> None:
    aws.spot_history = [spot("p2.xlarge", zone, 0.28, time.time() - 60) for zone in ("us-east-1a", "eu-west-1a")]
    aws.faults = [ec2_error("DescribeSpotPriceHistory", "AuthFailure", "no", 401)]
    options = settings(tmp_path, aws_regions=("eu-west-1", "us-east-1"), aws_instance_types=("p2.xlarge",))
    with running(options) as app:
        wait_for(lambda: ask_price(app.url, **SPOT)[0] == 200, 30, "the price of the good region")
        wait_for(lambda: value(app.url, "epochcost_price_source_success", source="aws_spot") == 0, what="the failure")
        assert "AuthFailure" in get(app.url + "/")[1]


def scripted_source() -> ScriptedSource:
    return ScriptedSource(lambda wanted, now: Catalogue((price(0.9, at=now), price(2.0, zone="z", at=now))))


def test_a_scrape_causes_no_request_to_a_source(tmp_path: Path) -> None:
    source = scripted_source()
    with running(settings(tmp_path), [source]) as app:
        wait_for(lambda: value(app.url, "epochcost_price_source_success", source="scripted"), what="the first answer")
        for _ in range(20):
            get(f"{app.url}/metrics")
        assert len(source.requests) == 1


def test_a_scrape_passes_promtool_and_has_one_series_a_key(tmp_path: Path) -> None:
    def respond(requests: PriceRequests, now: float) -> Catalogue:
        facts = InstanceFacts("aws", "p2.xlarge", "K80", 1.0, 12, 4, 61)
        return Catalogue((price(0.9, at=now),), (facts, InstanceFacts("aws", "unsaid")))

    types = frozenset({Want("aws", "us-east-1", "p2.xlarge")})
    sources = [ScriptedSource(respond, name="listed"), ScriptedSource(respond, name="live", watched=types)]
    with running(settings(tmp_path), sources) as app:
        wait_for(lambda: value(app.url, "epochcost_price_source_success", source="live"), what="the first answer")
        status, body = get(f"{app.url}/metrics")
        assert status == 200
        assert body.count("epochcost_instance_price_usd_per_hour{") == 1
        assert "unsaid" not in body
        assert value(app.url, "epochcost_build_info") == 1
    linted = subprocess.run(["promtool", "check", "metrics"], input=body, capture_output=True, text=True, check=False)
    assert (linted.returncode, linted.stderr) == (0, "")


def test_a_future_price_is_neither_returned_nor_exported(tmp_path: Path) -> None:
    later = time.time() + 3600
    source = ScriptedSource(lambda wanted, now: Catalogue((price(0.9, since=later),)))
    with running(settings(tmp_path), [source]) as app:
        wait_for(lambda: not ask_price(app.url, **DEMAND)[1]["pending"], what="the answer")
        status, response = ask_price(app.url, **DEMAND)
        assert status == 404
        assert "the listed price starts only later" in response["error"]
        assert value(app.url, "epochcost_instance_price_usd_per_hour") is None


@pytest.mark.parametrize(
    ("parameters", "response"),
    [
        ({}, "purchase_option: '' is not known; allowed: on_demand, spot, reserved, owned"),
        ({**SPOT, "purchase_option": "cheap"}, "purchase_option: 'cheap' is not known"),
        ({**SPOT, "provider": ""}, "provider: must be given"),
        ({"purchase_option": "owned"}, "instance_type: must be given"),
        ({**SPOT, "region": "us\neast"}, "region: 'us\\neast' is not valid; allowed: 1 to 128 letters"),
        ({**SPOT, "instance_type": "x" * 129}, "instance_type: 'xxx"),
        ({**SPOT, "zone": "../../etc"}, "zone: '../../etc' is not valid"),
    ],
)
def test_a_bad_parameter_is_named(tmp_path: Path, parameters: dict[str, str], response: str) -> None:
    source = scripted_source()
    with running(settings(tmp_path), [source]) as app:
        status, document = ask_price(app.url, **parameters)
        assert (status, document["error"][: len(response)]) == (400, response)
        status, body = get(f"{app.url}/v1/price?provider=a&provider=b&purchase_option=spot")
        assert (status, json.loads(body)["error"]) == (400, "provider: given 2 times; allowed: once")


def test_a_corrupt_state_does_not_prevent_a_start(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "prices.json").write_bytes(b"\x00garbage")
    with running(settings(tmp_path), [scripted_source()]) as app:
        wait_for(lambda: ask_price(app.url, **DEMAND)[0] == 200, what="the price")
    assert (tmp_path / "state" / "prices.json.corrupt").exists()


def test_a_name_that_no_source_has_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = ("listed_fil", "owned", "*", "listed")
    PollerApp(settings(tmp_path, prices_precedence=names, prices_accept=("*", "aws_spott")), [scripted_source()])
    texts = [record.getMessage() for record in caplog.records if "named" in record.getMessage()]
    assert texts == [
        "--prices.precedence: no source in use is named 'listed_fil'",
        "--prices.accept: no source in use is named 'aws_spott'",
    ]


def test_a_state_directory_that_cannot_be_created_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=r"--state\.dir: .*file/state' cannot be written: Not a directory"):
        PollerApp(settings(tmp_path, state_dir=str(tmp_path / "file" / "state")), [])


def test_by_default_the_state_is_in_the_systems_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    own, home = str(tmp_path / "own"), str(tmp_path / "home")
    assert state_file("", {"STATE_DIRECTORY": own, "HOME": home}) == Path(own) / "prices.json"
    assert state_file("", {"HOME": home}) == Path(home) / ".local/state/epochcost/prices.json"
    blocked = str(tmp_path / "file" / "x")
    assert state_file("", {"STATE_DIRECTORY": blocked, "HOME": blocked}) is None
    assert state_file("", {}) is None


def test_a_users_list_wins_and_a_mistake_in_it_later_keeps_the_last_good_prices(tmp_path: Path) -> None:
    own = tmp_path / "own.csv"
    header = "provider,region,instance_type,purchase_option,usd_per_hour,date\n"
    own.write_text(header + "aws,us-east-1,p2.xlarge,on_demand,0.5,2020-01-01\n")
    options = settings(tmp_path, prices_sources=("listed",), listed_files=(str(own),))
    with running(options) as app:
        document = wait_for(
            lambda: (response := ask_price(app.url, **DEMAND))[0] == 200 and response[1], what="the price"
        )
        wait_for(lambda: ask_price(app.url, **DEMAND)[1]["source"] == "listed_file", what="the user's own price")
        assert ask_price(app.url, **DEMAND)[1]["usd_per_hour"] == 0.5, document
    own.write_text(header + "aws,us-east-1,p2.xlarge,on_demand,free,2020-01-01\n")
    with running(options) as app:
        wait_for(
            lambda: value(app.url, "epochcost_price_source_success", source="listed_file") == 0, what="the failure"
        )
        assert ask_price(app.url, **DEMAND)[1]["usd_per_hour"] == 0.5
        assert "line 2: column usd_per_hour: 'free'" in get(app.url + "/")[1].replace("&#x27;", "'")


RUN = """
import sys
from epochcost.poller.app import run
from epochcost.poller.poller_settings import PollerSettings
sys.exit(run(PollerSettings(web_listen_address=("127.0.0.1", int(sys.argv[1])), state_dir=sys.argv[2],
                            prices_sources=("listed",))))
"""


def test_the_program_shuts_down_cleanly_on_sigterm(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, "0", str(tmp_path)], stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    assert process.stderr is not None
    with process.stderr:
        lines: list[str] = []
        for line in process.stderr:
            lines.append(line)
            if "http://127.0.0.1:" in line:
                break
        url = lines[-1].split(" at ")[1].strip()
        assert get(f"{url}/-/healthy")[0] == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0, "".join([*lines, process.stderr.read()])


def test_an_address_in_use_ends_the_program_with_a_reason(tmp_path: Path) -> None:
    with running(settings(tmp_path), [scripted_source()]) as app:
        completed = subprocess.run(
            [sys.executable, "-c", RUN, str(app.port), str(tmp_path)], capture_output=True, text=True, check=False
        )
    assert completed.returncode == 1
    assert str(app.port) in completed.stderr
    assert "Traceback" not in completed.stderr


def test_the_complete_history_of_a_price_is_returned(tmp_path: Path) -> None:
    now = time.time()

    def respond(requests: PriceRequests, at: float) -> Catalogue:
        steps = tuple(PriceStep(now - 100 + n, 1.0 + n) for n in range(3))
        return Catalogue((dataclasses.replace(price(1.0, at=at), steps=steps),))

    with running(settings(tmp_path), [ScriptedSource(respond)]) as app:
        document = wait_for(
            lambda: (response := ask_price(app.url, **DEMAND))[0] == 200 and response[1], what="the price"
        )
        assert document["usd_per_hour"] == 3.0
        assert [(s["ts"], s["usd_per_hour"]) for s in document["steps"]] == [(now - 100 + n, 1.0 + n) for n in range(3)]
        assert document["v"] == 1


def test_the_next_scrape_has_the_prices_returned_to_an_agent_however_many_there_are(tmp_path: Path) -> None:
    """Thousands of prices take a tenth of a second to render for scrapes: until then agents get the old ones."""
    rise = [1.0]
    types = frozenset(
        {Want("aws", "us-east-1", f"t{n}.large") for n in range(2000)} | {Want("aws", "us-east-1", "p2.xlarge")}
    )

    def respond(requests: PriceRequests, now: float) -> Catalogue:
        rise[0] += 0.01
        prices = [price(rise[0], instance_type=f"t{n}.large", at=now) for n in range(2000)]
        return Catalogue((price(rise[0], at=now), *prices))

    values_seen = set()
    with running(settings(tmp_path), [ScriptedSource(respond, watched=types, refresh_seconds=0.3)]) as app:
        wait_for(lambda: ask_price(app.url, **DEMAND)[0] == 200, what="the first price")
        deadline = time.monotonic() + 30
        while len(values_seen) < 6 and time.monotonic() < deadline:
            options = ask_price(app.url, **DEMAND)[1]["steps"][-1]["usd_per_hour"]
            exported = value(app.url, "epochcost_instance_price_usd_per_hour", instance_type="p2.xlarge")
            assert exported >= options, "a scrape is never behind a response to an agent"
            values_seen.add(options)
    assert len(values_seen) >= 6


MISSPELT = Want("aws", "us-east-1", "p2.xlagre")


def misspelt(requests: PriceRequests, now: float) -> Catalogue:
    return Catalogue(
        (price(0.9, at=now),),
        requested=requests.items,
        names=frozenset({"p2.xlarge"}),
        unknown=("marketoption=Lottery",),
    )


def test_a_requested_type_without_a_price_is_a_metric_a_log_line_and_in_the_response(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = ScriptedSource(misspelt, watched=frozenset({MISSPELT, Want("aws", "us-east-1", "p2.xlarge")}))
    with running(settings(tmp_path), [source]) as app:
        name = {"source": "scripted"}
        wait_for(lambda: value(app.url, "epochcost_price_source_unpriced_types", **name) == 1, what="the metric")
        assert value(app.url, "epochcost_price_source_success", **name) == 1, "no failure of the source"
        query = {"provider": "aws", "region": "us-east-1", "zone": "", "purchase_option": "on_demand"}
        status, response = ask_price(app.url, **query, instance_type="p2.xlagre")
        assert status == 404
        assert "Nearest: p2.xlarge" in response["error"]
        page = get(f"{app.url}/")[1]
        assert "scripted: p2.xlagre: no price in us-east-1" in page
        assert "marketoption=Lottery" in page
        wait_for(
            lambda: value(app.url, "epochcost_price_source_unknown_fields_total", **name) == 1,
            what="the new kind counted",
        )
    assert len([r for r in caplog.records if "p2.xlagre" in r.getMessage()]) == 1
    assert len([r for r in caplog.records if "marketoption=Lottery" in r.getMessage()]) == 1


def test_types_no_longer_requested_are_not_reported_missing(tmp_path: Path) -> None:
    wants = iter([frozenset({MISSPELT}), frozenset[Want]()])

    def respond(requests: PriceRequests, now: float) -> Catalogue:
        return Catalogue(requested=next(wants, frozenset()))

    source = ScriptedSource(respond, refresh_seconds=0.3)
    with running(settings(tmp_path), [source]) as app:
        wait_for(lambda: len(source.requests) > 1, what="two questions")
        wait_for(
            lambda: value(app.url, "epochcost_price_source_unpriced_types", source="scripted") == 0,
            what="nothing missing",
        )
