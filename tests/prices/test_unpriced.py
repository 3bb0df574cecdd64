"""Requested types missing in the response: detected in one place for every source, reported with the nearest names."""

from __future__ import annotations

import math
import time

import pytest

from epochcost.model import Price, PriceKey, PriceStep, PurchaseOption
from epochcost.prices.price_source import Catalogue, Want
from epochcost.prices.unpriced import nearest, sentences, unpriced

NAMES = ("p4d.24xlarge", "p5.48xlarge", "p5en.48xlarge", "g5.xlarge")


def priced(region: str, name: str) -> Price:
    key = PriceKey("aws", region, "", name, PurchaseOption.ON_DEMAND)
    return Price(key, (PriceStep(-math.inf, 1.0),), "aws", 0.0)


def requested_types(*places: tuple[str, str]) -> frozenset[Want]:
    return frozenset(Want("aws", region, name) for region, name in places)


def test_a_price_in_the_region_or_everywhere_satisfies_a_request_and_one_elsewhere_does_not() -> None:
    requested = requested_types(("us-east-1", "p5.48xlarge"), ("eu-west-1", "p5.48xlarge"), ("eu-west-1", "g5.xlarge"))
    catalogue = Catalogue((priced("us-east-1", "p5.48xlarge"), priced("", "g5.xlarge")), requested=requested)
    assert [each.want.region for each in unpriced(catalogue)] == ["eu-west-1"]


def test_types_that_were_not_requested_are_not_missing() -> None:
    assert unpriced(Catalogue((priced("us-east-1", "p5.48xlarge"),))) == ()


def test_a_reason_of_the_source_takes_precedence_over_a_similar_name() -> None:
    catalogue = Catalogue(
        requested=requested_types(("us-east-1", "ml.p5")),
        names=frozenset(NAMES),
        reasons={"ml.p5": "sold for clusters"},
    )
    assert sentences("aws", unpriced(catalogue)) == ("aws: ml.p5: no price in us-east-1: sold for clusters",)


def test_a_name_of_the_provider_is_not_reported_as_misspelt() -> None:
    (sentence,) = sentences(
        "aws", unpriced(Catalogue(requested=requested_types(("x", "g5.xlarge")), names=frozenset(NAMES)))
    )
    assert "is the name right" not in sentence
    assert "is it sold there?" in sentence


def test_one_message_per_type_whatever_the_regions_and_none_where_a_problem_names_it() -> None:
    requested = requested_types(*((f"region-{n}", "p5.49xlarge") for n in range(7)), ("region-1", "p4e.24xlarge"))
    missing = unpriced(Catalogue(requested=requested, names=frozenset(NAMES)))
    (sentence,) = sentences("aws", missing, ("get_products for p4e.24xlarge: 2 rows match",))
    assert sentence.startswith("aws: p5.49xlarge: no price in region-0, region-1")
    assert "and more" in sentence
    assert "Nearest: p5.48xlarge, p5en.48xlarge" in sentence


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("p5.49xlarge", ("p5.48xlarge", "p5en.48xlarge")),
        ("P5.48XLARGE", ("p5.48xlarge", "p5en.48xlarge")),
        ("Standard_NC4as_T4_v3", ()),
        ("", ()),
        ("x" * 500, ()),
    ],
)
def test_the_nearest_names(name: str, expected: tuple[str, ...]) -> None:
    assert nearest(name, NAMES)[:2] == expected


def test_invalid_names_are_not_repeated_and_a_thousand_unknown_ones_take_little_time() -> None:
    requested = requested_types(*(("us-east-1", f"p5.{n:04d}xlarge") for n in range(1000)))
    names = frozenset(
        {*(f"p{n}.{size}xlarge" for n in range(20) for size in range(25)), "p5.0001xlarge\x1b[2J", "p" * 999}
    )
    started_at = time.thread_time()
    missing = unpriced(Catalogue(requested=requested, names=names))
    assert time.thread_time() - started_at < 5
    assert len(missing) == 1000
    assert not [name for each in missing for name in each.nearest if len(name) > 128 or not name.isprintable()]
