"""EC2 on-demand prices from the AWS Price List API, and what the types hold from EC2 itself."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from epochcost.model import InstanceFacts, Price, PriceKey, PriceStep, PurchaseOption, is_number
from epochcost.prices.aws.aws_client import AwsCallError, AwsClients, listed
from epochcost.prices.currency import USD, Rates, usd
from epochcost.prices.gpu_model import canonical
from epochcost.prices.json_fields import left_out_sentence
from epochcost.prices.price_source import Catalogue, PriceRequests, PriceSourceError, Want, summary

NAME = "aws"
PROVIDER = "aws"
PRICING_REGION = "us-east-1"
"""The Price List API exists only in us-east-1, eu-central-1 and ap-south-1, and covers all regions but China's."""
CHINA_PRICING_REGION = "cn-northwest-1"
MIB = 1024**2
MANY_REGIONS = 4
"""From this many regions of one type on, the rows of all regions come in one response (some 40, of 6 kB) instead."""
_LINUX_ON_DEMAND = {
    "locationType": "AWS Region",  # or a Local Zone or Wavelength zone, with prices of their own
    "operatingSystem": "Linux",
    "licenseModel": "No License required",
    "tenancy": "Shared",
    "preInstalledSw": "NA",
    "operation": "RunInstances",  # or with a licence (RunInstances:0002), or of a capacity block (:CB)
    "capacitystatus": "Used",  # rows of unused and allocated reservations cost the same, or $0.00
    "marketoption": "OnDemand",  # the CapacityBlock twin of a GPU type costs $0.00
}


KNOWN_KINDS = {
    "marketoption": frozenset({"OnDemand", "CapacityBlock"}),
    "capacitystatus": frozenset({"Used", "UnusedCapacityReservation", "AllocatedCapacityReservation", "NA"}),
    "tenancy": frozenset({"Shared", "Dedicated", "Host", "Reserved", "NA"}),
}
"""What those fields of a product were seen to hold: anything else is a kind of price to look at."""


@dataclass(frozen=True, slots=True)
class AwsOnDemand:
    """On-demand Linux prices of the wanted types by region."""

    watched: frozenset[Want]
    refresh_seconds: float
    rates: Rates = field(default_factory=dict)
    name: str = NAME
    provider: str = PROVIDER
    clients: AwsClients = field(default_factory=lambda: AwsClients(NAME))

    def fetch(self, requests: PriceRequests, now: float) -> Catalogue:
        """One GetProducts a type and region, or a type where many regions are wanted; one request a region to EC2."""
        self.clients.connect()
        catalogue = self._fetch(ec2_types(requests), now)
        if catalogue.problems:
            self.clients.forget()
        if catalogue.problems and not catalogue.prices:
            raise PriceSourceError(summary(catalogue.problems))
        return catalogue

    def _fetch(self, regions: Mapping[str, tuple[str, ...]], now: float) -> Catalogue:
        prices: list[Price] = []
        facts: dict[str, InstanceFacts] = {}
        problems: list[str] = []
        requested: set[Want] = set()
        unknown: set[str] = set()
        notes: list[str] = []
        for instance_type, places in _questions(regions):
            try:
                answered = self._rows(instance_type, places, unknown, notes)
            except PriceSourceError as err:
                problems.append(str(err))
                if isinstance(err, AwsCallError) and err.hopeless:
                    return Catalogue(tuple(prices), problems=tuple(problems), requested=frozenset(requested))
                continue
            requested.update(Want(PROVIDER, region, instance_type) for region in places)
            for region, rows in answered.items():
                try:
                    prices += [_price(region, instance_type, each, now) for each in one_price(rows, self.rates)]
                except ValueError as err:  # noqa: PERF203 - one region leaves the others alone
                    problems.append(f"{NAME}: get_products for {instance_type} in {region}: {err}: no price taken")
        for region, types in regions.items():
            try:
                known, odd = self._facts(region, types)
                facts |= known
                problems += odd
            except PriceSourceError as err:  # noqa: PERF203 - one region leaves the others alone
                problems.append(str(err))
        return Catalogue(
            tuple(prices),
            tuple(facts.values()),
            tuple(problems),
            requested=frozenset(requested),
            names=frozenset(facts),
            reasons=dict.fromkeys(
                facts, "EC2 has the type, but no plain on-demand price of it: it may be sold otherwise only"
            ),
            notes=tuple(notes),
            unknown=tuple(sorted(unknown)),
        )

    def _rows(
        self, instance_type: str, regions: tuple[str, ...], unknown: set[str], notes: list[str]
    ) -> dict[str, list[Row]]:
        """The rows that fit, by region."""
        requested = f"{instance_type} in {regions[0] if len(regions) == 1 else f'{len(regions)} regions'}"
        attributes = {**_LINUX_ON_DEMAND, "instanceType": instance_type}
        if len(regions) == 1:
            attributes["regionCode"] = regions[0]
        filters = [{"Type": "TERM_MATCH", "Field": name, "Value": value} for name, value in attributes.items()]
        pages = self.clients.pages(
            "pricing", pricing_region(regions[0]), "get_products", requested, ServiceCode="AmazonEC2", Filters=filters
        )
        by_region: dict[str, list[Row]] = {}
        for row in hourly_rows(pages, requested, notes):
            unknown |= {f"{name}={row.attributes[name]}" for name in KNOWN_KINDS if _is_new(name, row)}
            if row.has(attributes) and row.region in regions:
                by_region.setdefault(row.region, []).append(row)
        return by_region

    def _facts(self, region: str, types: tuple[str, ...]) -> tuple[dict[str, InstanceFacts], list[str]]:
        """What the types hold, and what could not be read."""
        # A filter, because one unknown name in InstanceTypes fails the whole request.
        filters = [{"Name": "instance-type", "Values": list(types)}]
        pages = self.clients.pages(
            "ec2", region, "describe_instance_types", f"{len(types)} types in {region}", Filters=filters
        )
        entries = listed(pages, "InstanceTypes", f"{NAME}: describe_instance_types in {region}")
        facts, odd = readable_facts(entries)
        wrong = [f"{NAME}: describe_instance_types in {region}: {odd} entries left out: of another form"] if odd else []
        return {fact.instance_type: fact for fact in facts if fact.instance_type in types}, wrong


