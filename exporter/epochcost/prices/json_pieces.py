"""Long JSON read row by row, so that no other thread waits for the interpreter until all of it is read.

`json.loads` is one call into C that keeps the interpreter's lock: 32 MiB take 160 ms, in which no scrape is served.
Read by rows it takes half as long again in all, and some microseconds at a time.
"""

from __future__ import annotations

import json
import re
from typing import Any

PIECEWISE_FROM = 128 * 1024
"""Characters; anything shorter is read at once."""
_BLANKS = re.compile(r"[ \t\n\r]*")


def loads(text: str) -> Any:  # noqa: ANN401 - whatever JSON holds
    """As `json.loads`, NaN and infinity refused.

    Raises:
        ValueError: for what is not JSON; a `json.JSONDecodeError` where a place in the text can be named.
        RecursionError: for what is nested too deep.
    """
    decoder = json.JSONDecoder(parse_constant=_refuse)
    if len(text) < PIECEWISE_FROM or not text.lstrip(" \t\n\r").startswith("{"):
        return decoder.decode(text)
    document, end = _object(decoder, text, _skip(text, 0) + 1)
    if _skip(text, end) != len(text):
        raise json.JSONDecodeError("Extra data", text, _skip(text, end))
    return document


def _object(decoder: json.JSONDecoder, text: str, at: int) -> tuple[dict[str, Any], int]:
    """The object whose brace is before ``at``, and where it ends; lists right in it are read element by element."""
    fields: dict[str, Any] = {}
    at = _skip(text, at)
    if text[at : at + 1] == "}":
        return fields, at + 1
    while True:
        name, at = _value(decoder, text, at)
        if not isinstance(name, str):
            raise json.JSONDecodeError("Expecting property name enclosed in double quotes", text, at)
        at = _expected(text, _skip(text, at), ":")
        at = _skip(text, at)
        fields[name], at = _list(decoder, text, at + 1) if text[at : at + 1] == "[" else _value(decoder, text, at)
        at = _skip(text, at)
        if text[at : at + 1] == "}":
            return fields, at + 1
        at = _skip(text, _expected(text, at, ","))


def _list(decoder: json.JSONDecoder, text: str, at: int) -> tuple[list[Any], int]:
    elements: list[Any] = []
    at = _skip(text, at)
    if text[at : at + 1] == "]":
        return elements, at + 1
    while True:
        value, at = _value(decoder, text, at)
        elements.append(value)
        at = _skip(text, at)
        if text[at : at + 1] == "]":
            return elements, at + 1
        at = _skip(text, _expected(text, at, ","))


def _value(decoder: json.JSONDecoder, text: str, at: int) -> tuple[Any, int]:
    return decoder.raw_decode(text, at)


def _expected(text: str, at: int, sign: str) -> int:
    if text[at : at + 1] != sign:
        raise json.JSONDecodeError(f"Expecting {sign!r} delimiter", text, at)
    return at + 1


def _skip(text: str, at: int) -> int:
    match = _BLANKS.match(text, at)
    return at if match is None else match.end()


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not a number")
