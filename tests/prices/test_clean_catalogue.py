"""What an API, hijacked or not, puts into names and figures, on its way through a look at the market."""

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


class Answers:
    watched: frozenset[object] = frozenset()
    provider = ""

    def __init__(self, name: str, answer: Catalogue | Exception) -> None:
        self.name, self._answer = name, answer

    def fetch(self, requests: PriceRequests, now: float) -> Catalogue:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


def test_rows_with_names_that_cannot_be_shown_are_left_out_and_said_and_the_others_stay():
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
    found = clean("acme", dirty)
    assert [price.key.instance_type for price in found.prices] == ["good", "<b>&\"'"]
    assert [fact.instance_type for fact in found.facts] == ["good"]
    assert [zone.zone for zone in found.zones] == ["z"]
    assert found.names == {"good"}
    assert found.notes[-1].startswith("acme: 6 rows were left out")
    texts = [*found.problems, *found.notes, *found.unknown, *found.reasons, *found.reasons.values()]
    assert all(text.isprintable() and len(text) <= 500 for text in texts)


@pytest.mark.parametrize("figure", [1e308, math.inf, math.nan, -1.0, -1e308, 1e300])
def test_what_no_machine_holds_is_not_known(figure: float):
    fact = InstanceFacts("acme", "good", "H\x1b", figure, figure, figure, figure)  # type: ignore[arg-type]
    (found,) = clean("acme", Catalogue(facts=(fact,))).facts
    assert found == InstanceFacts("acme", "good")


def test_a_clean_answer_stays_as_it_is():
    catalogue = Catalogue((priced("good"),), (InstanceFacts("acme", "good", "H100", 8, 80, 4, 5),))
    assert clean("acme", catalogue) == catalogue


@pytest.mark.parametrize("form", ["table", "csv", "json"])
@pytest.mark.parametrize("fault", [OverflowError("int too large"), KeyError("\x1b[2J"), RecursionError()])
def test_a_source_that_breaks_in_a_way_nobody_foresaw_leaves_the_others_their_rows(form: str, fault: Exception):
    huge = Catalogue((priced("huge"),), (InstanceFacts("acme", "huge", "H100", 1e308, None, 1e308, 10**400),))
    sources = [Answers("broken", fault), Answers("acme", huge)]
    look = run_once(PollerSettings(), sources, lambda: 0.0, Printout(form=form))  # type: ignore[arg-type]
    assert "huge" in look.text
    assert not look.complete
    assert any(line.startswith("failed: broken: its response cannot be understood") for line in look.messages), (
        look.messages
    )
    assert all(line.isprintable() for line in look.messages)
    if form == "json":
        json.loads(look.text)
