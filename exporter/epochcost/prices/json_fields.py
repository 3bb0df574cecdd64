"""Typed reading of a provider's JSON rows: what is not as expected is named, and never becomes a number."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from epochcost.model import is_number
from epochcost.shown_text import one_line

_PRICED = re.compile(r"(^|_)(price|prices|cost|costs|rate|rates|bid|dph|usd|hourly|monthly)(_|$)")
MOST_UNKNOWN = 10
_WORDS = ("msg", "message", "detail", "error", "title")
"""Fields in which a service explains an error."""


class FieldError(ValueError):
    """A field is not as expected; the text names it, its value and what it should be."""


def number(row: Mapping[str, Any], name: str) -> float:
    """A finite number; a figure written as text is none.

    Raises:
        FieldError: naming the field.
    """
    value = row.get(name)
    if not is_number(value):
        raise FieldError(f"{name}: {_shown(value)} is not a number")
    return float(value)


def optional_number(row: Mapping[str, Any], name: str) -> float | None:
    """As `number`; None if the field is absent or null."""
    return None if row.get(name) is None else number(row, name)


def text(row: Mapping[str, Any], name: str) -> str:
    """A text that is not empty.

    Raises:
        FieldError: naming the field.
    """
    value = row.get(name)
    if not isinstance(value, str) or not value:
        raise FieldError(f"{name}: {_shown(value)} is not text")
    return value


def mapping(row: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """An object.

    Raises:
        FieldError: naming the field.
    """
    value = row.get(name)
    if not isinstance(value, dict):
        raise FieldError(f"{name}: {_shown(value)} is not an object{it_says(row)}")
    return value


def rows(row: Mapping[str, Any], name: str, left_out: list[str] | None = None) -> list[Mapping[str, Any]]:
    """A list of objects.

    Args:
        row: has the list.
        name: of the field.
        left_out: takes a sentence about entries that are anything else, which then cost no more than themselves.

    Raises:
        FieldError: naming the field; for anything else in it too, if there is no ``left_out``, or nothing is left.
    """
    value = row.get(name)
    if not isinstance(value, list):
        raise FieldError(f"{name}: {_shown(value)} is not a list{it_says(row)}")
    objects: list[Mapping[str, Any]] = [each for each in value if isinstance(each, dict)]
    if len(objects) < len(value):
        odd = next(each for each in value if not isinstance(each, dict))
        if left_out is None or not objects:
            raise FieldError(f"{name}: {_shown(odd)} in it is not an object")
        left_out.append(left_out_sentence(len(value) - len(objects), f"{name}: {_shown(odd)} is not an object"))
    return objects


def left_out_sentence(count: int, why: str) -> str:
    """How many rows were left out, and why the first of them was."""
    return f"{'1 row' if count == 1 else f'{count} rows'} left out: {why}"


def it_says(answer: Mapping[str, Any]) -> str:
    """The error message in a response, for the end of a sentence; empty if there is none."""
    message = next((answer[name] for name in _WORDS if isinstance(answer.get(name), str) and answer[name]), "")
    return f"; its message: {one_line(message)}" if message else ""


MOST_GIB = 1 << 20
"""A PiB."""


def unknown_prices(objects: Iterable[Mapping[str, Any]], known: Collection[str]) -> tuple[str, ...]:
    """Names of fields that look like prices and are not ``known``: the provider has changed something, look at it."""
    names = {name for row in objects for name in row if name not in known and _PRICED.search(_snake(name))}
    return tuple(sorted(names)[:MOST_UNKNOWN])


def unknown_values(values: Iterable[object], known: Collection[str]) -> tuple[str, ...]:
    """Kinds of prices that are not ``known``; what is not a string is left to the reader of the field."""
    return tuple(sorted({each[:80] for each in values if isinstance(each, str) and each and each not in known}))[
        :MOST_UNKNOWN
    ]


def _snake(name: str) -> str:
    """``retailPrice`` as ``retail_price``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def gib(amount: float | None) -> int | None:
    """Bytes of ``amount`` GiB; None for what no machine has."""
    return round(amount * 1024**3) if amount is not None and 0 < amount <= MOST_GIB else None


def _shown(value: object) -> str:
    return repr(value)[:80]
