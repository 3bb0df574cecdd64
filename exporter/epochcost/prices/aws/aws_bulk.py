"""EC2 on-demand prices without credentials, from the public price list of each region.

A region's list is a CSV file of several hundred megabytes, so it is read as a stream, line by line; only lines that
name a wanted type are looked at. What remains must be exactly one row a type, or there is no price.
"""

from __future__ import annotations

import contextlib
import csv
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from epochcost.http_client import OK, Bounds, ExchangeError, Request, open_stream
from epochcost.model import InstanceFacts, Price, PriceKey, PriceStep, PurchaseOption
from epochcost.prices.aws.aws_on_demand import KNOWN_KINDS, PROVIDER, ec2_types
from epochcost.prices.json_fields import gib, left_out_sentence
from epochcost.prices.one_at_a_time import awaited, waiting
from epochcost.prices.price_source import Catalogue, PriceRequests, PriceSourceError, Want, summary

NAME = "aws_bulk"
MOST_SECONDS = 900.0
"""For one region."""
MOST_BYTES = 4 * 1024**3
"""The largest lists have about half a gigabyte."""
LONGEST_LINE_BYTES = 64 * 1024
HEADER_WITHIN_LINES = 10
_LINUX_ON_DEMAND: Mapping[str, tuple[str, ...]] = {
    "TermType": ("OnDemand",),  # or Reserved
    "Unit": ("Hrs",),  # or Quantity, of an upfront fee
    "Currency": ("USD",),  # or CNY
    "Location Type": ("AWS Region",),  # or a Local Zone or Wavelength zone, with prices of their own
    "Operating System": ("Linux",),  # or Windows, RHEL, SUSE, Ubuntu Pro
    "License Model": ("No License required",),  # or Bring your own license
    "Tenancy": ("Shared",),  # or Dedicated, Host
    "Pre Installed S/W": ("NA", ""),  # or SQL Web, ...
    "CapacityStatus": ("Used",),  # or the rows of reservations, some of $0.00
    "MarketOption": ("OnDemand",),  # or CapacityBlock, of $0.00
    "operation": ("RunInstances",),  # or with a licence (RunInstances:0002), or of a capacity block (:CB)
}
_KINDS = {"MarketOption": "marketoption", "CapacityStatus": "capacitystatus", "Tenancy": "tenancy"}
"""Columns whose values are kinds of prices, and what the Price List API calls them."""
_OTHERS = ("SKU", "PricePerUnit", "Instance Type", "Region Code", "vCPU", "Memory", "GPU")
Row = Mapping[str, str]


class AwsBulkSettings(Protocol):
    """What this source needs of the poller's settings."""

    @property
    def aws_regions(self) -> tuple[str, ...]:
        """Region codes to watch."""
        ...

    @property
    def aws_instance_types(self) -> tuple[str, ...]:
        """Instance types to watch in each of those regions."""
        ...

    @property
    def aws_on_demand_interval(self) -> float:
        """Seconds between two requests."""
        ...

    @property
    def aws_price_list_url(self) -> str:
        """Where the lists are, without a trailing slash."""
        ...


def make(settings: AwsBulkSettings) -> tuple[AwsBulk, ...]:
    """The source for the watched types."""
    watched = frozenset(
        Want(PROVIDER, region, name) for region in settings.aws_regions for name in settings.aws_instance_types
    )
    return (AwsBulk(settings.aws_price_list_url, watched, settings.aws_on_demand_interval),)


@dataclass(frozen=True, slots=True)
class AwsBulk:
    """On-demand Linux prices of the wanted types: one download a region."""

    url: str
    watched: frozenset[Want]
    refresh_seconds: float
    name: str = NAME
    provider: str = PROVIDER

    def fetch(self, requests: PriceRequests, now: float) -> Catalogue:
        """Read the lists of all wanted regions, one after another."""
        prices: list[Price] = []
        facts: dict[str, InstanceFacts] = {}
        problems: list[str] = []
        requested: set[Want] = set()
        unknown: set[str] = set()
        regions = ec2_types(requests)
        for region, types in regions.items():
            odd: list[str] = []
            try:
                of_region = self._region(region, types, unknown, odd)
            except PriceSourceError as err:
                problems.append(str(err))
                continue
            requested.update(Want(PROVIDER, region, each) for each in types)
            if odd:
                problems.append(f"{NAME}: the price list of {region}: {left_out_sentence(len(odd), odd[0])}")
            for instance_type, rows in of_region.items():
                if len(rows) > 1:
                    problems.append(_several(region, instance_type, rows))
                    continue
                key = PriceKey(PROVIDER, region, "", instance_type, PurchaseOption.ON_DEMAND)
                try:
                    prices.append(Price(key, (PriceStep(-math.inf, float(rows[0]["PricePerUnit"])),), NAME, now))
                except ValueError as err:
                    problems.append(f"{NAME}: {instance_type} in {region}: {err}")
                    continue
                facts[instance_type] = parse_facts(rows[0])
        if problems and not prices:
            raise PriceSourceError(summary(problems))
        new = tuple(sorted(unknown))
        return Catalogue(
            tuple(prices), tuple(facts.values()), tuple(problems), requested=frozenset(requested), unknown=new
        )

    def _region(self, region: str, types: tuple[str, ...], unknown: set[str], odd: list[str]) -> dict[str, list[Row]]:
        where = f"{NAME}: the price list of {region} at {urlsplit(self.url).netloc}"
        address = f"{self.url}/offers/v1.0/aws/AmazonEC2/current/{region}/index.csv"
        request = Request(address, headers={"Accept": "text/csv, */*"}, same_host_redirects=3)
        try:
            with contextlib.ExitStack() as opened:
                with waiting():
                    answer = opened.enter_context(open_stream(request, Bounds.within(MOST_SECONDS, MOST_BYTES)))
                if answer.status != OK:
                    raise PriceSourceError(f"{where}: HTTP {answer.status}")
                return linux_rows(_lines(awaited(answer.pieces())), region, types, unknown, odd)
        except ExchangeError as err:
            raise PriceSourceError(f"{where}: cannot be read: {err}") from None
        except (ValueError, csv.Error) as err:
            raise PriceSourceError(f"{where}: is not a price list: {err}") from None


