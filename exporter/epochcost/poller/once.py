"""``epochcost prices --once``: query every source once and print the market, cheapest GPU-hour first."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from textwrap import wrap

from epochcost.model import InstanceFacts, Price
from epochcost.poller.export_filter import names_gpu
from epochcost.poller.poller_settings import PollerSettings
from epochcost.poller.remedies import with_remedy
from epochcost.prices.clean_catalogue import clean
from epochcost.prices.listed import NAME as LISTED
from epochcost.prices.merged_prices import MergedPrices, usd_per_hour_at
from epochcost.prices.price_source import Catalogue, NotConfiguredError, PriceRequests, PriceSourceError, Source
from epochcost.prices.store import PriceStore, StoreRules
from epochcost.prices.unpriced import sentences, unpriced
from epochcost.settings import options
from epochcost.shown_text import csv_text, printable

log = logging.getLogger(__name__)

FORMATS = ("table", "csv", "json")
_WATCHED = (".regions", ".instance-types", ".machine-types")
HEADS = ("$/GPU-h", "$/h", "GPU", "GPUs", "provider", "where", "type", "how", "source", "age")
FIGURES = ("$/GPU-h", "$/h", "GPUs")
DISPENSABLE = ("source", "GPUs", "$/h")
"""Columns that a narrow terminal does without, in this order."""
CUT = ("GPU", "where", "type", "how")
"""Columns that are cut then, in this order: a machine differs from its neighbours by its type."""
KEPT_LETTERS = 2
LAST_TO_GO = "provider"
LEAST_WIDTH = 12
DATED = (
    "Dated prices from the list in the package, not queried now (to leave them out, omit listed from --prices.sources):"
)
OLD = "Dated prices of the list in the package that are more than a year old, for the record:"
NO_PRICE = "no price is known; see epochcost prices --help for what can be watched, and docs/prices.md"
FIRST_STEP = (
    "note: no source of current prices was queried; try one that needs no key: "
    "epochcost prices --once --runpod.instance-types '1x H100 SXM'"
)
OLD_SECONDS = 366 * 86400.0
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
    "reservation",
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
        """The message if none of ``everything`` is kept: most likely a name is misspelt."""
        flags = {"--gpu": (self.gpu, "gpu_model"), "--provider": (self.provider, "provider")}
        used = {flag: (name, column) for flag, (name, column) in flags.items() if name}
        known = [sorted({str(row[column]) for row in everything if row[column]}) for _, column in used.values()]
        selection = " and ".join(f"{flag} {name}" for flag, (name, _) in used.items())
        return f"no price matches {selection}; known are {'; '.join(', '.join(names or ['none']) for names in known)}"


@dataclass(frozen=True, slots=True)
class Look:
    """One look at the market.

    Attributes:
        text: the prices, in one of `FORMATS`.
        messages: a line for each thing that is not known: what failed, was skipped or has no price, and what would
            help.
        complete: whether prices are printed and no request failed.
    """

    text: str
    messages: tuple[str, ...]
    complete: bool


@dataclass(frozen=True, slots=True)
class _Response:
    """What one source returned."""

    catalogue: Catalogue | None = None
    failed: tuple[str, ...] = ()
    skipped: str = ""


@dataclass(frozen=True, slots=True)
class Printout:
    """What to print of the market, and how.

    Attributes:
        selected: which rows.
        form: one of `FORMATS`.
        width: of the terminal, in columns; 0 if there is none.
    """

    selected: Filter = Filter()
    form: str = "table"
    width: int = 0


def run_once(
    settings: PollerSettings,
    sources: Sequence[Source],
    clock: Callable[[], float],
    printout: Printout,
    skipped: Sequence[str] = (),
) -> Look:
    """Query ``sources`` once, all at a time.

    Args:
        settings: of the poller.
        sources: the sources to query.
        clock: seconds since the Unix epoch.
        printout: what to print, and how.
        skipped: why other sources are not queried.
    """
    now = clock()
    rules = StoreRules(settings.prices_precedence, adjust=settings.adjustments)
    store = PriceStore(None, [each.name for each in sources], rules)
    responses = dict(zip((source.name for source in sources), _fetch_all(settings, sources, now), strict=True))
    for name, response in responses.items():
        if response.catalogue is not None:
            store.put(name, response.catalogue, now)
    messages = _messages(responses, skipped)
    everything = market(store.merged, now)
    rows = [row for row in everything if printout.selected.keeps(row)]
    if everything and not rows:
        messages.append(printout.selected.nothing_fits(everything))
    elif not everything:
        messages.append(NO_PRICE)
    complete = bool(rows) and not any(response.failed for response in responses.values())
    return Look(_printed(printout.form, rows, printout.width), tuple(messages), complete)


def _messages(responses: Mapping[str, _Response], skipped: Sequence[str]) -> list[str]:
    """What failed, is odd about a response or was skipped, and what would help."""
    messages: list[str] = []
    for name, response in responses.items():
        messages += [f"failed: {with_remedy(sentence)}" for sentence in response.failed]
        messages += _remarks(name, response.catalogue) if response.catalogue is not None else []
    unread = [response.skipped for response in responses.values() if response.skipped]
    messages += [f"skipped: {each}" for each in _once_a_family((*skipped, *unread))]
    if len(messages) > 1 and all(name == LISTED or response.skipped for name, response in responses.items()):
        messages.append(FIRST_STEP)
    return messages


def _fetch_all(settings: PollerSettings, sources: Sequence[Source], now: float) -> list[_Response]:
    """What each of ``sources`` returns, all read at a time."""
    watched = frozenset(want for watch in settings.prices_watch if (want := watch.want) is not None)

    def fetch(source: Source) -> _Response:
        mine = frozenset(want for want in watched if want.provider == source.provider)
        return _fetch(source, PriceRequests(source.watched | mine), now)

    with ThreadPoolExecutor(max_workers=max(1, len(sources))) as pool:
        return list(pool.map(fetch, sources))


def _fetch(source: Source, requests: PriceRequests, now: float) -> _Response:
    try:
        catalogue = clean(source.name, source.fetch(requests, now))
    except NotConfiguredError as err:
        return _Response(skipped=str(err))
    except PriceSourceError as err:
        return _Response(failed=(printable(str(err)),))
    except Exception as err:
        # One source that breaks in a way that was not foreseen does not take the others along.
        log.debug("unexpected error in price source %s", source.name, exc_info=True)
        return _Response(failed=(f"{source.name}: its response cannot be understood: {type(err).__name__}",))
    idle = source.provider and not requests.items and not (catalogue.prices or catalogue.problems or catalogue.notes)
    return _Response(catalogue, catalogue.problems, _nothing_watched(source.name) if idle else "")


def _nothing_watched(name: str) -> str:
    """What to set so that a source has something to request; the same for all sources of one provider."""
    family = name.partition("_")[0]
    flags = [each.flag for each in options(PollerSettings).values() if not each.structured]
    own = [f"--{flag}" for flag in flags if flag.partition(".")[0] == family and flag.endswith(_WATCHED)]
    return f"{family}: nothing is watched: set {' and '.join(own)}" if own else ""


def _once_a_family(skipped: Sequence[str]) -> Iterator[str]:
    """The first sentence of each provider, for what one of its sources lacks the others lack too."""
    families: set[str] = set()
    for sentence in skipped:
        family = sentence.partition(":")[0].partition("_")[0]
        if family not in families:
            families.add(family)
            yield sentence


def _remarks(name: str, catalogue: Catalogue) -> list[str]:
    lines = [f"not priced: {each}" for each in sentences(name, unpriced(catalogue), catalogue.problems)]
    lines += [f"note: {note}" for note in catalogue.notes]
    new = ", ".join(catalogue.unknown)
    return (
        [*lines, f"note: {name}: kinds of prices that are not known here: {new}; please report them"] if new else lines
    )


def market(merged: MergedPrices, now: float) -> list[Row]:
    """Every price that is valid at ``now``, by $ per GPU-hour; machines without known GPUs come last."""
    rows = [
        _row(price, usd, merged.facts.get((price.key.provider, price.key.instance_type)), now)
        for price in merged.prices.values()
        if (usd := usd_per_hour_at(price, now)) is not None
    ]
    return sorted(rows, key=_by_gpu_hour)


def is_dated(row: Row) -> bool:
    """Whether it is of the list in the package: published at some time, and not requested now."""
    return row["source"] == LISTED


def _section(row: Row) -> int:
    """The order of rows: current ones first, then dated ones, then those that are old by any measure."""
    return 0 if not is_dated(row) else 1 if float(row["age_seconds"] or 0.0) <= OLD_SECONDS else 2


def _by_gpu_hour(row: Row) -> tuple[int, bool, float, float, str]:
    per_gpu, usd = row["usd_per_gpu_hour"], row["usd_per_hour"]
    name = " ".join(str(row[column]) for column in ("provider", "region", "zone", "instance_type", "purchase_option"))
    return _section(row), per_gpu is None, float(per_gpu or 0.0), float(usd or 0.0), name


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
        "reservation": key.reservation,
        "source": price.source,
        "age_seconds": max(0.0, now - price.fetched_ts),
    }


def _gib(value: int | None) -> float | None:
    return None if value is None else value / GIB


def _json(rows: Sequence[Row]) -> str:
    objects = [{name: value for name, value in row.items() if value not in (None, "")} for row in rows]
    return json.dumps(objects, indent=1)


def _csv(rows: Sequence[Row]) -> str:
    return csv_text(COLUMNS, rows).rstrip("\n")


def _table(rows: Sequence[Row], width: int) -> str:
    """Current prices first; those of the list in the package apart, old ones last, each group under its own heading."""
    all_cells = [_cells(row) for row in rows]
    columns = _fitting([HEADS, *all_cells], width)
    lines: list[str] = []
    for section, title in enumerate(("", DATED, OLD)):
        mine = [cells for row, cells in zip(rows, all_cells, strict=True) if _section(row) == section]
        if mine:
            lines += [*(["", *wrap(title, width or len(title))] if title else []), _line(HEADS, columns)]
            lines += [_line(cells, columns) for cells in mine]
    return "\n".join(lines).strip("\n") or _line(HEADS, columns)


def _fitting(lines: Sequence[Sequence[str]], width: int) -> dict[int, int]:
    """Which columns are printed, and how wide: in a narrow terminal the least needed go, then long names are cut."""
    widths = {i: max(len(line[i]) for line in lines) for i in range(len(HEADS))}
    for spare in DISPENSABLE:
        if not width or _sum(widths) <= width:
            return widths
        widths.pop(HEADS.index(spare))
    cut = _cut(widths, width, LEAST_WIDTH)
    if _sum(cut) > width:
        widths.pop(HEADS.index(LAST_TO_GO))
        cut = _cut(widths, width, LEAST_WIDTH // 2)
    return cut


def _cut(widths: Mapping[int, int], width: int, least: int) -> dict[int, int]:
    """``widths``, of which names are cut down to ``least`` as far as needed."""
    cut = dict(widths)
    for name in CUT:
        index = HEADS.index(name)
        cut[index] -= min(max(_sum(cut) - width, 0), max(cut[index] - least, 0))
    return cut


def _sum(widths: Mapping[int, int]) -> int:
    return sum(widths.values()) + 2 * (len(widths) - 1)


def _line(cells: Sequence[str], columns: Mapping[int, int]) -> str:
    parts = ((_shortened(cells[i], width), i, width) for i, width in columns.items())
    return "  ".join(cell.rjust(w) if HEADS[i] in FIGURES else cell.ljust(w) for cell, i, w in parts).rstrip()


def _shortened(cell: str, width: int) -> str:
    """Its first letters and as much of its end as fits: sizes, counts and versions are there."""
    end = width - 1 - min(KEPT_LETTERS, width - 1)
    return cell if len(cell) <= width else f"{cell[: width - 1 - end]}…{cell[len(cell) - end :]}"


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


def _printed(form: str, rows: Sequence[Row], width: int) -> str:
    return {"table": lambda: _table(rows, width), "csv": lambda: _csv(rows), "json": lambda: _json(rows)}[form]()
