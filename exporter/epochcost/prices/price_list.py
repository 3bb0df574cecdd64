"""A dated price list as CSV or YAML: one row is what an hour of one machine type costs from one date on.

Columns: ``provider, region, zone, instance_type, purchase_option, reservation, usd_per_hour, date, source`` and, where
known, what the type holds: ``gpu_model, gpus, gpu_memory_gib`` (of one GPU), ``vcpus, memory_gib``. A row with a
``reservation`` is the price of machines started in that one alone. Rows of one key with different dates make a step
history. Lines that begin with ``#`` are comments. Instead of ``usd_per_hour`` a row may have ``price_per_hour`` in a
``currency`` with a configured rate. In YAML a list is a sequence of mappings with those keys.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone

from epochcost.model import InstanceFacts, Price, PriceKey, PriceStep, PurchaseOption
from epochcost.prices.currency import NO_RATES, Rates
from epochcost.prices.price_source import Catalogue

NEEDED = ("provider", "instance_type", "purchase_option", "date")
PRICED = ("usd_per_hour", "price_per_hour", "currency")
OPTIONAL = ("region", "zone", "reservation", "source", "gpu_model", "gpus", "gpu_memory_gib", "vcpus", "memory_gib")
COLUMNS = (*NEEDED, *PRICED, *OPTIONAL)
MOST_ERRORS = 50
GIB = 1024**3
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,128}")


class PriceListError(ValueError):
    """A price list is wrong; ``lines`` has one sentence a mistake, naming line, column, value and what is allowed."""

    def __init__(self, lines: list[str]) -> None:
        more = [f"and {len(lines) - MOST_ERRORS} more"] if len(lines) > MOST_ERRORS else []
        super().__init__("; ".join(lines[:MOST_ERRORS] + more))
        self.lines = lines


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the list, its date as seconds since the Unix epoch."""

    line: int
    key: PriceKey
    step: PriceStep
    facts: InstanceFacts


def parse_yaml(text: str, rates: Rates = NO_RATES) -> tuple[Row, ...]:
    """Rows of a list written in YAML; "line" of a row is the number of its entry.

    Raises:
        PriceListError: with every mistake in it.
    """
    import yaml

    try:
        entries = yaml.safe_load(text)
    except yaml.YAMLError as err:
        raise PriceListError([f"is not YAML: {' '.join(str(err).split())}"]) from None
    except (ValueError, RecursionError) as err:  # a date or a number that is none; lists in lists without end
        raise PriceListError([f"is not YAML: {type(err).__name__}: {str(err)[:80]}"]) from None
    if not isinstance(entries, list):
        raise PriceListError([f"must be a list of mappings with {', '.join(NEEDED)} and usd_per_hour"])
    rows: list[Row] = []
    errors: list[str] = []
    for number, entry in enumerate(entries, start=1):
        try:
            rows.append(_row(_cells(entry), number, rates))
        except ValueError as err:  # noqa: PERF203 - every mistake is named
            errors.append(f"entry {number}: {err}")
    errors += _duplicates(rows, "entry")
    if errors:
        raise PriceListError(errors)
    return tuple(rows)


def _cells(entry: object) -> dict[str, str]:
    if not isinstance(entry, Mapping):
        raise ValueError(f"{entry!r} must be a mapping")  # noqa: TRY004 - a bad value
    unknown = [key for key in entry if key not in COLUMNS]
    missing = [key for key in NEEDED if key not in entry]
    if unknown or missing:
        raise ValueError(f"unknown key {unknown[0]!r}" if unknown else f"key {missing[0]} is missing")
    return {str(key): "" if value is None else str(value).strip() for key, value in entry.items()}


def parse(lines: Iterable[str], rates: Rates = NO_RATES) -> tuple[Row, ...]:
    """Rows of a whole list.

    Raises:
        PriceListError: with every mistake in it; a list with a mistake is refused whole.
    """
    reader = csv.reader(("\n" if line.startswith("#") else line for line in lines), strict=True)
    rows: list[Row] = []
    errors: list[str] = []
    columns: list[str] | None = None
    try:
        for cells in reader:
            if not any(cells):
                continue
            if columns is None:
                columns = _header(cells, reader.line_num)
                continue
            try:
                rows.append(_row(_values(cells, columns), reader.line_num, rates))
            except ValueError as err:
                errors.append(f"line {reader.line_num}: {err}")
    except csv.Error as err:
        errors.append(f"line {reader.line_num}: is not CSV: {err}")
    if columns is None and not errors:
        errors.append(f"line 1: the first line must name the columns, at least {', '.join(NEEDED)}, usd_per_hour")
    errors += _duplicates(rows)
    if errors:
        raise PriceListError(errors)
    return tuple(rows)


def _header(cells: list[str], line: int) -> list[str]:
    columns = [cell.strip() for cell in cells]
    missing = [name for name in NEEDED if name not in columns]
    if not missing and "usd_per_hour" not in columns and not {"price_per_hour", "currency"} <= set(columns):
        missing = ["usd_per_hour"]
    unknown = [name for name in columns if name not in COLUMNS]
    twice = [name for name in columns if columns.count(name) > 1]
    if missing:
        raise PriceListError(
            [f"line {line}: column {missing[0]} is missing; needed: {', '.join(NEEDED)}, usd_per_hour"]
        )
    if unknown:
        raise PriceListError(
            [f"line {line}: unknown column {unknown[0]!r}; allowed: {', '.join(COLUMNS)}"],
        )
    if twice:
        raise PriceListError([f"line {line}: column {twice[0]} occurs twice"])
    return columns


