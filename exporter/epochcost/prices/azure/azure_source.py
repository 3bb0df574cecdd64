"""Azure's retail prices: Linux, on demand and spot, without credentials. Windows and all other variants are dropped."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Protocol

from epochcost.model import Price, PriceKey, PriceStep, PurchaseOption
from epochcost.prices.azure.azure_sizes import SIZES, size_facts
from epochcost.prices.http_json import JsonApi
from epochcost.prices.json_fields import FieldError, number, optional_number, rows, text, unknown_values
from epochcost.prices.price_source import Catalogue, PriceRequests, PriceSourceError, Want, summary

NAME = "azure"
PROVIDER = "azure"
MOST_TYPES = 10
"""In one request: the filter is in the URL."""
_NOT_PLAIN_LINUX = (" win", "cloud services", "cloudservices", "dedicated")
"""In a product's name: ``... Series Windows``, ``... Srs Win``, ``... Cloud Services``, ``Dedicated Host``."""
_KNOWN_TYPES = frozenset({"Consumption", "Reservation", "DevTestConsumption"})
_SAFE = re.compile(r"[A-Za-z0-9_-]+")


class AzureSettings(Protocol):
    """What this source needs of the poller's settings."""

    @property
    def azure_url(self) -> str:
        """Of the retail prices API."""
        ...

    @property
    def azure_regions(self) -> tuple[str, ...]:
        """Region codes to watch, ``eastus``."""
        ...

    @property
    def azure_instance_types(self) -> tuple[str, ...]:
        """Sizes to watch in each of those regions, ``Standard_NC4as_T4_v3``."""
        ...

    @property
    def azure_interval(self) -> float:
        """Interval between requests, in seconds."""
        ...


@dataclass(frozen=True, slots=True)
class Azure:
    """Prices of the wanted sizes by region, each from its effective date."""

    url: str
    watched: frozenset[Want]
    refresh_seconds: float
    api: JsonApi
    name: str = NAME
    provider: str = PROVIDER

    def fetch(self, requests: PriceRequests, now: float) -> Catalogue:
        """One request for each ten sizes of a region; a region that fails leaves the others alone."""
        prices: list[Price] = []
        problems: list[str] = []
        requested: set[Want] = set()
        everything: list[Mapping[str, Any]] = []
        for region, types in requests.by_region(PROVIDER).items():
            for first in range(0, len(types), MOST_TYPES):
                some = types[first : first + MOST_TYPES]
                try:
                    in_region = self._ask(region, some, problems)
                    prices += _prices(in_region, region, some, now, problems)
                except PriceSourceError as err:
                    problems.append(str(err))
                    continue
                requested.update(Want(PROVIDER, region, each) for each in some)
                everything += in_region
        if problems and not prices:
            raise PriceSourceError(summary(problems))
        sizes = sorted({want.instance_type for want in requested})
        return Catalogue(
            tuple(prices),
            tuple(fact for each in sizes if (fact := size_facts(each)) is not None),
            tuple(problems),
            requested=frozenset(requested),
            names=frozenset(spelt(f"standard_{name}") for name in SIZES) if requested else frozenset(),
            reasons={each: why for each in sizes if (why := _why(everything, each))},
            unknown=unknown_values((row.get("type") for row in everything), _KNOWN_TYPES),
        )

    def _ask(self, region: str, types: tuple[str, ...], problems: list[str]) -> list[Mapping[str, Any]]:
        names = sorted({spelling for each in types if _SAFE.fullmatch(each) for spelling in (each, spelt(each))})
        if not names or not _SAFE.fullmatch(region):
            return []
        any_of = " or ".join(f"armSkuName eq '{each}'" for each in names)
        query = {
            "api-version": "2023-01-01-preview",
            "meterRegion": "'primary'",
            "currencyCode": "'USD'",
            "$filter": "serviceName eq 'Virtual Machines' and priceType eq 'Consumption' "
            f"and armRegionName eq '{region}' and ({any_of})",
        }
        odd: list[str] = []
        try:
            items: list[Mapping[str, Any]] = []
            for page in self.api.pages(self.url, query, lambda page: page.get("NextPageLink")):
                items += rows(page, "Items", odd)
                if (promised := optional_number(page, "Count")) is not None and promised > len(page["Items"]):
                    raise FieldError(f"{len(page['Items'])} of {promised:g} rows were received")
        except FieldError as err:
            raise PriceSourceError(
                f"azure: prices of {region}: not a response of Azure's retail price API: {err}"
            ) from None
        problems += [f"azure: prices of {region}: {each}" for each in odd]
        return items


def _why(everything: list[Mapping[str, Any]], instance_type: str) -> str:
    """Why rows of a size do not give its price; empty if there are none, or the size is priced."""
    ours = [row for row in everything if _is_row_of(row, instance_type)]
    if ours and not any(row.get("isPrimaryMeterRegion") is True for row in ours):
        return f"the response has it only in {len(ours)} rows that are not of the primary meter region"
    return f"none of its {len(ours)} rows is an hour of a plain Linux machine" if ours else ""


def _is_row_of(row: Mapping[str, Any], instance_type: str) -> bool:
    name = row.get("armSkuName")
    return isinstance(name, str) and name.lower() == instance_type.lower()


