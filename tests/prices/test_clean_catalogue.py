"""Untrusted names and figures of an API, sanitised in a query of the market."""

from __future__ import annotations

import json
import math

import pytest

from epochcost.model import InstanceFacts, Price, PriceKey, PriceStep, PurchaseOption
from epochcost.poller.once import Printout, run_once
from epochcost.poller.poller_settings import PollerSettings
from epochcost.prices.clean_catalogue import clean
from epochcost.prices.price_source import Catalogue, PriceRequests, Zone

EVIL = ["\x1b]0;owned\x07", "x\u202egnp", "a\nb", "a\x00b", "n" * 5000, "\ud800"]


def priced(instance_type: str, usd: float = 1.0) -> Price:
    key = PriceKey("acme", "", "", instance_type, PurchaseOption.ON_DEMAND)
    return Price(key, (PriceStep(-math.inf, usd),), "acme", 0.0)


class FixedSource:
    watched: frozenset[object] = frozenset()
    provider = ""

    def __init__(self, name: str, result: Catalogue | Exception) -> None:
        self.name, self._result = name, result

    def fetch(self, requests: PriceRequests, now: float) -> Catalogue:
        if isinstance(self._result, Exception):
            raise self._result
        return self._result


def test_rows_with_unprintable_names_are_left_out_and_reported_and_the_others_stay():
    dirty = Catalogue(
        prices=(priced("good"), priced("<b>&\"'"), *map(priced, EVIL)),
        facts=tuple(InstanceFacts("acme", name, "H100", 8) for name in ("good", *EVIL)),
        zones=tuple(Zone("acme", "r", name, "1") for name in ("z", *EVIL)),
        problems=("a\x1b[2J\nb" + "x" * 5000,),
        notes=("n\u202e",),
        unknown=("u\x00",),
        names=frozenset(["good", *EVIL]),
        reasons={"good": "w\x1b", "\x1b": "x"},
    )
    cleaned = clean("acme", dirty)
    assert [price.key.instance_type for price in cleaned.prices] == ["good", "<b>&\"'"]
    assert [fact.instance_type for fact in cleaned.facts] == ["good"]
    assert [zone.zone for zone in cleaned.zones] == ["z"]
    assert cleaned.names == {"good"}
    assert cleaned.notes[-1].startswith("acme: 6 rows were left out")
    texts = [*cleaned.problems, *cleaned.notes, *cleaned.unknown, *cleaned.reasons, *cleaned.reasons.values()]
    assert all(text.isprintable() and len(text) <= 500 for text in texts)


@pytest.mark.parametrize("figure", [1e308, math.inf, math.nan, -1.0, -1e308, 1e300])
def test_impossible_machine_facts_are_unknown(figure: float):
    fact = InstanceFacts("acme", "good", "H\x1b", figure, figure, figure, figure)  # type: ignore[arg-type]
    (cleaned_fact,) = clean("acme", Catalogue(facts=(fact,))).facts
    assert cleaned_fact == InstanceFacts("acme", "good")


def test_a_clean_response_is_unchanged():
    catalogue = Catalogue((priced("good"),), (InstanceFacts("acme", "good", "H100", 8, 80, 4, 5),))
    assert clean("acme", catalogue) == catalogue


@pytest.mark.parametrize("form", ["table", "csv", "json"])
@pytest.mark.parametrize("fault", [OverflowError("int too large"), KeyError("\x1b[2J"), RecursionError()])
def test_an_unexpected_error_of_a_source_does_not_affect_the_rows_of_others(form: str, fault: Exception):
    huge = Catalogue((priced("huge"),), (InstanceFacts("acme", "huge", "H100", 1e308, None, 1e308, 10**400),))
    sources = [FixedSource("broken", fault), FixedSource("acme", huge)]
    look = run_once(PollerSettings(), sources, lambda: 0.0, Printout(form=form))  # type: ignore[arg-type]
    assert "huge" in look.text
    assert not look.complete
    assert any(line.startswith("failed: broken: its response cannot be understood") for line in look.messages), (
        look.messages
    )
    assert all(line.isprintable() for line in look.messages)
    if form == "json":
        json.loads(look.text)
