"""Readers of price services' responses, each as a function of bytes: a source returns prices, or its own error."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping
from datetime import datetime, timezone
from functools import partial
from typing import Any

from google.cloud import billing_v1
from google.protobuf.message import DecodeError
from tests.fuzz.reader import Reader
from tests.prices import aws_price_list
from tests.prices.asking_http import NOW
from tests.prices.gcp_server import COMPUTE, parsed, recorded
from tests.prices.json_server import Reply
from tests.prices.test_source_faults import KINDS, Kind

from epochcost.model import InstanceFacts
from epochcost.poller.poller_settings import PollerSettings
from epochcost.prices.aws.aws_bulk import linux_rows, parse_facts
from epochcost.prices.aws.aws_client import listed
from epochcost.prices.aws.aws_on_demand import hourly_rows, one_price, readable_facts
from epochcost.prices.aws.aws_spot import readable, refused_rows, spot_prices, zone_ids
from epochcost.prices.clean_catalogue import clean
from epochcost.prices.gcp.gcp_machines import read as read_sku
from epochcost.prices.gcp.gcp_skus import RateError, Rates
from epochcost.prices.http_json import JsonApi, _BadAnswerError, _parse
from epochcost.prices.price_list import PriceListError, parse, parse_yaml
from epochcost.prices.price_source import Catalogue, PriceSourceError
from epochcost.settings import SettingsError, options
from epochcost.shown_text import is_name

MOST_PAGES = 5


class Canned(JsonApi):
    """The client of a service whose every response is these bytes."""

    data = b""
    requests = 0

    def _ask(self, url: str, body: bytes | None) -> dict[str, Any]:
        type(self).requests += 1
        try:
            return _parse(self.data if type(self).requests < MOST_PAGES else b"{}")
        except _BadAnswerError as err:
            raise PriceSourceError(str(err)) from None


def _from_service(name: str, kind: Kind, data: bytes) -> None:
    Canned.data, Canned.requests = data, 0
    _plausible(clean(name, kind.make("http://localhost", Canned(name)).fetch(kind.wanted, NOW)))


def _plausible(catalogue: Catalogue) -> None:
    for price in catalogue.prices:
        assert all(map(is_name, (price.key.region, price.key.zone, price.key.instance_type)))
        assert all(0 < step.usd_per_hour < math.inf for step in price.steps), price
    for facts in catalogue.facts:
        assert is_name(facts.gpu_model)
        _finite(facts)


def _finite(facts: InstanceFacts) -> None:
    for name in ("gpus", "vcpus", "memory_bytes", "gpu_memory_bytes"):
        value = getattr(facts, name)
        assert value is None or 0 <= value < 1e18, (name, value)


def _document(data: bytes) -> dict[str, Any]:
    """boto3 parses a response into a mapping, or rejects it."""
    document = json.loads(data)
    if not isinstance(document, dict):
        raise ValueError("no document")  # noqa: TRY004 - as of bytes that are no JSON
    return document


def _on_demand(data: bytes) -> None:
    rows = list(hourly_rows([_document(data)], "p4d", []))
    one_price(rows[:1], {})


def _spot(data: bytes) -> None:
    rows = listed([_document(data)], "SpotPriceHistory", "spot")
    rows = [row for row in rows if isinstance(row, dict)]  # as boto3 parses the response, by its own model
    for row in rows:
        if isinstance(row.get("Timestamp"), int):
            row["Timestamp"] = datetime.fromtimestamp(row["Timestamp"] % 2**31, timezone.utc)
    rows, _ = readable(rows, "us-east-1")
    list(spot_prices(rows, "us-east-1", ("p4d.24xlarge",), NOW))
    list(refused_rows(rows, "us-east-1", ("p4d.24xlarge",)))
    zone_ids(rows, "us-east-1")


def _types(data: bytes) -> None:
    facts, _ = readable_facts(listed([_document(data)], "InstanceTypes", "types"))
    _plausible(clean("aws", Catalogue((), tuple(facts))))


def _bulk(data: bytes) -> None:
    lines = iter(data.splitlines(keepends=True))
    for rows in linux_rows(lines, "us-east-1", ("p4d.24xlarge",), set(), []).values():
        for row in rows:
            parse_facts(row)


def _sku(data: bytes) -> None:
    rates = Rates(read_sku)
    rates.add(billing_v1.types.Sku.deserialize(data))
    for part, region, spot in rates._rates:
        try:
            assert rates.usd(part, region, spot=spot) > 0
        except RateError:
            continue


def _csv_list(data: bytes) -> None:
    for row in parse(data.decode("utf-8", "replace").splitlines(keepends=True)):
        _finite(row.facts)


def _settings_lists(data: bytes) -> None:
    import yaml

    try:
        document = yaml.safe_load(data.decode("utf-8", "replace"))
    except (yaml.YAMLError, ValueError, RecursionError):  # as `settings.load` does
        return
    if not isinstance(document, dict):
        return
    for option in options(PollerSettings).values():
        if option.structured and option.flag in document:
            try:
                option.parse(document[option.flag])
            except (ValueError, TypeError, KeyError):  # the errors that `settings.load` reports as a sentence
                continue


GOOD_ON_DEMAND = json.dumps(
    {
        "PriceList": [
            json.dumps(
                {
                    "product": {"sku": "A", "attributes": {"regionCode": "us-east-1", "instanceType": "p4d"}},
                    "terms": {
                        "OnDemand": {"x": {"priceDimensions": {"y": {"unit": "Hrs", "pricePerUnit": {"USD": "32.77"}}}}}
                    },
                }
            )
        ]
    }
).encode()
GOOD_SPOT = (
    b'{"SpotPriceHistory":[{"InstanceType":"p4d.24xlarge","ProductDescription":"Linux/UNIX","SpotPrice":"9.5",'
    b'"AvailabilityZone":"us-east-1a","AvailabilityZoneId":"use1-az1","Timestamp":1}]}'
)
GOOD_TYPES = (
    b'{"InstanceTypes":[{"InstanceType":"p4d.24xlarge","GpuInfo":{"Gpus":[{"Name":"A100","Count":8,"MemoryInfo":'
    b'{"SizeInMiB":40960}}]},"VCpuInfo":{"DefaultVCpus":96},"MemoryInfo":{"SizeInMiB":1179648}}]}'
)
GOOD_LIST = (
    b"provider,region,zone,instance_type,purchase_option,usd_per_hour,date\nacme,eu,,big,on_demand,4.5,2026-01-01\n"
)
GOOD_YAML = (
    b"- {provider: acme, region: eu, instance_type: big, purchase_option: on_demand, usd_per_hour: 4.5,"
    b" date: 2026-01-01}\n"
)
GOOD_LISTS = (
    b"adjustments:\n- {name: edp, provider: aws, discount-percent: 10, from: 2026-01-01}\n"
    b"extras:\n- {name: disk, provider: aws, usd-per-hour: 0.1}\n"
    b"credits:\n- {provider: vastai, usd: 100}\nlimits:\n- {provider: colab, hours: 12}\n"
    b"owned:\n- {name: rig, cost: 30000, lifetime: 1460d, power-watts: 3000, usd-per-kwh: 0.2}\n"
)


def _body(response: Reply) -> bytes:
    return response.raw


GOOD_BULK = (aws_price_list.header() + aws_price_list.line("32.77")).encode()
SKUS = [row for row in recorded()[COMPUTE] if "Core" in row["description"] or "Gpu" in row["description"]][:8]
GOOD_SKUS = tuple(type(sku).serialize(sku) for sku in map(parsed, SKUS))
NO_DOCUMENT = (ValueError, RecursionError)
"""Bytes that are no JSON at all: of Amazon's answers boto3 makes the document, which is what is read here."""

PRICE_READERS: Mapping[str, Reader] = {
    **{
        f"prices of {name}": Reader(
            partial(_from_service, name, kind), (PriceSourceError,), tuple(map(_body, kind.replies.values()))
        )
        for name, kind in KINDS.items()
    },
    "prices of aws": Reader(_on_demand, (*NO_DOCUMENT, PriceSourceError), (GOOD_ON_DEMAND,)),
    "spot prices of aws": Reader(_spot, (*NO_DOCUMENT, PriceSourceError), (GOOD_SPOT,)),
    "types of aws": Reader(_types, (*NO_DOCUMENT, PriceSourceError), (GOOD_TYPES,)),
    "public price list of aws": Reader(_bulk, (ValueError, csv.Error), (GOOD_BULK,)),
    "prices of gcp": Reader(_sku, (DecodeError,), GOOD_SKUS),
    "price list of your own": Reader(_csv_list, (PriceListError,), (GOOD_LIST,)),
    "price list in YAML": Reader(
        lambda data: parse_yaml(data.decode("utf-8", "replace")),
        (PriceListError,),
        (GOOD_YAML,),
    ),
    "lists of the poller's settings": Reader(_settings_lists, (SettingsError,), (GOOD_LISTS,)),
}