def _values(cells: list[str], columns: list[str]) -> dict[str, str]:
    if len(cells) != len(columns):
        raise ValueError(f"has {len(cells)} values for {len(columns)} columns")
    return {name: cell.strip() for name, cell in zip(columns, cells, strict=True)}


def _row(values: Mapping[str, str], line: int, rates: Rates) -> Row:
    key = PriceKey(
        provider=_text(values, "provider").lower(),
        region=_text(values, "region", optional=True),
        zone=_text(values, "zone", optional=True),
        instance_type=_text(values, "instance_type"),
        purchase_option=_purchase_option(values["purchase_option"]),
        reservation=_text(values, "reservation", optional=True),
    )
    if key.reservation and key.purchase_option is not PurchaseOption.RESERVED:
        raise ValueError(f"column reservation: {key.reservation!r} goes with purchase_option reserved only")
    return Row(line, key, PriceStep(_date(values["date"]), _price_of(values, rates)), _facts(key, values))


def _price_of(values: Mapping[str, str], rates: Rates) -> float:
    usd, other, currency = (values.get(column, "") for column in PRICED)
    if usd and other:
        raise ValueError("column price_per_hour: give it or usd_per_hour, not both")
    if not other:
        return _usd_per_hour(usd, "usd_per_hour")
    if currency != "USD" and currency not in rates:
        known = ", ".join(["USD", *rates])
        raise ValueError(f"column currency: {currency!r} has no rate; known: {known}; set --prices.currencies")
    return _usd_per_hour(other, "price_per_hour", rates.get(currency, 1.0))


def _text(values: Mapping[str, str], column: str, *, optional: bool = False) -> str:
    value = values.get(column, "")
    if not value and optional:
        return ""
    if not _NAME.fullmatch(value):
        raise ValueError(f"column {column}: {value!r} must be 1 to 128 printable characters")
    return value


def _purchase_option(value: str) -> PurchaseOption:
    try:
        return PurchaseOption(value)
    except ValueError:
        allowed = ", ".join(option.value for option in PurchaseOption)
        raise ValueError(f"column purchase_option: {value!r} is not known; allowed: {allowed}") from None


def _usd_per_hour(value: str, column: str, rate: float = 1.0) -> float:
    try:
        return PriceStep(0.0, float(value) * rate).usd_per_hour
    except ValueError:
        raise ValueError(f"column {column}: {value!r} must be US dollars an hour, above 0 to 1000000") from None


def _date(value: str) -> float:
    text = f"{value[:-1]}+00:00" if value.endswith("Z") else value  # Python 3.10 reads no Z
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"column date: {value!r} must be a day, 2026-11-21, or 2026-11-21T10:00:00Z (UTC)") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()


def _number(values: Mapping[str, str], column: str) -> float | None:
    text = values.get(column, "")
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"column {column}: {text!r} must be a number of 0 or more, or empty")
    return value


def _facts(key: PriceKey, values: Mapping[str, str]) -> InstanceFacts:
    gpu_memory, memory = _number(values, "gpu_memory_gib"), _number(values, "memory_gib")
    return InstanceFacts(
        provider=key.provider,
        instance_type=key.instance_type,
        gpu_model=_text(values, "gpu_model", optional=True),
        gpus=_number(values, "gpus"),
        gpu_memory_bytes=None if gpu_memory is None else round(gpu_memory * GIB),
        vcpus=_number(values, "vcpus"),
        memory_bytes=None if memory is None else round(memory * GIB),
    )


def _duplicates(rows: list[Row], unit: str = "line") -> list[str]:
    first: dict[tuple[PriceKey, float], int] = {}
    errors = []
    for row in rows:
        earlier = first.setdefault((row.key, row.step.ts), row.line)
        if earlier != row.line:
            errors.append(f"{unit} {row.line}: column date: the same machine has this date on {unit} {earlier} already")
    return errors


def catalogue(rows: Iterable[Row], source: str, now: float) -> Catalogue:
    """All rows as prices with their histories; a price is as old as its newest row that is in effect at ``now``."""
    steps: dict[PriceKey, list[PriceStep]] = {}
    facts: dict[InstanceFacts, None] = {}
    for row in rows:
        steps.setdefault(row.key, []).append(row.step)
        facts[row.facts] = None
    prices = tuple(_price(key, of_key, source, now) for key, of_key in steps.items())
    return Catalogue(prices, tuple(facts), whole_history=True, notes=tuple(_narrow(source, steps)))


def _narrow(source: str, keys: Iterable[PriceKey]) -> Iterator[str]:
    """Reserved prices that apply to some machines only: a machine without a zone or reservation has none."""
    for key in keys:
        if key.purchase_option is not PurchaseOption.RESERVED or not (key.zone or key.reservation):
            continue
        where = " and ".join(
            f"{what} {value}" for what, value in (("zone", key.zone), ("reservation", key.reservation)) if value
        )
        yield f"{source}: the reserved price of {key.instance_type} holds in {where} only"


def _price(key: PriceKey, steps: list[PriceStep], source: str, now: float) -> Price:
    ordered = tuple(sorted(steps, key=lambda step: step.ts))
    dated = max((step.ts for step in ordered if step.ts <= now), default=ordered[0].ts)
    return Price(key, ordered, source, dated)
