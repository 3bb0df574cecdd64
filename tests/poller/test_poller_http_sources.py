"""The real poller with every source over plain HTTP, against local servers with scripted answers."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.poller.asking import ask_price, get
from tests.prices import test_azure, test_digitalocean, test_lambda_cloud, test_oci, test_runpod, test_vast
from tests.prices.asking_http import KEY
from tests.prices.json_server import JsonServer, Reply
from tests.waiting import wait_for

from epochcost.poller.app import PollerApp
from epochcost.poller.poller_settings import PollerSettings
from epochcost.settings import load

NAMES = ("azure", "digitalocean", "lambda", "oci", "runpod", "vast", "vast_rented")
PRICE = "epochcost_instance_price_usd_per_hour"
AGE = "epochcost_instance_price_timestamp_seconds"


@pytest.fixture
def server() -> Iterator[JsonServer]:
    with JsonServer() as running:
        running.on("/azure", test_azure.page([test_azure.row(98.32), test_azure.spot(18.169536)]))
        running.on("/do/sizes", test_digitalocean.page([test_digitalocean.H100_8]))
        running.on("/lambda/instance-types", Reply({"data": test_lambda_cloud.TYPES}))
        running.on("/oci", Reply({"items": test_oci.PARTS}))
        running.on("/shapes", Reply({"items": [test_oci.H100, test_oci.A10]}))
        running.on("/runpod", Reply({"data": {"gpuTypes": [test_runpod.gpu()]}}))
        running.on("/vast/v0/bundles/", Reply({"offers": [test_vast.offer(15.2, 9.1, gpus=8)]}))
        running.on("/vast/v1/instances/", Reply({"instances": [test_vast.machine(101, 0.8123)]}))
        yield running


def settings(server: JsonServer, tmp_path: Path, **changes: str) -> PollerSettings:
    (tmp_path / "key").write_text(KEY)
    flags = {
        "web.listen-address": "127.0.0.1:0",
        "state.dir": str(tmp_path / "state"),
        "prices.sources": "azure,vast,runpod,lambda,digitalocean,oci",
        "prices.watch": "provider=*",
        "azure.url": f"{server.url}/azure",
        "azure.regions": "eastus",
        "azure.instance-types": test_azure.H100,
        "digitalocean.url": f"{server.url}/do",
        "lambda.url": f"{server.url}/lambda",
        "oci.url": f"{server.url}/oci",
        "oci.shapes-url": f"{server.url}/shapes",
        "oci.instance-types": "BM.GPU.H100.8,VM.GPU.A10.2",
        "runpod.url": f"{server.url}/runpod",
        "runpod.instance-types": "8x H100 SXM",
        "vast.url": f"{server.url}/vast",
        "vast.instance-types": "8x H100 SXM",
        **{f"{name}.api-key-file": str(tmp_path / "key") for name in ("digitalocean", "lambda", "runpod", "vast")},
    }
    return load(PollerSettings, "prices", {**flags, **changes}, {})


@contextmanager
def running(options: PollerSettings) -> Iterator[PollerApp]:
    app = PollerApp(options)
    app.start()
    try:
        yield app
    finally:
        app.stop()


def samples(app: PollerApp, metric: str, *labels: str) -> dict[Any, float]:
    families = text_string_to_metric_families(get(f"{app.url}/metrics")[1])
    matching = [s for family in families for s in family.samples if s.name == metric]
    return {tuple(s.labels[name] for name in labels): s.value for s in matching}


def all_succeeded(app: PollerApp, success: float = 1.0) -> bool:
    return samples(app, "epochcost_price_source_success", "source") == {(name,): success for name in NAMES}


def test_all_of_them_are_exported_with_their_source_and_age_and_one_spelling_of_the_gpu(
    server: JsonServer, tmp_path: Path
) -> None:
    started_at = time.time()
    with running(settings(server, tmp_path)) as app:
        wait_for(lambda: all_succeeded(app), what="an answer of every source")
        by_source = samples(app, PRICE, "source", "region", "instance_type", "purchase_option")
        assert by_source["azure", "eastus", test_azure.H100, "on_demand"] == 98.32
        assert by_source["azure", "eastus", test_azure.H100, "spot"] == 18.169536
        assert by_source["digitalocean", "", "gpu-h100x8-640gb", "on_demand"] == 23.92
        assert by_source["lambda", "", "gpu_8x_h100_sxm5", "on_demand"] == 31.92
        assert by_source["oci", "", "BM.GPU.H100.8", "on_demand"] == 80.0
        assert by_source["runpod", "community", "8x H100 SXM", "on_demand"] == 19.12
        assert by_source["runpod", "secure", "8x H100 SXM", "on_demand"] == 21.52
        assert by_source["vast", "any", "8x H100 SXM", "spot"] == 9.1
        assert by_source["vast_rented", "", "C.101", "on_demand"] == 0.8123
        assert all(started_at - 1 <= ts <= time.time() for ts in samples(app, AGE, *_LABELS).values())
        gpus = samples(app, "epochcost_instance_gpus", "provider", "instance_type", "gpu_model")
        eight = {provider for (provider, _, model), count in gpus.items() if (model, count) == ("H100", 8.0)}
        assert eight == {"azure", "digitalocean", "lambda", "oci", "runpod", "vastai"}


_LABELS = ("source", "region", "instance_type", "purchase_option")


def test_a_machine_rented_at_vast_pays_its_own_rate_and_not_the_markets(server: JsonServer, tmp_path: Path) -> None:
    with running(settings(server, tmp_path)) as app:
        wait_for(lambda: all_succeeded(app), what="an answer of every source")
        query = {"provider": "vastai", "instance_type": "C.101", "purchase_option": "on_demand"}
        for region in ("", "US"):
            status, response = ask_price(app.url, region=region, **query)
            assert (status, response["usd_per_hour"], response["source"]) == (200, 0.8123, "vast_rented")
        assert ask_price(app.url, region="US", **{**query, "purchase_option": "spot"})[0] == 404


def test_a_newly_rented_machine_is_looked_up_at_once(server: JsonServer, tmp_path: Path) -> None:
    with running(settings(server, tmp_path)) as app:
        wait_for(lambda: all_succeeded(app), what="an answer of every source")
        machines = [test_vast.machine(number, number / 100) for number in (101, 102)]
        server.on("/vast/v1/instances/", Reply({"instances": machines}))
        query = {"provider": "vastai", "region": "US", "instance_type": "C.102", "purchase_option": "on_demand"}
        document = wait_for(lambda: ask_price(app.url, **query)[1].get("usd_per_hour"), what="the new machine's price")
        assert document == 1.02


def test_a_market_price_of_any_region_is_never_charged(server: JsonServer, tmp_path: Path) -> None:
    with running(settings(server, tmp_path)) as app:
        wait_for(lambda: all_succeeded(app), what="an answer of every source")
        query = {"provider": "vastai", "region": "FR", "instance_type": "8x H100 SXM", "purchase_option": "spot"}
        response = wait_for(
            lambda: (a := ask_price(app.url, **query))[1].get("pending") is False and a, what="an answer"
        )
        assert response[0] == 404


def test_when_all_fail_the_last_prices_stay_with_their_age_and_no_key_is_logged(
    server: JsonServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = settings(server, tmp_path)
    with running(options) as app:
        wait_for(lambda: all_succeeded(app), what="an answer of every source")
        before, ages = samples(app, PRICE, *_LABELS), samples(app, AGE, *_LABELS)
    echo = Reply({"error": f"key {KEY} has expired"}, 401)
    for path in ("/azure", "/shapes"):  # they have no key
        server.on(path, Reply({}, 401))
    for path in ("/do/sizes", "/lambda/instance-types", "/runpod", "/vast/v0/bundles/", "/vast/v1/instances/"):
        server.on(path, echo)
    with caplog.at_level(logging.DEBUG), running(options) as app:
        wait_for(lambda: all_succeeded(app, success=0.0), what="a failure of every source")
        assert samples(app, PRICE, *_LABELS) == before
        assert samples(app, AGE, *_LABELS) == ages
        texts = caplog.text + get(f"{app.url}/")[1] + get(f"{app.url}/metrics")[1]
    assert "HTTP 401" in caplog.text
    assert KEY not in texts


@pytest.mark.parametrize(
    ("flag", "value", "response"),
    [
        ("azure.url", "ftp://x", "--azure.url: 'ftp://x' is not valid: expected http://HOST:PORT"),
        ("azure.url", "", "--azure.url: '' is not valid: expected http://HOST:PORT"),
        ("oci.url", "https://me@host/x", "without user and password"),
        ("azure.regions", "US East", "'US East' does not look like a region code, eastus"),
        ("azure.instance-types", "NC4as T4", "does not look like a size, Standard_NC4as_T4_v3"),
        ("vast.instance-types", "H100", "'H100' does not look like a count and a GPU, 4x H100 SXM"),
        ("vast.regions", "Texas", "'Texas' does not look like a country code, US"),
        ("oci.instance-types", "GPU.H100", "does not look like a shape, BM.GPU.H100.8"),
        ("runpod.interval", "-30", "expected a duration"),
    ],
)
def test_a_wrong_setting_is_named(server: JsonServer, tmp_path: Path, flag: str, value: str, response: str) -> None:
    with pytest.raises(ValueError, match=flag) as caught:
        settings(server, tmp_path, **{flag: value})
    assert response in str(caught.value)


@pytest.mark.parametrize("missing", ["azure.regions", "azure.instance-types"])
def test_azures_regions_and_sizes_are_given_together(server: JsonServer, tmp_path: Path, missing: str) -> None:
    with pytest.raises(ValueError, match=f"needs --{missing} too"):
        settings(server, tmp_path, **{missing: ""})
