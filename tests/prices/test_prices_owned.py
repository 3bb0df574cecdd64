"""The hourly cost of an owned machine."""

from __future__ import annotations

import math
from typing import Any

import pytest

from epochcost.model import PriceKey, PurchaseOption
from epochcost.prices.owned.owned_source import Owned, OwnedMachine, hourly_usd, parse_machines
from epochcost.prices.price_source import PriceRequests

DESKTOP = OwnedMachine("desktop", price_usd=2000, years=2, watts=355, tariff_usd_per_kwh=0.12)


def test_the_desktop_of_the_reference_costs_its_capital_and_its_electricity_to_the_last_bit() -> None:
    assert hourly_usd(DESKTOP) == 2000 / (2 * 8766) + 0.355 * 0.12
    assert math.isclose(hourly_usd(DESKTOP), 0.1566771161305042, rel_tol=1e-15)


def test_residual_value_overhead_and_pue_enter_as_in_the_formula() -> None:
    machine = OwnedMachine(
        "rack", 120_000, 4, 6000, 0.2, residual_usd=20_000, pue=1.5, overhead_usd_per_hour=0.75, gpus=8
    )
    assert math.isclose(hourly_usd(machine), 100_000 / (4 * 8766) + 0.75 + 6 * 1.5 * 0.2, rel_tol=1e-15)


def test_measured_power_replaces_the_configured_one() -> None:
    assert math.isclose(hourly_usd(DESKTOP, measured_watts=100), 2000 / (2 * 8766) + 0.1 * 0.12, rel_tol=1e-15)


def test_an_owned_machine_is_priced_by_its_name_as_far_back_as_matters() -> None:
    (price,) = Owned((DESKTOP,)).fetch(PriceRequests(), 1000.0).prices
    assert price.key == PriceKey("owned", "", "", "desktop", PurchaseOption.OWNED)
    assert price.steps[0].ts == -math.inf
    assert (price.source, price.fetched_ts) == ("owned", 1000.0)


def test_several_machines_come_from_a_list_with_keys_written_as_the_flags() -> None:
    machines = parse_machines(
        [
            {"instance-type": "a", "price-usd": 2000, "years": 2, "watts": 355, "tariff-usd-per-kwh": 0.12},
            {"instance-type": "b", "price-usd": "9000", "years": 3, "watts": 0, "tariff-usd-per-kwh": 0, "gpus": 2},
        ]
    )
    assert [(m.instance_type, m.price_usd, m.gpus) for m in machines] == [("a", 2000.0, None), ("b", 9000.0, 2.0)]


GOOD = {"price-usd": 2000, "years": 2, "watts": 355, "tariff-usd-per-kwh": 0.12}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"years": 0}, "machine 1: years: 0 must be above 0"),
        ({"years": "two"}, "machine 1: years: 'two' must be a number"),
        ({"pue": 0.5}, "machine 1: pue: 0.5: PUE must be >= 1"),
        ({"watts": -5}, "machine 1: watts: -5.0 must be a finite number"),
        ({"watts": float("nan")}, "machine 1: watts: nan must be a finite number"),
        ({"watts": True}, "machine 1: watts: True must be a number"),
        ({"residual-usd": 3000}, "residual-usd: 3000.0 must not be above price-usd, 2000.0"),
        ({"prise": 1}, "machine 1: unknown key 'prise'; allowed: instance-type, price-usd"),
        ({"price-usd": 0, "watts": 0}, "a price must be above 0"),
    ],
)
def test_a_wrong_machine_is_rejected_with_its_key_and_value(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="machine 1") as caught:
        parse_machines([{**GOOD, **change}])
    assert message in str(caught.value)


def test_a_machine_without_a_tariff_is_rejected_and_not_priced_without_electricity() -> None:
    with pytest.raises(ValueError, match="tariff-usd-per-kwh must be given too"):
        parse_machines([{"price-usd": 2000, "years": 2, "watts": 355}])


def test_two_machines_of_one_name_are_rejected() -> None:
    with pytest.raises(ValueError, match="'desktop' is given 2 times"):
        parse_machines([GOOD, GOOD])


def test_an_entry_that_is_not_a_machine_is_rejected() -> None:
    with pytest.raises(ValueError, match="machine 1: 'fast' must be a mapping"):
        parse_machines(["fast"])
