"""``epochcost prices --once``: ask every source one time and print the market, cheapest GPU-hour first."""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from epochcost.model import InstanceFacts, Price
from epochcost.poller.export_filter import names_gpu
from epochcost.poller.poller_settings import PollerSettings
from epochcost.prices.merged_prices import MergedPrices, usd_per_hour_at
from epochcost.prices.price_source import Catalogue, NotConfiguredError, PriceSourceError, Source, Wanted
from epochcost.prices.store import PriceStore

log = logging.getLogger("epochcost.poller")
FORMATS = ("table", "csv", "json")
GIB = 1024**3
COLUMNS = (
    "usd_per_gpu_hour",
    "usd_per_hour",
    "gpu_model",
    "gpus",
    "gpu_memory_gib",
    "vcpus",
    "memory_gib",
    "provider",
    "region",
    "zone",
    "instance_type",
    "purchase_option",
    "source",
    "age_seconds",
)
Row = Mapping[str, float | str | None]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which rows to print; empty for all. Names without regard to case; the GPU as in `names_gpu`."""

    gpu: str = ""
    provider: str = ""

    def keeps(self, row: Row) -> bool:
        """Whether ``row`` is printed."""
        by_provider = not self.provider or str(row["provider"]).lower() == self.provider.lower()
        return by_provider and (not self.gpu or names_gpu(self.gpu, str(row["gpu_model"] or "")))

    def nothing_fits(self, everything: Sequence[Row]) -> str:
        """What to say where none of ``everything`` is kept: most likely a name is misspelt."""
        asked = {"--gpu": (self.gpu, "gpu_model"), "--provider": (self.provider, "provider")}
        given = {flag: (name, column) for flag, (name, column) in asked.items() if name}
        known = {
            column: sorted({str(row[column]) for row in everything if row[column]}) for _, column in given.values()
        }
        said = " and ".join(f"{flag} {name}" for flag, (name, _) in given.items())
        return f"no price fits {said}; known are {'; '.join(', '.join(names) for names in known.values())}"


def run_once(
    settings: PollerSettings, sources: Sequence[Source], clock: Callable[[], float], kept: Filter, form: str
) -> tuple[str, bool]:
    """Ask ``sources`` once, all at a time.

    Returns:
        The text to print, in one of `FORMATS`, and whether any source answered and any of its prices fits.
    """
    names = [source.name for source in sources]
    store = PriceStore(None, names, settings.prices_precedence, adjust=settings.adjustments)
    watched = frozenset(want for watch in settings.prices_watch if (want := watch.want) is not None)
    now = clock()

    def fetch(source: Source) -> Catalogue | None:
        mine = frozenset(want for want in watched if want.provider == source.provider)
        return _fetch(source, Wanted(source.watched | mine), now)

    with ThreadPoolExecutor(max_workers=max(1, len(sources))) as pool:
        answers = list(pool.map(fetch, sources))
    for name, catalogue in zip(names, answers, strict=True):
        if catalogue is not None:
            store.put(name, catalogue, now)
    everything = market(store.book, now)
    rows = [row for row in everything if kept.keeps(row)]
    if everything and not rows:
        log.warning("%s", kept.nothing_fits(everything))
    answered = any(answer is not None for answer in answers)
    return _FORMATS[form](rows), answered and bool(rows or not everything)


def _fetch(source: Source, wanted: Wanted, now: float) -> Catalogue | None:
    try:
        catalogue = source.fetch(wanted, now)
    except NotConfiguredError as err:
        log.info("price source skipped: %s", err)
        return None
    except PriceSourceError as err:
        log.warning("price source failed: %s", err)
        return None
    for problem in catalogue.problems:
        log.warning("price source %s: %s", source.name, problem)
    return catalogue


def market(book: MergedPrices, now: float) -> list[Row]:
    """Every price that holds at ``now``, by $ per GPU-hour; what has no GPUs, or does not say, comes last."""
    rows = [
        _row(price, usd, book.facts.get((price.key.provider, price.key.instance_type)), now)
        for price in book.prices.values()
        if (usd := usd_per_hour_at(price, now)) is not None
    ]
    return sorted(rows, key=_by_gpu_hour)


def _by_gpu_hour(row: Row) -> tuple[bool, float, float, str]:
    per_gpu, usd = row["usd_per_gpu_hour"], row["usd_per_hour"]
    name = " ".join(str(row[column]) for column in ("provider", "region", "zone", "instance_type", "purchase_option"))
    return per_gpu is None, float(per_gpu or 0.0), float(usd or 0.0), name


def _row(price: Price, usd: float, fact: InstanceFacts | None, now: float) -> Row:
    key = price.key
    gpus = fact.gpus if fact is not None else None
    return {
        "usd_per_gpu_hour": usd / gpus if gpus else None,
        "usd_per_hour": usd,
        "gpu_model": fact.gpu_model if fact is not None else "",
        "gpus": gpus,
        "gpu_memory_gib": _gib(fact.gpu_memory_bytes) if fact is not None else None,
        "vcpus": fact.vcpus if fact is not None else None,
        "memory_gib": _gib(fact.memory_bytes) if fact is not None else None,
        "provider": key.provider,
        "region": key.region,
        "zone": key.zone,
        "instance_type": key.instance_type,
        "purchase_option": key.purchase_option.value,
        "source": price.source,
        "age_seconds": max(0.0, now - price.fetched_ts),
    }


def _gib(value: int | None) -> float | None:
    return None if value is None else value / GIB


def _json(rows: Sequence[Row]) -> str:
    shown = [{name: value for name, value in row.items() if value not in (None, "")} for row in rows]
    return json.dumps(shown, indent=1)


def _csv(rows: Sequence[Row]) -> str:
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)  # None is written as nothing
    return out.getvalue().rstrip("\n")


def _table(rows: Sequence[Row]) -> str:
    heads = ("$/GPU-h", "$/h", "GPU", "GPUs", "provider", "where", "type", "how", "source", "age")
    lines = [heads, *(_cells(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(heads))]
    return "\n".join("  ".join(_aligned(line, widths)).rstrip() for line in lines)


def _aligned(line: Sequence[str], widths: Sequence[int]) -> Iterable[str]:
    figures = (0, 1, 3)
    for index, (cell, width) in enumerate(zip(line, widths, strict=True)):
        yield cell.rjust(width) if index in figures else cell.ljust(width)


def _cells(row: Row) -> tuple[str, ...]:
    return (
        _figure(row["usd_per_gpu_hour"], ".4f"),
        _figure(row["usd_per_hour"], ".4f"),
        str(row["gpu_model"] or ""),
        _figure(row["gpus"], "g"),
        str(row["provider"]),
        str(row["zone"] or row["region"] or ""),
        str(row["instance_type"]),
        str(row["purchase_option"]),
        str(row["source"]),
        age(float(row["age_seconds"] or 0.0)),
    )


def _figure(value: float | str | None, form: str) -> str:
    return "" if value is None else format(value, form)


def age(seconds: float) -> str:
    """``12s``, ``5m``, ``3h``, ``41d``, ``10y``."""
    for size, unit in ((365.25 * 86400, "y"), (86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s"


_FORMATS: Mapping[str, Callable[[Sequence[Row]], str]] = {"table": _table, "csv": _csv, "json": _json}