def spelt(instance_type: str) -> str:
    """``standard_nc24ADS_a100_V4`` as Azure spells it, ``Standard_NC24ads_A100_v4``: its filters heed the case.

    Upper case up to the first digit, then lower case; accelerators (``V620``) upper case, ``xl`` and version lower.
    """
    first, _, rest = instance_type.partition("_")
    size, *more = rest.split("_")
    family = re.match(r"[A-Za-z]*", size)
    letters = family[0] if family else ""
    parts = [letters.upper() + size[len(letters) :].lower()]
    parts += [each.lower() if re.fullmatch(r"[vV]\d{1,2}|[xX][lL]", each) else each.upper() for each in more]
    return "_".join([first.capitalize(), *parts])


def _prices(
    items: list[Mapping[str, Any]], region: str, types: tuple[str, ...], now: float, problems: list[str]
) -> Iterator[Price]:
    """At most two prices a size; rows that cannot be distinguished are a problem and no price."""
    for instance_type in types:
        ours = [row for row in items if _is_row_of(row, instance_type)]
        for option in (PurchaseOption.ON_DEMAND, PurchaseOption.SPOT):
            key = PriceKey(PROVIDER, region, "", instance_type, option)
            try:
                steps = _steps([row for row in ours if purchase_option(row) is option], now)
            except ValueError as err:
                problems.append(f"azure: {instance_type} {option.value} in {region}: {err}: no price taken")
                continue
            if steps:
                yield Price(key, steps, NAME, now)


def purchase_option(row: Mapping[str, Any]) -> PurchaseOption | None:
    """How a row is paid; None for a row that is not an hour of a plain Linux machine."""
    product = str(row.get("productName", "")).lower()
    meter = f"{row.get('meterName', '')} {row.get('skuName', '')}".lower()
    plain = (
        row.get("type") == "Consumption"  # the price of a reservation is for its whole term
        and row.get("serviceName") == "Virtual Machines"
        and row.get("unitOfMeasure") == "1 Hour"
        and row.get("isPrimaryMeterRegion") is True  # the same meter is listed in other regions too
        and not row.get("tierMinimumUnits")  # volume tiers
        and not any(word in product for word in _NOT_PLAIN_LINUX)
        and "low priority" not in meter
    )
    if not plain:
        return None
    return PurchaseOption.SPOT if re.search(r"\bspot\b", meter) else PurchaseOption.ON_DEMAND


def _steps(ours: list[Mapping[str, Any]], now: float) -> tuple[PriceStep, ...]:
    """One step a date; two prices from one date, or of two meters at one time, cannot both be right.

    A meter whose row has ended gives way to its successor: it prices the time before.

    Raises:
        ValueError: naming the contradicting rows, or the field that is not as expected.
    """
    priced = [row for row in ours if number(row, "retailPrice") != 0]
    for row in priced:
        if text(row, "currencyCode") != "USD":
            raise FieldError(f"currencyCode: {row['currencyCode']!r} is not 'USD'")
    by_date: dict[float, set[float]] = {}
    for row in priced:
        by_date.setdefault(_start(row), set()).add(number(row, "retailPrice"))
    different = sorted({usd for prices in by_date.values() for usd in prices})
    if any(len(prices) > 1 for prices in by_date.values()) or _contradict(priced):
        raise FieldError(f"{len(priced)} rows match, not one ({', '.join(f'${usd:g}' for usd in different)})")
    if priced and _end(max(priced, key=_start)) <= now:
        raise FieldError("the newest row has ended without a successor")
    return tuple(PriceStep(ts, usd) for ts in sorted(by_date) for usd in by_date[ts])


def _contradict(priced: list[Mapping[str, Any]]) -> bool:
    """Whether two meters have two prices for one time: of one meter the later row replaces the earlier."""
    ordered = sorted(priced, key=_start)
    return any(
        str(earlier.get("meterId")) != str(later.get("meterId"))
        and number(earlier, "retailPrice") != number(later, "retailPrice")
        and _end(earlier) > _start(later)
        for place, earlier in enumerate(ordered)
        for later in ordered[place + 1 :]
    )


def _start(row: Mapping[str, Any]) -> float:
    return _date(row, "effectiveStartDate")


def _end(row: Mapping[str, Any]) -> float:
    return math.inf if row.get("effectiveEndDate") is None else _date(row, "effectiveEndDate")


def _date(row: Mapping[str, Any], name: str) -> float:
    value = text(row, name)
    try:
        when = datetime.fromisoformat(value.replace("Z", "+00:00"))
    except ValueError:
        raise FieldError(f"{name}: {value[:40]!r} is not a date") from None
    return (when if when.tzinfo else when.replace(tzinfo=timezone.utc)).timestamp()


def make(settings: AzureSettings) -> tuple[Azure, ...]:
    """The source; it sends no request as long as nothing is wanted."""
    watched = frozenset(
        Want(PROVIDER, region, instance_type)
        for region in settings.azure_regions
        for instance_type in settings.azure_instance_types
    )
    return (Azure(settings.azure_url, watched, settings.azure_interval, JsonApi(NAME)),)
