"""The catalogue under faults: pages, credentials, retries and error messages."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from grpc import StatusCode
from tests.prices.gcp_server import COMPUTE, Fault, GcpRestServer, GcpServer, recorded, sku
from tests.prices.gcp_source import DAY, NOW, QUICK, dollars, fetch, serving, source, wanted
from tests.prices.json_server import JsonServer, Reply

from epochcost.poller.poller_settings import PollerSettings
from epochcost.prices.gcp.gcp_client import PAGE_SIZE, GcpCatalogue, Patience, google_client
from epochcost.prices.gcp.gcp_sources import REUSE_SECONDS, GcpPrices, make
from epochcost.prices.price_source import NotConfiguredError, PriceRequests, PriceSourceError, Want
from epochcost.settings import SettingsError, load

KEY = "AIzaSyTheKeyOfTheTest"
A2 = wanted("a2-highgpu-1g")


def error(server: GcpServer, patience: Patience = QUICK, key_file: str = "") -> str:
    with source(server, patience, key_file) as prices, pytest.raises(PriceSourceError) as caught:
        prices.fetch(A2, NOW)
    return str(caught.value)


def test_every_page_is_read_in_dollars() -> None:
    with serving() as server, source(server) as prices:
        assert dollars(prices.fetch(A2, NOW)) == {"a2-highgpu-1g": pytest.approx(3.673385)}
        assert len(server.requests) == -(-len(server.skus[COMPUTE]) // server.page_size) > 5
        assert {(request.currency_code, request.page_size) for request in server.requests} == {("USD", PAGE_SIZE)}


def test_a_pagination_loop_ends() -> None:
    with serving() as server:
        server.circle = True
        assert "pagination loop: a page token was repeated" in error(server)


def test_a_row_that_a_changing_list_gives_twice_counts_once() -> None:
    twice = next(row for row in recorded()[COMPUTE] if row["description"].startswith("A2 Instance Core"))
    with serving(twice) as server, source(server) as prices:
        assert dollars(prices.fetch(A2, NOW)) == {"a2-highgpu-1g": pytest.approx(3.673385)}


@pytest.mark.parametrize(
    "code", [StatusCode.UNAVAILABLE, StatusCode.RESOURCE_EXHAUSTED, StatusCode.INTERNAL, StatusCode.DEADLINE_EXCEEDED]
)
def test_a_transient_fault_on_any_page_is_retried(code: StatusCode) -> None:
    with serving() as server, source(server) as prices:
        server.faults = [Fault(code, times=2, page=3)]
        assert dollars(prices.fetch(A2, NOW)) == {"a2-highgpu-1g": pytest.approx(3.673385)}
        assert server.faults == []


def test_a_truncated_message_is_retried() -> None:
    with serving() as server, source(server) as prices:
        server.faults = [Fault(garbage=True, page=2)]
        assert dollars(prices.fetch(A2, NOW)) == {"a2-highgpu-1g": pytest.approx(3.673385)}


def test_a_permanent_fault_is_reported_with_service_and_page() -> None:
    with serving() as server:
        server.faults = [Fault(StatusCode.UNAVAILABLE, "backend is down", times=None, page=1)]
        message = error(server, Patience(attempt=1, page=0.2, service=5, first_pause=0.01))
    assert message.startswith(
        "gcp: ListSkus of Compute Engine (services/6F81-5844-456A), page 2: no response in 0.2 s: "
    )
    assert "backend is down" in message


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (StatusCode.PERMISSION_DENIED, "PermissionDenied"),
        (StatusCode.UNAUTHENTICATED, "Unauthenticated"),
        (StatusCode.INVALID_ARGUMENT, "InvalidArgument"),
    ],
)
def test_a_permission_error_is_not_retried(code: StatusCode, name: str) -> None:
    with serving() as server:
        server.faults = [Fault(code, "API key expired", times=None)]
        assert f"page 1: {name}: " in error(server)
        assert len(server.requests) == 1


def test_a_catalogue_that_hangs_times_out() -> None:
    with serving() as server:
        server.faults = [Fault(times=None, hang_seconds=30)]
        started_at = time.monotonic()
        message = error(server, Patience(attempt=0.2, page=0.5, service=5, first_pause=0.01))
        assert time.monotonic() - started_at < 5
    assert "page 1: no response in 0.5 s: DeadlineExceeded" in message


def test_a_catalogue_that_is_slow_on_every_page_times_out_too() -> None:
    with serving() as server:
        assert "timed out after 0 s and 1 pages" in error(server, Patience(service=0.0))


def test_an_unreachable_server_is_reported() -> None:
    with serving() as server:
        pass
    assert "page 1: ServiceUnavailable" in error(server, Patience(1, 0.3, 5, 0.01))


def test_the_key_of_the_file_is_sent_and_never_shown(tmp_path: Path) -> None:
    key_file = tmp_path / "key"
    key_file.write_text(f"{KEY}\n")
    with serving() as server:
        server.faults = [Fault(StatusCode.INVALID_ARGUMENT, f"API key {KEY} not valid", times=None)]
        message = error(server, key_file=str(key_file))
        assert set(server.api_keys) == {KEY}
    assert "API key (secret) not valid" in message
    assert KEY not in message


def test_the_key_goes_in_a_header_over_rest_too(tmp_path: Path) -> None:
    key_file = tmp_path / "key"
    key_file.write_text(KEY)
    server = GcpRestServer(recorded())
    catalogue = GcpCatalogue("gcp", str(key_file), server.client)
    assert dollars(GcpPrices(frozenset(), DAY, catalogue).fetch(A2, NOW)) == {"a2-highgpu-1g": pytest.approx(3.673385)}
    catalogue.forget()
    server.stop()
    assert set(server.api_keys) == {KEY}


def test_a_new_key_is_read_after_a_failure(tmp_path: Path) -> None:
    key_file = tmp_path / "key"
    key_file.write_text("old")
    with serving() as server, source(server, api_key_file=str(key_file)) as prices:
        server.faults = [Fault(StatusCode.UNAUTHENTICATED, "expired")]
        with pytest.raises(PriceSourceError, match="expired"):
            prices.fetch(A2, NOW)
        key_file.write_text("new")
        assert prices.fetch(A2, NOW).problems == ()
        assert [server.api_keys[0], server.api_keys[-1]] == ["old", "new"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file or directory"),
        ("", "must hold one word, the key"),
        ("a b", "must hold one word"),
        ("é", "ASCII"),
    ],
)
def test_a_key_file_without_a_key_is_reported_without_its_content(
    tmp_path: Path, content: str | None, message: str
) -> None:
    path = tmp_path / "key"
    if content is not None:
        path.write_text(content)
    with pytest.raises(PriceSourceError, match=message) as caught:
        GcpCatalogue("gcp", str(path)).connect()
    assert str(caught.value).startswith(f"gcp: --gcp.api-key-file {path}: ")
    assert "a b" not in str(caught.value)


def test_without_credentials_the_source_is_skipped_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    with pytest.raises(NotConfiguredError, match=r"--gcp\.api-key-file .*docs/prices/gcp\.md"):
        GcpCatalogue("gcp").connect()


PEM = "-----BEGIN PRIVATE KEY-----\nSECRET\n-----END PRIVATE KEY-----\n"


@pytest.mark.parametrize(
    "content",
    [
        '{"type": "service_account", "private_key": "SECRET"}',
        json.dumps({"type": "service_account", "client_email": "a@example.org", "token_uri": "x", "private_key": PEM}),
        '{"type": "authorized_user", "refresh_token": "SECRET"}',
        '{"type": "SECRET"}',
        'SECRET = "SECRET"',
        "",
    ],
    ids=["half a key", "no key at all in a key", "half a user", "another type", "no JSON", "empty"],
)
def test_credentials_that_are_broken_are_a_failure_and_not_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    path = tmp_path / "service-account.json"
    path.write_text(content)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    with pytest.raises(PriceSourceError) as caught:
        GcpCatalogue("gcp").connect()
    assert not isinstance(caught.value, NotConfiguredError)
    assert f"gcp: credentials {path} cannot be used: " in str(caught.value)
    if '"type": "SECRET"' not in content:  # which is not secret, and necessary in the message
        assert "SECRET" not in str(caught.value)


def test_the_real_client_uses_the_key_and_googles_endpoint() -> None:
    client = google_client(KEY)
    assert client.transport.host == "cloudbilling.googleapis.com:443"
    client.transport.close()


def test_types_requested_one_after_another_do_not_each_read_the_catalogue() -> None:
    with serving() as server, source(server) as prices:
        prices.fetch(A2, NOW)
        later = prices.fetch(wanted("g2-standard-4"), NOW + REUSE_SECONDS - 1)
        assert server.requested_services() == [COMPUTE]
        assert {price.fetched_ts for price in later.prices} == {NOW}  # as old as what was read
        newer = prices.fetch(A2, NOW + REUSE_SECONDS)
        assert server.requested_services() == [COMPUTE, COMPUTE]
        assert {price.fetched_ts for price in newer.prices} == {NOW + REUSE_SECONDS}


def test_a_clock_set_back_does_not_keep_old_rates() -> None:
    with serving() as server, source(server) as prices:
        prices.fetch(A2, NOW)
        server.skus = {COMPUTE: [*server.skus[COMPUTE], sku("A2 Instance Core running in Iowa", 1.0)]}
        assert "differ" in prices.fetch(A2, NOW - 3600).problems[0]


def test_nothing_wanted_reads_nothing() -> None:
    with serving() as server, source(server) as prices:
        assert prices.fetch(PriceRequests(), NOW).prices == ()
        assert server.requests == []


def test_settings_define_the_watched_types() -> None:
    options = PollerSettings(
        gcp_regions=("us-central1", "europe-west4"),
        gcp_machine_types=("a2-highgpu-1g", "n1-standard-16+nvidia-tesla-p4:1"),
        gcp_interval=3600.0,
    )
    (prices,) = make(options)
    assert (prices.name, prices.provider, prices.refresh_seconds) == ("gcp", "gcp", 3600.0)
    assert Want("gcp", "europe-west4", "n1-standard-16+nvidia-tesla-p4:1") in prices.watched
    assert len(prices.watched) == 4


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("gcp.regions", "us-central1-a", "'us-central1-a' does not look like a region, us-central1"),
        ("gcp.machine-types", "a2-highgpu-1g;b", "'a2-highgpu-1g;b' does not look like a machine, a2-highgpu-1g"),
        ("gcp.machine-types", "n1-standard-4+nvidia-tesla-t4", "does not look like a machine"),
        ("gcp.regions", "us-central1", "--gcp.regions needs --gcp.machine-types too"),
        ("gcp.machine-types", "v6e-8", "--gcp.machine-types needs --gcp.regions too"),
        ("gcp.interval", "0s", "expected a duration above 0"),
    ],
)
def test_a_bad_setting_names_its_value_and_the_allowed_ones(flag: str, value: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(PollerSettings, "prices", {flag: value}, {})
    assert message in str(caught.value)


def test_every_kind_of_machine_can_be_watched() -> None:
    kinds = (
        "a2-highgpu-1g,n1-standard-4+nvidia-tesla-t4:2,n1-standard-4+none,v6e-8,ct6e-standard-4t,vertex/a2-highgpu-1g"
    )
    flags = {"gcp.regions": "us-central1", "gcp.machine-types": kinds}
    assert ",".join(load(PollerSettings, "prices", flags, {}).gcp_machine_types) == kinds


# --- another endpoint, a proxy ---


def test_another_endpoint_is_queried_by_rest_with_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    (tmp_path / "key").write_text("key-of-the-test-0123456789")
    server = GcpRestServer(recorded())
    options = PollerSettings(
        gcp_url=server.url, gcp_api_key_file=str(tmp_path / "key"), gcp_regions=("us-central1",),
        gcp_machine_types=("a2-highgpu-1g",),
    )  # fmt: skip
    (source,) = make(options)
    try:
        catalogue = source.fetch(PriceRequests(source.watched), NOW)
    finally:
        source.catalogue.forget()
        server.stop()
    assert [
        price.key.instance_type for price in catalogue.prices if price.key.purchase_option.value == "on_demand"
    ] == ["a2-highgpu-1g"]
    assert set(server.api_keys) == {"key-of-the-test-0123456789"}


@pytest.mark.parametrize(
    ("proxies", "by_rest"),
    [
        ({}, False),
        ({"HTTPS_PROXY": "http://proxy.invalid:3128"}, True),
        ({"https_proxy": "http://proxy.invalid:3128"}, True),
        ({"HTTPS_PROXY": "http://proxy.invalid:3128", "NO_PROXY": "cloudbilling.googleapis.com"}, False),
        ({"HTTP_PROXY": "http://proxy.invalid:3128"}, False),
    ],
)
def test_a_proxy_of_the_environment_is_used(
    proxies: dict[str, str], by_rest: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in proxies.items():
        monkeypatch.setenv(name, value)
    client = google_client("key-of-the-test-0123456789")
    assert (client.transport.kind == "rest") is by_rest
    client.transport.close()


# --- machines that are new, and words that are ---


@pytest.mark.parametrize(
    ("text", "instance_type", "option", "usd"),
    [
        ("TPU7x running in Americas", "tpu7x-standard-4t", "on_demand", 4 * 12.0),
        ("TPU7x attached to Spot Preemptible VMs running in Americas", "tpu7x-8", "spot", 4 * 12.0),
        ("Spot Preemptible A4X Nvidia GB200 (1 gpu slice) running in Americas", "a4x-highgpu-4g", "spot", 4 * 12.0),
        ("Spot Preemptible A4X Max Nvidia GB300 (1 gpu slice) running in X", "a4x-maxgpu-4g-metal", "spot", 4 * 12.0),
    ],
)
def test_newer_machines_are_the_sum_of_their_parts(text: str, instance_type: str, option: str, usd: float) -> None:
    with serving(sku(text, 12.0, "us-central1")) as server:
        catalogue = fetch(server, instance_type)
    assert [(price.key.purchase_option.value, price.usd_per_hour) for price in catalogue.prices] == [(option, usd)]


def test_a_g4_machine_is_its_cores_memory_and_gpus() -> None:
    skus = [
        sku("G4 Instance Core running in Americas", 0.04, "us-central1"),
        sku("G4 Instance Ram running in Americas", 0.004, "us-central1", unit="GiBy.h"),
        sku("RTX 6000 96GB running in Americas", 2.0, "us-central1"),
    ]
    with serving(*skus) as server:
        catalogue = fetch(server, "g4-standard-96")
    assert [price.usd_per_hour for price in catalogue.prices] == [pytest.approx(96 * 0.04 + 360 * 0.004 + 2 * 2.0)]
    assert (catalogue.facts[0].gpu_model, catalogue.facts[0].gpus) == ("RTX PRO 6000", 2.0)


@pytest.mark.parametrize(
    ("machine_type", "slices", "gpus"),
    [("g4-standard-6", 1, 0.125), ("g4-standard-12", 2, 0.25), ("g4-standard-24", 4, 0.5)],
)
def test_a_fraction_of_a_g4_gpu_is_sold_by_slices_that_contain_the_rest(
    machine_type: str, slices: int, gpus: float
) -> None:
    skus = [
        sku("G4 Instance Core running in Americas", 0.04, "us-central1"),
        sku("G4 Instance Ram running in Americas", 0.004, "us-central1", unit="GiBy.h"),
        sku("RTX 6000 96GB running in Americas", 2.0, "us-central1"),
        sku("1/8 vGPU no lssd running in Americas", 0.7, "us-central1"),
        sku("1/8 vGPU no lssd attached to DWS Defined Duration VMs running in Americas", 0.35, "us-central1"),
        sku(
            "1/8 vGPU no lssd attached to Spot Preemptible VMs running in Americas",
            0.2,
            "us-central1",
            usage="Preemptible",
        ),
    ]
    with serving(*skus) as server:
        catalogue = fetch(server, machine_type)
    assert [price.usd_per_hour for price in catalogue.prices] == pytest.approx([slices * 0.7, slices * 0.2])
    (facts,) = catalogue.facts
    assert (facts.gpu_model, facts.gpus, facts.gpu_memory_bytes) == ("RTX PRO 6000", gpus, 96 * 1024**3)


def test_an_implausible_rate_affects_only_that_machine() -> None:
    with serving(sku("RTX 6000 96GB running in Americas", 2e6, "us-central1")) as server:
        catalogue = fetch(server, "a2-highgpu-1g", "g4-standard-48")
    assert {price.key.instance_type for price in catalogue.prices} == {"a2-highgpu-1g"}
    assert any("g4-standard-48" in problem for problem in catalogue.problems)


def test_a_new_purchase_option_is_noticed() -> None:
    with serving(sku("Nvidia L4 GPU running in Americas", 0.2, "us-central1", usage="FlexStart")) as server:
        assert fetch(server, "a2-highgpu-1g").unknown == ("usageType=FlexStart",)


def test_a_zero_rate_of_a_free_tier_does_not_affect_prices() -> None:
    free = sku("A2 Instance Ram running in Americas for free tier", 0.0, "us-central1", unit="GiBy.h")
    with serving(free) as server:
        assert [each.key.purchase_option.value for each in fetch(server, "a2-highgpu-1g").prices].count(
            "on_demand"
        ) == 1


@pytest.mark.parametrize(
    ("body", "message"),
    [(b"<html>sign in</html>", "not a response of the Cloud"), (b'{"skus": 5}', "not a response of the Cloud"),
     (b"[]", "not a response of the Cloud"), (b"", "page 1: ")],
    ids=["a page for people", "another document", "a list", "nothing"],
)  # fmt: skip
def test_an_invalid_response_is_an_error_without_a_price(
    body: bytes, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    (tmp_path / "key").write_text("key-of-the-test-0123456789")
    with JsonServer() as server:
        server.on("/v1/services/6F81-5844-456A/skus", Reply(body))
        options = PollerSettings(gcp_url=server.url, gcp_api_key_file=str(tmp_path / "key"))
        (source,) = make(options)
        with pytest.raises(PriceSourceError, match=message):
            source.fetch(wanted("a2-highgpu-1g"), NOW)
        source.catalogue.forget()


def test_an_endpoint_that_cannot_be_reached_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    (tmp_path / "key").write_text("key-of-the-test-0123456789")
    options = PollerSettings(gcp_url="http://127.0.0.1:9", gcp_api_key_file=str(tmp_path / "key"))
    (source,) = make(options)
    with pytest.raises(PriceSourceError, match="gcp: ListSkus"):
        source.fetch(wanted("a2-highgpu-1g"), NOW)
    source.catalogue.forget()
