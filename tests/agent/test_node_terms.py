"""Terms beside a machine's price: free hours, deadlines, components of the price."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import pytest

from epochcost.agent.agent_health import endings
from epochcost.agent.credit_spending import CreditSpending
from epochcost.agent.machine_terms import MachineTerms
from epochcost.agent.meter import Meter
from epochcost.agent.meter_inputs import Inputs, Quote
from epochcost.agent.snapshot import Purse, Snapshot
from epochcost.ledger import Ledger
from epochcost.ledger.state_check import ImpossibleStateError
from epochcost.model import Node, PriceStep
from epochcost.prices.allowances import Credit, Limit, parse_balance
from epochcost.prices.quote import PriceTerms

START = datetime(2026, 11, 25, 12, tzinfo=timezone.utc).timestamp()
HOUR = 3600.0
FREE = Limit("trial", free_seconds=2 * HOUR, period="week")
PAID = (PriceStep(-math.inf, 3.0),)


def quote(steps: tuple[PriceStep, ...] = PAID, **terms: object) -> Quote:
    return Quote(steps, None, "listed" if steps else "free", START, START, PriceTerms(**terms))  # type: ignore[arg-type]


def meter(limits: tuple[Limit, ...] = ()) -> Meter:
    it = Meter(Ledger(), Node("n"), terms=MachineTerms(limits))
    it.begin_boot(START, START, [])
    return it


def run(one: Meter, price_quote: Quote | None, start: float, hours: float, step: float = 60.0) -> Snapshot:
    for i in range(1, round(hours * HOUR / step) + 1):
        snapshot = one.tick(start + i * step, Inputs(has_gpus=False, quote=price_quote))
    return snapshot


def dollars(snapshot: Snapshot) -> float:
    return math.fsum(snapshot.node.totals.cost_usd.values())


def test_free_hours_cost_nothing_and_later_ones_the_price() -> None:
    one = meter()
    price_quote = quote(limits=(FREE,))
    free = run(one, price_quote, START, 1.0)
    assert dollars(free) == 0.0
    assert free.node.price_usd_per_hour == 0.0
    assert free.node.terms.free_ends == (("trial", pytest.approx(START + 2 * HOUR)),)
    charged = run(one, price_quote, START + HOUR, 3.0)
    assert dollars(charged) == pytest.approx(2 * 3.0)
    assert (charged.node.price_usd_per_hour, charged.node.terms.free_ends) == (3.0, ())
    assert charged.node.unpriced_seconds == 0


def test_extras_of_the_machine_are_charged_in_free_hours_too() -> None:
    one = meter()
    price_quote = quote(limits=(FREE,), parts={"published": 2.5, "extra disk": 0.5}, extras_usd_per_hour=0.5)
    free = run(one, price_quote, START, 1.0)
    assert dollars(free) == pytest.approx(0.5)
    assert (free.node.price_usd_per_hour, free.node.terms.parts) == (0.5, {"extra disk": 0.5})
    state = json.loads(json.dumps(one.state()))
    assert one.restored(state, START + HOUR).ledger.price == one.ledger.price
    state["ledger"]["free_usd_per_hour"] = -1
    with pytest.raises(ImpossibleStateError, match="free_usd_per_hour"):
        one.restored(state, START + HOUR)
    charged = run(one, price_quote, START + HOUR, 2.0)
    assert dollars(charged) == pytest.approx(2 * 0.5 + 3.0)
    assert charged.node.terms.parts == {"published": 2.5, "extra disk": 0.5}


def test_without_a_price_the_time_after_the_free_hours_is_unknown_and_not_free() -> None:
    snapshot = run(meter(), quote((), limits=(FREE,)), START, 3.0)
    assert snapshot.node.price_usd_per_hour is None
    assert dollars(snapshot) == 0.0
    assert snapshot.node.unpriced_seconds == pytest.approx(HOUR)


def test_used_hours_of_the_week_stay_used_after_a_restart() -> None:
    one = meter()
    price_quote = quote(limits=(FREE,))
    run(one, price_quote, START, 1.5)
    state = json.loads(json.dumps(one.state()))
    other = meter()
    other.take(other.restored(state, START + 2 * HOUR))
    # The machine was off for a day; there has been no response since.
    later = START + 24 * HOUR
    other.begin_boot(later, later, [])
    other.tick(later + 1, Inputs(has_gpus=False))
    snapshot = run(other, price_quote, later, 2.0)
    assert dollars(snapshot) == pytest.approx(1.5 * 3.0)


@pytest.mark.parametrize(
    "free", [[["a", 1.0]], [[2.0, 1.0]], [[START, START + 9e9]], [[0, 1]], [[START, START + 2], [START + 1, START + 3]]]
)
def test_impossible_saved_free_hours_are_rejected(free: list[object]) -> None:
    one = meter()
    state = json.loads(json.dumps(one.state()))
    state["ledger"]["free"] = free
    with pytest.raises((ImpossibleStateError, ValueError)):
        one.restored(state, START + 1)


def test_a_session_ends_its_limit_after_the_boot_and_an_exceeded_limit_is_ignored() -> None:
    one = meter((Limit("configured", session_seconds=4 * HOUR),))
    price_quote = quote(limits=(Limit("provider", session_seconds=2 * HOUR),))
    assert run(one, price_quote, START, 1.0).node.terms.session_ends == (
        ("configured", START + 4 * HOUR),
        ("provider", START + 2 * HOUR),
    )
    assert run(one, price_quote, START + HOUR, 1.5).node.terms.session_ends == (("configured", START + 4 * HOUR),)


def test_components_are_shown_if_they_sum_to_the_charged_price() -> None:
    parts = {"published": 2.5, "extra disk": 0.5}
    assert run(meter(), quote(parts=parts), START, 0.1).node.terms.parts == parts
    assert run(meter(), quote(parts={"published": 2.5}), START, 0.1).node.terms.parts == {}
    assert run(meter(), quote(parts=parts, limits=(FREE,)), START, 0.1).node.terms.parts == {}


def test_a_credit_is_empty_when_spent_or_expired_and_an_old_reading_proves_neither() -> None:
    fresh = Credit("account", "vastai", 10.0, START, math.inf, 2.5)
    void = Credit("grant", "vastai", 100.0, START, START + 2 * HOUR, 2.5)
    credit = Credit("bought", "vastai", 100.0, START)
    old = Credit("old", "vastai", 10.0, START - 3 * 86400, math.inf, 2.5)
    overdrawn = Credit("overdrawn", "vastai", -1.0, START, math.inf, 2.5)
    credits_ = (fresh, void, credit, old, overdrawn)
    purses = run(meter(), quote(credits=credits_), START, 0.1).node.terms.purses
    rounded = tuple(
        replace(each, usd=round(each.usd, 6), empty_ts=each.empty_ts and round(each.empty_ts, 3)) for each in purses
    )
    assert rounded == (
        Purse("account", 10.0, START + 4 * HOUR),
        Purse("grant", 100.0, START + 2 * HOUR),
        Purse("bought", 99.7, round(START + 0.1 * HOUR + 99.7 / 3 * HOUR, 3), machine_only=True),
        Purse("old", 10.0, None),
        Purse("overdrawn", -1.0, START),
    )


def test_an_end_within_the_hour_is_announced() -> None:
    one = meter((Limit("night", session_seconds=1.5 * HOUR),))
    price_quote = quote(credits=(Credit("account", "vastai", 2.0, START, math.inf, 1.0),))
    assert endings(run(one, price_quote, START, 0.25).node.terms, START + 0.25 * HOUR) == []
    later = run(one, price_quote, START + 0.25 * HOUR, 1.0)
    assert endings(later.node.terms, later.t) == [
        "session: the limit night ends this machine in 15 min. Save a checkpoint.",
        "credit: account will be used up or expire in 45 min. Top it up.",
    ]


def test_configured_credit_is_projected_by_this_machines_spend_and_marked_as_its_part() -> None:
    one = Meter(Ledger(), Node("n"), terms=MachineTerms(credits_=(parse_balance("10@2026-11-25T12:30:00"),)))
    one.begin_boot(START, START, [])
    (purse,) = run(one, quote(), START, 1.5).node.terms.purses
    assert purse.usd == pytest.approx(10 - 3.0), "only the hour since the balance was read"
    assert purse.empty_ts == pytest.approx(START + 1.5 * HOUR + 7 / 3 * HOUR)
    assert (purse.machine_only, purse.scope) == (True, "machine")
    again = Meter(Ledger(), Node("n"), terms=MachineTerms(credits_=one.terms.credits))
    again.take(again.restored(json.loads(json.dumps(one.state())), START + 1.5 * HOUR))
    (later,) = run(again, quote(), START + 1.5 * HOUR, 1.0).node.terms.purses
    assert later.usd == pytest.approx(4.0)


def test_a_new_reading_of_the_balance_counts_from_there() -> None:
    spending, price = CreditSpending(), 2.0
    first = spending.purse(Credit("c", "", 10.0, START), 5.0, 1.0, price, START + HOUR)
    anew = spending.purse(Credit("c", "", 50.0, START + HOUR), 6.0, 0.0, price, START + HOUR)
    assert (first.usd, anew.usd) == (9.0, 50.0)


def test_for_a_balance_older_than_the_ledger_only_the_configured_amount_is_shown() -> None:
    purse = CreditSpending().purse(Credit("c", "", 10.0, START), 500.0, None, 2.0, START)
    assert (purse.usd, purse.empty_ts, purse.machine_only) == (10.0, None, False)


def test_this_machine_may_spend_more_than_the_balance() -> None:
    purse = CreditSpending().purse(Credit("c", "", 10.0, START), 12.0, 12.0, 2.0, START)
    assert (purse.usd, purse.empty_ts) == (-2.0, START)


def test_credits_with_ever_new_names_are_bounded() -> None:
    spending = CreditSpending()
    for n in range(200):
        spending.purse(Credit(f"c{n}", "", 10.0, START), 5.0, 1.0, 2.0, START)
    assert spending.purse(Credit("mine", "", 10.0, START), 5.0, 1.0, 2.0, START).machine_only
    assert len(spending.state()) == 64
    assert CreditSpending.restored(json.loads(json.dumps(spending.state()))).state() == spending.state()


@pytest.mark.parametrize("wrong", [{"egress": {"usd": 5}}, {"credits": {"c": [1]}}, {"egress": 7, "credits": []}])
def test_an_impossible_account_does_not_affect_the_free_hours(wrong: dict[str, Any]) -> None:
    one = meter()
    run(one, quote(), START, 1.0)
    meter_state = one.restored({**json.loads(json.dumps(one.state())), **wrong}, START + HOUR)
    assert meter_state.ledger.cursor == one.ledger.cursor
    assert meter_state.spending.state() == {}


@pytest.mark.parametrize("state", [{"c": [1]}, {"c": ["a", 1.0]}, {"c": None}, [], {str(n): [1, 1] for n in range(99)}])
def test_impossible_saved_credit_is_rejected(state: Any) -> None:
    with pytest.raises((ValueError, TypeError, AttributeError)):
        CreditSpending.restored(state)


@pytest.mark.parametrize(
    "text", ["10", "@2026-11-28", "x@2026-11-28", "10@soon", "0@2026-11-28", "-5@2026-11-28", "1.2.3@2026-11-28"]
)
def test_an_invalid_balance_is_rejected(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - several
        parse_balance(text)
