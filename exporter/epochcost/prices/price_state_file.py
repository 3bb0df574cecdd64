"""The last good prices on disk: one JSON file, versioned, replaced atomically."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from epochcost.model import InstanceFacts, Price, PriceKey, PriceStep, PurchaseOption
from epochcost.prices.merged_prices import SourcePrices
from epochcost.prices.price_source import Zone
from epochcost.untrusted_files import replaced

VERSION = 1


class StateFileError(ValueError):
    """The file is not a price state file, or of another version."""


def write(path: Path, shelves: Mapping[str, SourcePrices]) -> None:
    """Replace ``path`` in one step, so that a reader or a power cut meets the old file or the new one.

    Raises:
        OSError: when it cannot be written; the old file stays.
    """
    with replaced(path, flush=True) as file:
        file.writelines(piece.encode() for piece in _written(shelves))


def read(path: Path) -> dict[str, SourcePrices]:
    """The shelves as last written.

    Raises:
        OSError: when it cannot be read.
        StateFileError: when its content is not a state file of this version.
    """
    try:
        document = json.loads(path.read_bytes())
        if document["v"] != VERSION:
            raise StateFileError(f"version {document['v']!r}, not {VERSION}")
        return {str(name): _shelf_from_json(str(name), shelf) for name, shelf in document["sources"].items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as err:
        raise StateFileError(f"{type(err).__name__}: {err}") from None


def _written(shelves: Mapping[str, SourcePrices]) -> Iterator[str]:
    """The file piece by piece: writing JSON stops every thread until the call returns."""
    yield f'{{"v":{VERSION},"sources":{{'
    for number, (name, shelf) in enumerate(shelves.items()):
        yield f'{"," if number else ""}{_json(name)}:{{"confirmed_ts":{_json(shelf.confirmed_ts)},"prices":['
        for place, price in enumerate(shelf.prices.values()):
            yield f"{',' if place else ''}{_json(_price_to_json(price))}"
        facts = [_json(asdict(fact)) for fact in shelf.facts.values()]
        zones = [_json(asdict(zone)) for zone in shelf.zones]
        yield f'],"facts":[{",".join(facts)}],"rows":{_json(shelf.rows)},"zones":[{",".join(zones)}]}}'
    yield "}}"


_json = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode


def _price_to_json(price: Price) -> dict[str, Any]:
    key = price.key
    steps = [[None if step.ts == -math.inf else step.ts, step.usd_per_hour] for step in price.steps]
    return {  # not asdict, which copies value by value and takes longer than all the rest
        "provider": key.provider,
        "region": key.region,
        "zone": key.zone,
        "instance_type": key.instance_type,
        "purchase_option": key.purchase_option,
        **({"reservation": key.reservation} if key.reservation else {}),
        "fetched_ts": price.fetched_ts,
        "steps": steps,
    }


def _shelf_from_json(name: str, raw: Mapping[str, Any]) -> SourcePrices:
    prices = [_price_from_json(name, price) for price in raw["prices"]]
    facts = [InstanceFacts(**fact) for fact in raw["facts"]]
    confirmed = raw["confirmed_ts"]
    return SourcePrices(
        {price.key: price for price in prices},
        {(fact.provider, fact.instance_type): fact for fact in facts},
        None if confirmed is None else float(confirmed),
        frozenset(Zone(**zone) for zone in raw.get("zones", ())),  # files of version 0.1 have none
        None if (rows := raw.get("rows")) is None else int(rows),
    )


def _price_from_json(source: str, raw: Mapping[str, Any]) -> Price:
    key = PriceKey(
        provider=str(raw["provider"]),
        region=str(raw["region"]),
        zone=str(raw["zone"]),
        instance_type=str(raw["instance_type"]),
        purchase_option=PurchaseOption(raw["purchase_option"]),
        reservation=str(raw.get("reservation", "")),
    )
    steps = tuple(PriceStep(-math.inf if ts is None else float(ts), float(usd)) for ts, usd in raw["steps"])
    return Price(key, steps, source, float(raw["fetched_ts"]))
