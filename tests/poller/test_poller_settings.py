"""The poller's settings: flags, environment, file; errors that name location, value and allowed values."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest

from epochcost.poller.poller_settings import PollerSettings
from epochcost.prices import SOURCES
from epochcost.prices.owned.owned_source import hourly_usd
from epochcost.settings import SettingsError, load, options

REFERENCE = {
    "owned.price-usd": "2000",
    "owned.years": "2",
    "owned.watts": "355",
    "owned.tariff-usd-per-kwh": "0.12",
}


def settings(**flags: str) -> PollerSettings:
    return load(PollerSettings, "prices", {name.replace("__", "."): value for name, value in flags.items()}, {})


def from_flags(flags: dict[str, str]) -> PollerSettings:
    return load(PollerSettings, "prices", flags, {})


def test_by_default_it_listens_on_loopback_and_uses_every_source_but_aws_bulk() -> None:
    plain = from_flags({})
    assert plain.web_listen_address == ("127.0.0.1", 10836)
    assert set(SOURCES) - set(plain.prices_sources) == {"aws_bulk"}
    assert (plain.aws_spot_interval, plain.aws_on_demand_interval) == (300.0, 86400.0)
    assert plain.owned_machines == ()


def test_one_machine_comes_from_flags() -> None:
    (machine,) = from_flags(REFERENCE).owned_machines
    assert machine.instance_type == "desktop"
    assert hourly_usd(machine) == 2000 / (2 * 8766) + 0.355 * 0.12


def test_many_machines_come_from_the_file_and_one_more_from_flags(tmp_path: Path) -> None:
    path = tmp_path / "epochcost.yml"
    path.write_text(
        "prices:\n  owned:\n"
        "  - {instance-type: rack, price-usd: 100000, years: 4, watts: 6000, tariff-usd-per-kwh: 0.2, pue: 1.4}\n"
        "  - {instance-type: lab, price-usd: 9000, years: 3, watts: 0, tariff-usd-per-kwh: 0}\n"
    )
    read = from_flags({"config.file": str(path), **REFERENCE})
    assert [machine.instance_type for machine in read.owned_machines] == ["rack", "lab", "desktop"]


def test_one_machine_may_be_a_mapping_in_the_file_too(tmp_path: Path) -> None:
    path = tmp_path / "epochcost.yml"
    path.write_text("prices:\n  owned: {price-usd: 2000, years: 2, watts: 355, tariff-usd-per-kwh: 0.12}\n")
    (machine,) = from_flags({"config.file": str(path)}).owned_machines
    assert math.isclose(hourly_usd(machine), 0.1566771161305042)


@pytest.mark.parametrize(
    ("flag", "word"),
    [
        ("aws.regions", "eusc-de-east-1"),
        ("aws.regions", "us-isob-east-1"),
        ("aws.regions", "us-gov-west-1"),
        ("aws.regions", "cn-northwest-1"),
        ("aws.instance-types", "p6e-gb200.36xlarge"),
        ("aws.instance-types", "g4dn.metal"),
        ("gcp.regions", "northamerica-northeast2"),
        ("gcp.machine-types", "a4x-maxgpu-4g-metal"),
        ("gcp.machine-types", "tpu7x-standard-4t"),
        ("azure.regions", "usgovvirginia"),
        ("azure.instance-types", "Standard_NC144ds_xl_RTXPRO6000BSE_v6"),
        ("runpod.instance-types", "1x RTX PRO 6000 WK"),
        ("vast.instance-types", "8x RTX_4090"),
        ("oci.instance-types", "BM.GPU.MI355X-v1.8"),
        ("oci.instance-types", "BM.GPU.GB200.4 (NVL72)"),
    ],
)
def test_names_of_providers_are_accepted(flag: str, word: str) -> None:
    family = flag.partition(".")[0]
    more = {
        "aws": {"regions": "us-east-1", "instance-types": "p2.xlarge"},
        "gcp": {"regions": "us-central1", "machine-types": "a2-highgpu-1g"},
        "azure": {"regions": "eastus", "instance-types": "Standard_NC4as_T4_v3"},
    }.get(family, {})
    flags = {f"{family}.{name}": value for name, value in more.items()} | {flag: word}
    assert from_flags(flags)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            {"prices.sources": "owned,gpc"},
            "--prices.sources: 'owned,gpc' is not valid: 'gpc' is not a price source; allowed",
        ),
        ({"prices.sources": ","}, "none given"),
        ({"aws.regions": "us-east-1"}, "--aws.regions needs --aws.instance-types too"),
        ({"aws.instance-types": "p2.xlarge"}, "--aws.instance-types needs --aws.regions too"),
        ({"aws.regions": "US East"}, "'US East' does not look like a region code, us-east-1"),
        ({"aws.instance-types": "p2.*"}, "'p2.*' does not look like an instance type"),
        ({"aws.spot-interval": "0s"}, "expected a duration above 0"),
        ({"owned.price-usd": "2000"}, "--owned.years, --owned.watts, --owned.tariff-usd-per-kwh must be given too"),
        ({"owned.price-usd": "-1"}, "--owned.price-usd: '-1' is not valid"),
        ({"owned.watts": "lots"}, "--owned.watts: 'lots' is not valid"),
        ({"owned.pue": "0.9"}, "PUE must be >= 1"),
        ({**REFERENCE, "owned.residual-usd": "5000"}, "residual-usd: 5000.0 must not be above price-usd"),
        ({"web.listen-address": "10836"}, "expected HOST:PORT"),
    ],
)
def test_a_wrong_setting_is_named_with_its_value_and_what_is_allowed(flags: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        from_flags(flags)
    assert message in str(caught.value)


def test_a_wrong_machine_in_the_file_is_named_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "epochcost.yml"
    path.write_text("prices:\n  owned:\n  - {price-usd: 2000, years: 0, watts: 1, tariff-usd-per-kwh: 1}\n")
    with pytest.raises(SettingsError, match=r"epochcost\.yml: prices: owned: .*machine 1: years: 0 must be above 0"):
        from_flags({"config.file": str(path)})


URLS = [each for each in options(PollerSettings).values() if each.flag.endswith("url")]


@pytest.mark.parametrize("flag", [each.flag for each in URLS])
def test_a_default_address_that_is_given_by_hand_is_the_default(flag: str) -> None:
    (default,) = (
        field.default
        for field, option in ((f, f.metadata.get("option")) for f in dataclasses.fields(PollerSettings))
        if option is not None and option.flag == flag
    )
    loaded = load(PollerSettings, "prices", {flag: default}, {})  # type: ignore[dict-item]
    assert loaded == PollerSettings()


@pytest.mark.parametrize("flag", ["oci.url", "oci.shapes-url", "azure.url", "runpod.url"])
def test_the_trailing_slash_of_a_documents_url_is_kept(flag: str) -> None:
    name = flag.replace(".", "_").replace("-", "_")
    for url in ("http://127.0.0.1:1/p/", "http://127.0.0.1:1/p"):
        assert getattr(load(PollerSettings, "prices", {flag: url}, {}), name) == url