def pricing_region(region: str) -> str:
    """The endpoint for the prices of ``region``: China has an endpoint of its own, and accounts of its own."""
    return CHINA_PRICING_REGION if region.startswith("cn-") else PRICING_REGION


def _is_new(name: str, row: Row) -> bool:
    return name in row.attributes and row.attributes[name] not in KNOWN_KINDS[name]


def _questions(regions: Mapping[str, tuple[str, ...]]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """What to request together: a type in one region, or in all at once where that is quicker (1 s a request)."""
    places: dict[str, list[str]] = {}
    for region, types in regions.items():
        for instance_type in types:
            places.setdefault(instance_type, []).append(region)
    for instance_type, of_type in sorted(places.items()):
        together = len(of_type) >= MANY_REGIONS and len({pricing_region(place) for place in of_type}) == 1
        yield from [(instance_type, tuple(of_type))] if together else [(instance_type, (place,)) for place in of_type]


def _price(region: str, instance_type: str, usd_per_hour: float, now: float) -> Price:
    key = PriceKey(PROVIDER, region, "", instance_type, PurchaseOption.ON_DEMAND)
    # Its effectiveDate is the first of the list's month, not of the price: so it counts as far back as matters.
    return Price(key, (PriceStep(-math.inf, usd_per_hour),), NAME, now)


def one_price(rows: list[Row], rates: Rates) -> list[float]:
    """The one price of ``rows`` in dollars an hour, or none where there are no rows.

    Raises:
        ValueError: for more than one row, one that cannot be read, or a currency without a rate.
    """
    if faults := [row.fault for row in rows if row.fault]:
        raise ValueError(f"a row that matches cannot be read ({faults[0]})")
    if len(rows) > 1:
        skus = ", ".join(sorted(f"{row.sku} {row.price_text}" for row in rows))
        raise ValueError(f"{len(rows)} rows match, not one ({skus})")
    return [usd(row.amount, row.currency, rates) for row in rows]


def ec2_types(requests: PriceRequests) -> Mapping[str, tuple[str, ...]]:
    """Types by region, without those of SageMaker, which EC2 does not know."""
    regions = requests.by_region(PROVIDER)
    by_region = {
        region: tuple(name for name in names if not name.startswith("ml.")) for region, names in regions.items()
    }
    return {region: names for region, names in by_region.items() if names}


@dataclass(frozen=True, slots=True)
class Row:
    """One price an hour of the price list, above zero, in the currency in which that region sells.

    With a ``fault`` it is a product whose prices cannot be read, and why.
    """

    region: str
    sku: str
    amount: float
    currency: str
    attributes: Mapping[str, str]
    fault: str = ""

    def has(self, attributes: Mapping[str, str]) -> bool:
        """Whether it is of a product with all of ``attributes``."""
        return all(self.attributes.get(name) == value for name, value in attributes.items())

    @property
    def price_text(self) -> str:
        """For people."""
        return f"${self.amount:g}" if self.currency == USD else f"{self.amount:g} {self.currency}"


_UNREADABLE = (KeyError, TypeError, ValueError, AttributeError, RecursionError)


def hourly_rows(pages: list[dict[str, Any]], requested: str, notes: list[str], source: str = NAME) -> Iterator[Row]:
    """Every price an hour above zero, whatever of; a row that cannot be read is left out, which ``notes`` take.

    Raises:
        PriceSourceError: for a response of another form.
    """
    question = f"{source}: get_products for {requested}"
    texts = listed(pages, "PriceList", question)
    faults: list[str] = []
    for text in texts:
        try:
            row = json.loads(text)  # type: ignore[arg-type] # of this operation the list is one of texts
            product = row["product"]
            attributes = {name: str(value) for name, value in product["attributes"].items()}
            region, sku = attributes["regionCode"], str(product["sku"])
        except _UNREADABLE as err:
            faults.append(f"{type(err).__name__}: {err}")
            continue
        try:
            rows = [Row(region, sku, *each, attributes) for each in _hourly(row["terms"].get("OnDemand", {}))]
        except _UNREADABLE as err:
            faults.append(f"{sku}: {type(err).__name__}: {err}")
            rows = [Row(region, sku, math.nan, "", attributes, faults[-1])]
        yield from rows
    if faults and len(faults) == len(texts):
        raise PriceSourceError(f"{question}: the response is not an AWS price list: {faults[0]}")
    if faults:
        notes.append(f"{question}: {left_out_sentence(len(faults), faults[0])}")


def _hourly(terms: Mapping[str, Any]) -> Iterator[tuple[float, str]]:
    for term in terms.values():
        for dimension in term["priceDimensions"].values():
            figures = dimension["pricePerUnit"]  # of China in CNY
            for currency, written in ({USD: figures[USD]} if USD in figures else figures).items():
                if dimension["unit"] == "Hrs" and (amount := float(written)) > 0:
                    yield amount, str(currency)


def readable_facts(entries: Iterable[Any]) -> tuple[list[InstanceFacts], int]:
    """The hardware in entries of DescribeInstanceTypes, and how many of them have none."""
    facts: list[InstanceFacts] = []
    odd = 0
    for raw in entries:
        try:
            facts.append(parse_facts(raw))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):  # noqa: PERF203 - each by itself
            odd += 1
    return facts, odd


