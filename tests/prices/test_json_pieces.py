"""Long JSON read row by row is what `json.loads` makes of it, or an error where that has one."""

from __future__ import annotations

import json
import random

import pytest

from epochcost.prices import json_pieces
from epochcost.prices.json_pieces import loads


@pytest.fixture(autouse=True)
def _however_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_pieces, "PIECEWISE_FROM", 0)


DOCUMENTS = [
    {},
    {"a": []},
    {"a": [1, 2.5, "x", None, True, {"b": [1, {"c": []}]}], "d": {"e": [1]}, "f": -1e300},
    {"offers": [{"id": n, "name": f"n\u00e4me {n}", "x": [n] * 3} for n in range(200)], "success": True},
]


@pytest.mark.parametrize("document", DOCUMENTS)
@pytest.mark.parametrize("indent", [None, 1])
def test_it_reads_what_json_reads(document: object, indent: int | None) -> None:
    text = f" {json.dumps(document, indent=indent)}\n"
    assert loads(text) == json.loads(text)


def test_the_last_of_duplicate_names_counts() -> None:
    assert loads('{"a": [1], "a": [2]}') == json.loads('{"a": [1], "a": [2]}')


@pytest.mark.parametrize("text", ["[1, 2]", '"x"', "3", "null"])
def test_anything_but_an_object_is_read_at_once(text: str) -> None:
    assert loads(text) == json.loads(text)


def test_every_broken_text_is_an_error_as_for_json_loads() -> None:
    complete = json.dumps(DOCUMENTS[2])
    rng = random.Random(16)
    texts = [complete[:end] for end in range(len(complete))]
    for _ in range(2000):
        at = rng.randrange(len(complete))
        texts.append(complete[:at] + rng.choice('{}[]":,x1 ') + complete[at + 1 :])
    for text in texts:
        try:
            expected: object = json.loads(text, parse_constant=None)
        except ValueError:
            expected = ValueError
        if expected is ValueError:
            with pytest.raises(ValueError, match=r"."):
                loads(text)
        else:
            assert loads(text) == expected


@pytest.mark.parametrize("text", ['{"a": NaN}', '{"a": [Infinity]}', '{"a": 1} x', '{"a" 1}', "{1: 2}", '{"a": 1,}'])
def test_invalid_json_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        loads(text)


def test_too_deep_nesting_is_an_error_and_not_a_crash() -> None:
    with pytest.raises(RecursionError):
        loads('{"a": ' + "[" * 100_000)
