"""Responses of price sources, cleaned: whatever an API, hijacked or not, puts into a name or a figure."""

from __future__ import annotations

from dataclasses import fields, replace

from epochcost.model import InstanceFacts, Price, is_number
from epochcost.prices.price_source import Catalogue
from epochcost.shown_text import is_name, printable

MAX_TEXT = 400
MAX_GPUS = 100_000
MAX_VCPUS = 10_000_000
MAX_BYTES = 1 << 60
_BOUNDS = {"gpus": MAX_GPUS, "vcpus": MAX_VCPUS, "gpu_memory_bytes": MAX_BYTES, "memory_bytes": MAX_BYTES}


def clean(source: str, catalogue: Catalogue) -> Catalogue:
    """``catalogue`` without impossible facts and rows whose names cannot be shown; a note reports these."""
    prices = tuple(price for price in catalogue.prices if _named(price))
    left_out = len(catalogue.prices) - len(prices)
    notes = [_sentence(note) for note in catalogue.notes]
    if left_out:
        rows = "1 row was" if left_out == 1 else f"{left_out} rows were"
        notes.append(f"{source}: {rows} left out: names with characters that cannot be shown, or too long")
    return replace(
        catalogue,
        prices=prices,
        facts=tuple(
            _possible(fact) for fact in catalogue.facts if is_name(fact.provider) and is_name(fact.instance_type)
        ),
        problems=tuple(map(_sentence, catalogue.problems)),
        refused=tuple(refused for refused in catalogue.refused if all(map(is_name, _texts(refused.key)))),
        zones=tuple(zone for zone in catalogue.zones if all(map(is_name, _texts(zone)))),
        names=frozenset(name for name in catalogue.names if is_name(name)),
        reasons={name: _sentence(why) for name, why in catalogue.reasons.items() if is_name(name)},
        notes=tuple(notes),
        unknown=tuple(_sentence(kind) for kind in catalogue.unknown),
    )


def _named(price: Price) -> bool:
    return all(map(is_name, (*_texts(price.key), price.source)))


def _texts(value: object) -> list[str]:
    """The texts in a flat value of the model."""
    values = [getattr(value, each.name) for each in fields(value)]  # type: ignore[arg-type]
    return [text for text in values if isinstance(text, str)]


def _possible(fact: InstanceFacts) -> InstanceFacts:
    """``fact`` with None, or no name, for what cannot be."""
    wrong = {
        name: None
        for name, most in _BOUNDS.items()
        if (value := getattr(fact, name)) is not None and not (is_number(value) and 0 <= value <= most)
    }
    model = fact.gpu_model if is_name(fact.gpu_model) else ""
    return replace(fact, gpu_model=model, **wrong) if wrong or model != fact.gpu_model else fact  # type: ignore[arg-type]


def _sentence(text: str) -> str:
    return printable(" ".join(text[: 4 * MAX_TEXT].split()))[:MAX_TEXT]
