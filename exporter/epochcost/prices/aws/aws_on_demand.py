"""EC2 on-demand prices from the AWS Price List API, and what the types hold from EC2 itself."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from epochcost.model import InstanceFacts, Price, PriceKey, PriceStep, PurchaseOption
from epochcost.prices.aws.aws_client import AwsCallError, AwsClients
from epochcost.prices.gpu_model import canonical
from epochcost.prices.price_source import Catalogue, PriceSourceError, Want, Wanted, summary

NAME = "aws"
PROVIDER = "aws"
PRICING_REGION = "us-east-1"
"""The Price List API exists only in us-east-1, eu-central-1 and ap-south-1, and answers for all regions."""
MIB = 1024**2
MANY_REGIONS = 4
"""From so many regions of one type on, the rows of all regions come in one answer (some 40, of 6 kB) instead."""
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


@dataclass(frozen=True, slots=True)
class AwsOnDemand:
    """On-demand Linux prices of the wanted types by region."""

    watched: frozenset[Want]
    refresh_seconds: float
    name: str = NAME
    provider: str = PROVIDER
    clients: AwsClients = field(default_factory=lambda: AwsClients(NAME))

    def fetch(self, wanted: Wanted, now: float) -> Catalogue:
        """One GetProducts a type and region, or a type where many regions are wanted; one question a region to EC2."""
        self.clients.connect()
        found = self._fetch(ec2_types(wanted), now)
        if found.problems:
            self.clients.forget()
        if found.problems and not found.prices:
            raise PriceSourceError(summary(found.problems))
        return found

    def _fetch(self, regions: Mapping[str, tuple[str, ...]], now: float) -> Catalogue:
        prices: list[Price] = []
        facts: dict[str, InstanceFacts] = {}
        problems: list[str] = []
        for instance_type, places in _questions(regions):
            try:
                for region, rows in self._rows(instance_type, places).items():
                    if len(rows) > 1:
                        problems.append(_several(f"{instance_type} in {region}", rows))
                        continue
                    prices += [_price(region, instance_type, usd, now) for _, usd in rows]
            except PriceSourceError as err:
                problems.append(str(err))
                if isinstance(err, AwsCallError) and err.hopeless:
                    return Catalogue(tuple(prices), problems=tuple(problems))
        for region, types in regions.items():
            try:
                facts |= self._facts(region, types)
            except AwsCallError as err:  # noqa: PERF203 - one region leaves the others alone
                problems.append(str(err))
        problems += self._nowhere(regions, prices, problems)
        return Catalogue(tuple(prices), tuple(facts.values()), tuple(problems))

    def _rows(self, instance_type: str, regions: tuple[str, ...]) -> dict[str, list[tuple[str, float]]]:
        """SKU and dollars of the rows that fit, by region."""
        asked = f"{instance_type} in {regions[0] if len(regions) == 1 else f'{len(regions)} regions'}"
        attributes = {**_LINUX_ON_DEMAND, "instanceType": instance_type}
        if len(regions) == 1:
            attributes["regionCode"] = regions[0]
        filters = [{"Type": "TERM_MATCH", "Field": name, "Value": value} for name, value in attributes.items()]
        pages = self.clients.pages(
            "pricing", PRICING_REGION, "get_products", asked, ServiceCode="AmazonEC2", Filters=filters
        )
        found: dict[str, list[tuple[str, float]]] = {}
        for region, sku, usd in hourly_rows(pages, attributes, asked):
            if region in regions:
                found.setdefault(region, []).append((sku, usd))
        return found

    def _facts(self, region: str, types: tuple[str, ...]) -> dict[str, InstanceFacts]:
        # A filter, because one unknown name in InstanceTypes fails the whole question.
        filters = [{"Name": "instance-type", "Values": list(types)}]
        pages = self.clients.pages(
            "ec2", region, "describe_instance_types", f"{len(types)} types in {region}", Filters=filters
        )
        found = [parse_facts(raw) for page in pages for raw in page.get("InstanceTypes", ())]
        return {fact.instance_type: fact for fact in found if fact.instance_type in types}

    def _nowhere(
        self, regions: Mapping[str, tuple[str, ...]], prices: list[Price], problems: list[str]
    ) -> Iterator[str]:
        """A watched type that no watched region sells is most likely misspelt."""
        if problems:
            return
        priced = {price.key.instance_type for price in prices}
        asked = {(want.region, want.instance_type) for want in self.watched if not want.instance_type.startswith("ml.")}
        for instance_type in sorted({name for _, name in asked} - priced):
            if all(instance_type in regions.get(region, ()) for region, name in asked if name == instance_type):
                yield f"aws: {instance_type} is sold on demand in none of {', '.join(regions)}: is its name right?"


def _questions(regions: Mapping[str, tuple[str, ...]]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """What to ask together: a type in one region, or in all of them at once where that is quicker (1 s a question)."""
    places: dict[str, list[str]] = {}
    for region, types in regions.items():
        for instance_type in types:
            places.setdefault(instance_type, []).append(region)
    for instance_type, wanted in sorted(places.items()):
        together = len(wanted) >= MANY_REGIONS
        yield from [(instance_type, tuple(wanted))] if together else [(instance_type, (place,)) for place in wanted]


def _price(region: str, instance_type: str, usd: float, now: float) -> Price:
    key = PriceKey(PROVIDER, region, "", instance_type, PurchaseOption.ON_DEMAND)
    # Its effectiveDate is the first of the list's month, not of the price: so it counts as far back as matters.
    return Price(key, (PriceStep(-math.inf, usd),), NAME, now)


def _several(asked: str, rows: list[tuple[str, float]]) -> str:
    skus = ", ".join(sorted(f"{sku} ${usd:g}" for sku, usd in rows))
    return f"aws: get_products for {asked}: {len(rows)} rows match, not one ({skus}): no price taken"


def ec2_types(wanted: Wanted) -> Mapping[str, tuple[str, ...]]:
    """Types by region, without those of SageMaker, which EC2 does not know."""
    regions = wanted.by_region(PROVIDER)
    found = {region: tuple(name for name in names if not name.startswith("ml.")) for region, names in regions.items()}
    return {region: names for region, names in found.items() if names}


def hourly_rows(
    pages: list[dict[str, Any]], attributes: Mapping[str, str], asked: str, source: str = NAME
) -> Iterator[tuple[str, str, float]]:
    """Region, SKU and dollars of every row with all of ``attributes``, priced per hour in dollars above zero.

    Raises:
        PriceSourceError: for an answer of another form.
    """
    try:
        for page in pages:
            for text in page["PriceList"]:
                row = json.loads(text)
                product = row["product"]
                if all(product["attributes"].get(name) == value for name, value in attributes.items()):
                    region, sku = str(product["attributes"]["regionCode"]), str(product["sku"])
                    yield from ((region, sku, usd) for usd in _hourly_usd(row["terms"].get("OnDemand", {})))
    except (KeyError, TypeError, ValueError, AttributeError) as err:
        raise PriceSourceError(
            f"{source}: get_products for {asked}: the answer is not a price list: {type(err).__name__}: {err}"
        ) from None


def _hourly_usd(terms: Mapping[str, Any]) -> Iterator[float]:
    for term in terms.values():
        for dimension in term["priceDimensions"].values():
            usd = float(dimension["pricePerUnit"].get("USD", 0))  # lists of China are in CNY
            if dimension["unit"] == "Hrs" and usd > 0:
                yield usd


def parse_facts(raw: Mapping[str, Any]) -> InstanceFacts:
    """What one entry of DescribeInstanceTypes says: its GPUs, its Trainium or Inferentia chips, or that it has none."""
    devices = raw.get("GpuInfo", {}).get("Gpus", ()) or raw.get("NeuronInfo", {}).get("NeuronDevices", ())
    memory_mib = next((device.get("MemoryInfo", {}).get("SizeInMiB") for device in devices), None)
    memory_bytes = memory_mib and memory_mib * MIB
    return InstanceFacts(
        provider=PROVIDER,
        instance_type=raw["InstanceType"],
        gpu_model=next((canonical(str(each.get("Name", "")), memory_bytes) for each in devices), ""),
        gpus=float(sum(device.get("Count", 0) * (device.get("GpuPartitionSize") or 1.0) for device in devices)),
        gpu_memory_bytes=memory_bytes,
        vcpus=raw.get("VCpuInfo", {}).get("DefaultVCpus"),
        memory_bytes=(mib := raw.get("MemoryInfo", {}).get("SizeInMiB")) and mib * MIB,
    )
