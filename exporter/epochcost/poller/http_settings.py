"""Settings of the price sources that speak plain HTTP: endpoints, key files, what to watch, how often to poll."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from epochcost.settings import SettingsError, between, http_url, option, words

HOUR = 3600.0
DAY = 86400.0
INTERVAL = between("100ms", "30d")
"""Interval between requests to one source."""


def words_like(pattern: str, example: str) -> Callable[[str], tuple[str, ...]]:
    """A comma-separated list of words that each match ``pattern``."""

    def parse(text: str) -> tuple[str, ...]:
        for word in words(text):
            if not re.fullmatch(pattern, word):
                raise ValueError(f"{word!r} does not look like {example}")
        return words(text)

    return parse


def endpoint(text: str) -> str:
    """An http or https URL that is not empty and holds no password; paths are put behind it, so no slash ends it."""
    url = http_url(text)
    if not url or "@" in url:
        raise ValueError("expected http://HOST:PORT/PATH or https://HOST/PATH without user and password")
    return url


def resource(text: str) -> str:
    """As `endpoint`, but of one document, so that a slash at its end stays: some servers know it only with it."""
    url = endpoint(text)
    return f"{url}/" if text.endswith("/") else url


_counted = words_like(r"[1-9]\d{0,2}x [A-Za-z0-9][A-Za-z0-9._+/ -]*", "a count and a GPU, 4x H100 SXM")


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """Settings of the sources of `epochcost.prices` that use plain HTTP."""

    azure_url: str = option(
        "azure.url", "https://prices.azure.com/api/retail/prices", "URL of the Azure Retail Prices API", parse=resource
    )
    azure_regions: tuple[str, ...] = option(
        "azure.regions", (), "regions to watch", parse=words_like(r"[a-z]+[a-z0-9]*", "a region code, eastus")
    )
    azure_instance_types: tuple[str, ...] = option(
        "azure.instance-types",
        (),
        "sizes to watch, in addition to those that agents request",
        parse=words_like(r"[A-Za-z]+_[A-Za-z0-9_-]+", "a size, Standard_NC4as_T4_v3"),
    )
    azure_interval: float = option("azure.interval", HOUR, "interval between requests to the Azure API", parse=INTERVAL)
    vast_url: str = option("vast.url", "https://console.vast.ai/api/v0", "base URL of the vast.ai API", parse=endpoint)
    vast_api_key_file: str = option(
        "vast.api-key-file",
        "",
        "file with an API key; without it, only market prices are known, not those of your rented machines",
    )
    vast_regions: tuple[str, ...] = option(
        "vast.regions",
        (),
        "countries to watch in addition to the whole market",
        parse=words_like(r"[A-Z]{2}", "a country code, US"),
    )
    vast_instance_types: tuple[str, ...] = option("vast.instance-types", (), "types to watch", parse=_counted)
    vast_interval: float = option(
        "vast.interval", 600.0, "interval between requests to the vast.ai API", parse=INTERVAL
    )
    runpod_url: str = option(
        "runpod.url", "https://api.runpod.io/graphql", "URL of RunPod's GraphQL API", parse=resource
    )
    runpod_api_key_file: str = option("runpod.api-key-file", "", "file with an API key; optional")
    runpod_instance_types: tuple[str, ...] = option(
        "runpod.instance-types", (), "types to watch in the Secure Cloud and the Community Cloud", parse=_counted
    )
    runpod_interval: float = option(
        "runpod.interval", 1800.0, "interval between requests to the RunPod API", parse=INTERVAL
    )
    lambda_url: str = option(
        "lambda.url", "https://cloud.lambda.ai/api/v1", "base URL of the Lambda API", parse=endpoint
    )
    lambda_api_key_file: str = option("lambda.api-key-file", "", "file with an API key; without it, Lambda is skipped")
    lambda_interval: float = option(
        "lambda.interval", HOUR, "interval between requests to the Lambda API", parse=INTERVAL
    )
    digitalocean_url: str = option(
        "digitalocean.url", "https://api.digitalocean.com/v2", "base URL of the DigitalOcean API", parse=endpoint
    )
    digitalocean_api_key_file: str = option(
        "digitalocean.api-key-file", "", "file with an access token; without it, DigitalOcean is skipped"
    )
    digitalocean_interval: float = option(
        "digitalocean.interval", DAY, "interval between requests to the DigitalOcean API", parse=INTERVAL
    )
    oci_url: str = option(
        "oci.url",
        "https://apexapps.oracle.com/pls/apex/cetools/api/v1/products/",
        "URL of Oracle's price list",
        parse=resource,
    )
    oci_shapes_url: str = option(
        "oci.shapes-url",
        "https://www.oracle.com/a/ocom/docs/cloudestimator2/data/shapes.json",
        "URL of Oracle's list of shapes",
        parse=resource,
    )
    oci_instance_types: tuple[str, ...] = option(
        "oci.instance-types",
        (),
        "shapes to watch",
        parse=words_like(r"(VM|BM)\.[A-Za-z0-9.-]+( \([A-Za-z0-9]+\))?", "a shape, BM.GPU.H100.8"),
    )
    oci_interval: float = option(
        "oci.interval", DAY, "interval between requests to the Oracle price list", parse=INTERVAL
    )

    def __post_init__(self) -> None:
        if bool(self.azure_regions) != bool(self.azure_instance_types):
            present, missing = ("azure.regions", "azure.instance-types")[:: 1 if self.azure_regions else -1]
            raise SettingsError(f"--{present} needs --{missing} too: the sizes are watched in those regions")