def parse_facts(raw: Mapping[str, Any]) -> InstanceFacts:
    """The hardware in one entry of DescribeInstanceTypes: GPUs, Trainium or Inferentia chips, or none."""
    devices = raw.get("GpuInfo", {}).get("Gpus", ()) or raw.get("NeuronInfo", {}).get("NeuronDevices", ())
    counts = [_gpus(device) for device in devices]
    memory_mib = next((_figure(device.get("MemoryInfo", {}).get("SizeInMiB")) for device in devices), None)
    if memory_mib and devices[0].get("GpuPartitionSize") and not devices[0].get("Count"):
        memory_mib = round(memory_mib / devices[0]["GpuPartitionSize"])  # it is that of the part; here of a whole one
    memory_bytes = memory_mib and memory_mib * MIB
    if not isinstance(raw["InstanceType"], str):
        raise TypeError("an instance type is a name")
    return InstanceFacts(
        provider=PROVIDER,
        instance_type=raw["InstanceType"],
        gpu_model=next((canonical(str(each.get("Name", "")), memory_bytes) for each in devices), ""),
        gpus=None if None in counts else math.fsum(count for count in counts if count is not None),
        gpu_memory_bytes=memory_bytes,
        vcpus=_figure(raw.get("VCpuInfo", {}).get("DefaultVCpus")),
        memory_bytes=(mib := _figure(raw.get("MemoryInfo", {}).get("SizeInMiB"))) and mib * MIB,
    )


def _figure(value: object) -> Any:  # noqa: ANN401 - a number of either kind
    """``value`` where it is none or a number.

    Raises:
        TypeError: when it is anything else.
    """
    if value is not None and not is_number(value):
        raise TypeError(f"{type(value).__name__} is not a number")
    return value


def _gpus(device: Mapping[str, Any]) -> float | None:
    """How many GPUs, a part of one as a fraction; None if EC2 does not report it.

    For a part it reports count 0, the size of the part, and the number of parts (``LogicalGpuCount``).
    """
    count, part = _figure(device.get("Count")), _figure(device.get("GpuPartitionSize")) or 1.0
    if count:
        return float(count * part)
    logical = _figure(device.get("LogicalGpuCount")) or (1 if part < 1 else None)
    return None if logical is None else float(logical * part)
