"""The real poller with the real Cloud Billing client at a local catalogue: what agents and Prometheus get."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from grpc import StatusCode
from tests.poller.asking import ask_price, get
from tests.prices.gcp_server import Fault
from tests.prices.gcp_source import serving, source
from tests.waiting import wait_for

from epochcost.poller.app import PollerApp
from epochcost.poller.poller_settings import PollerSettings

P4 = "n1-standard-16+nvidia-tesla-p4:1"
KEY = "AIzaSyTheKeyOfTheTest"


def machine(instance_type: str, option: str = "spot") -> dict[str, str]:
    location = {"provider": "gcp", "region": "us-central1", "zone": "us-central1-a"}
    return {**location, "instance_type": instance_type, "purchase_option": option}


def test_agents_get_the_price_of_the_region_with_the_gpus_of_the_name(tmp_path: Path) -> None:
    options = PollerSettings(web_listen_address=("127.0.0.1", 0), state_dir=str(tmp_path))
    with serving() as server, source(server) as prices:
        app = PollerApp(options, [prices])
        app.start()
        try:
            wait_for(lambda: ask_price(app.url, **machine(P4))[0] == 200, what="the price of a machine newly asked for")
            status, spot = ask_price(app.url, **machine(P4))
            assert (status, round(spot["usd_per_hour"], 3), spot["source"], spot["zone"]) == (200, 0.376, "gcp", "")
            assert round(spot["on_demand_usd_per_hour"], 2) == 1.36
            assert server.requested_services() == ["6F81-5844-456A"]
            page = get(f"{app.url}/metrics")[1]
            assert f'epochcost_instance_gpus{{gpu_model="P4",instance_type="{P4}",provider="gcp"}} 1.0' in page
            wait_for(
                lambda: ask_price(app.url, **machine("n1-standard-16"))[1].get("pending") is False, what="an answer"
            )
            status, error = ask_price(app.url, **machine("n1-standard-16"))
            assert (status, "does not specify its GPUs" in error["error"]) == (404, True)
        finally:
            app.stop()


def test_a_failing_catalogue_shows_in_health_and_log_without_the_key(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key_file = tmp_path / "key"
    key_file.write_text(KEY)
    options = PollerSettings(web_listen_address=("127.0.0.1", 0), state_dir=str(tmp_path / "state"))
    with serving() as server, source(server, api_key_file=str(key_file)) as prices, caplog.at_level(logging.INFO):
        server.faults = [Fault(StatusCode.PERMISSION_DENIED, f"API key {KEY} is not allowed", times=None)]
        app = PollerApp(options, [prices])
        app.start()
        try:
            ask_price(app.url, **machine(P4))
            metric = 'epochcost_price_source_success{source="gcp"} 0.0'
            wait_for(lambda: metric in get(f"{app.url}/metrics")[1], what="the failure")
            assert "PermissionDenied" in get(app.url + "/")[1]
            assert KEY not in get(app.url + "/")[1] + get(f"{app.url}/metrics")[1] + caplog.text
        finally:
            app.stop()
    assert "API key (secret) is not allowed" in caplog.text