def _several(region: str, instance_type: str, rows: list[Row]) -> str:
    skus = ", ".join(sorted(f"{row['SKU']} ${_shown(row['PricePerUnit'])}" for row in rows))
    return f"{NAME}: {instance_type} in {region}: {len(rows)} rows match, not one ({skus}): no price taken"


def _shown(figure: str) -> str:
    return f"{float(figure):g}" if re.fullmatch(r"\d+(\.\d+)?", figure) else figure[:40]


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Lines of a download, however it is cut into pieces; the caller knows whether it is complete."""
    rest = b""
    count = 0
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            count += 1
            yield line + b"\n"
        if len(rest) > LONGEST_LINE_BYTES:
            raise ValueError(f"line {count + 1} is longer than {LONGEST_LINE_BYTES} bytes")
    if rest:
        yield rest


def linux_rows(
    lines: Iterator[bytes], region: str, types: tuple[str, ...], unknown: set[str], odd: list[str]
) -> dict[str, list[Row]]:
    """Rows of shared Linux machines on demand, in dollars an hour above zero, by instance type.

    Args:
        lines: of the list.
        region: code of the region.
        types: those that are wanted.
        unknown: takes kinds of prices that are not known here.
        odd: receives what is wrong with lines that are not rows; these are skipped.

    Raises:
        ValueError: for a list of another form.
    """
    columns = _columns(lines)
    names_one = re.compile(b'"(?:' + b"|".join(re.escape(name.encode()) for name in types) + b')"')
    by_type: dict[str, list[Row]] = {}
    for line in lines:
        if b'"OnDemand"' not in line or not names_one.search(line):  # most of a million lines end here
            continue
        try:
            cells = next(csv.reader([line.decode("utf-8")], strict=True))
            row = dict(zip(columns, cells, strict=True))
        except (ValueError, csv.Error) as err:
            odd.append(f"{line[:80]!r}: {err}")
            continue
        if row["Instance Type"] not in types or row["Region Code"] != region:
            continue
        unknown |= {f"{kind}={row[kind][:80]}" for kind, name in _KINDS.items() if row[kind] not in KNOWN_KINDS[name]}
        if _is_linux_on_demand(row):
            by_type.setdefault(row["Instance Type"], []).append(row)
    if odd and not by_type:
        raise ValueError(odd[0])
    return by_type


def _columns(lines: Iterator[bytes]) -> list[str]:
    """The names of the columns, which follow five lines about the list."""
    for _, line in zip(range(HEADER_WITHIN_LINES), lines, strict=False):
        cells: list[str] = next(csv.reader([line.decode("utf-8")], strict=True), [])
        if cells[:1] == ["SKU"]:
            missing = [name for name in (*_LINUX_ON_DEMAND, *_OTHERS) if name not in cells]
            if missing:  # a guard that cannot look must not pass
                raise ValueError(f"column {missing[0]!r} is missing")
            return cells
    raise ValueError("no header line with the columns")


def _is_linux_on_demand(row: Row) -> bool:
    return all(row[name] in allowed for name, allowed in _LINUX_ON_DEMAND.items()) and not _is_nothing(row)


def _is_nothing(row: Row) -> bool:
    """Whether it costs nothing or less. A value that is not a number is not a price, and no other row replaces it."""
    try:
        return float(row["PricePerUnit"]) <= 0
    except ValueError:
        return False


def parse_facts(row: Row) -> InstanceFacts:
    """The hardware of a type, from the list; it does not name the GPU, and spells GPU memory in many ways."""
    memory = re.fullmatch(r"([\d,.]+) GiB", row["Memory"])
    return InstanceFacts(
        provider=PROVIDER,
        instance_type=row["Instance Type"],
        gpus=_number(row["GPU"]),
        vcpus=_number(row["vCPU"]),
        memory_bytes=gib(_number(memory[1].replace(",", ""))) if memory else None,
    )


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\d+(\.\d+)?", text) else None
