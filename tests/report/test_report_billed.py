"""What the provider will bill for a start that failed after 40 seconds."""

from __future__ import annotations

from typing import Any

import pytest
from tests.report.worlds import node, seen

from epochcost.reports.billed import Billed, billed, notes
from epochcost.reports.history import History, NodeHistory, NodeKey
from epochcost.reports.money import Prices
from epochcost.reports.span import Span
from epochcost.reports.tracks import Track

BEGIN = 1_700_000_000.0
SPAN = Span(BEGIN, BEGIN + 7200, 24)


def track(window: int, value: float) -> Track:
    made = Track()
    made.put(window, value)
    return made


def machine(provider: str, seconds: float, *, last: int = 2, born: float = 300, **changes: Any) -> NodeHistory:
    """Seen in one window, in which it ran for ``seconds`` at $36 an hour: a cent a second."""
    who = {
        "provider": provider, "region": "r", "zone": "", "instance_type": "big", "purchase_option": "on_demand",
    } | changes  # fmt: skip
    return NodeHistory(
        info={last: who}, seen=track(last, 1.0), seconds={"startup": track(last, seconds)}, price=track(last, 36.0),
        born=BEGIN + born, reborn=BEGIN + born,
    )  # fmt: skip


def found(**machines: NodeHistory) -> list[Billed]:
    history = History(SPAN, {NodeKey(name.replace("_", "-")): one for name, one in machines.items()})
    return billed(history, Prices(history))


def test_a_failed_start_of_forty_seconds_is_billed_as_its_provider_does():
    by_provider = {one.provider: one for one in found(**{p: machine(p, 40) for p in ("aws", "azure", "runpod")})}
    assert by_provider["aws"] == Billed("aws", "aws", "big", 40, 60, pytest.approx(0.20))  # type: ignore[arg-type]
    assert by_provider["azure"].more_usd == pytest.approx(2.60)
    assert by_provider["runpod"].more_usd == 0


def test_whole_minutes_are_billed_where_that_is_the_rule():
    (one,) = found(one=machine("lambda", 61))
    assert (one.billed_seconds, one.more_usd) == (120, pytest.approx(0.59))


def test_what_is_billed_beyond_the_seconds_is_said_and_stays_out_of_the_sums():
    (sentences,) = notes(found(a=machine("aws", 40), b=machine("azure", 40), c=machine("runpod", 40)))
    assert sentences == (
        "2 nodes that ended will be billed for longer than they ran (a, aws big: 40.0 s, billed 1 min 00 s; "
        "b, azure big: 40.0 s, billed 5 min 00 s): $2.80 more, which is not included in any figure here."
    )


def test_a_rule_or_a_price_that_nobody_knows_is_said():
    unpriced = machine("aws", 40)
    unpriced.price = Track()
    ruleless = machine("vulcan", 40)
    sentences = notes(found(unpriced=unpriced, ruleless=ruleless))
    assert "more, at a price that is not known" in sentences[0]
    assert sentences[1] == "The billing increment of vulcan is not known: 1 node counted to the second."


@pytest.mark.parametrize(
    "still",
    [
        machine("aws", 40, last=24),
        machine("aws", 40, last=23),
        machine("aws", 40, born=-500),
        machine("aws", 40, purchase_option=""),
        NodeHistory(seen=track(2, 1.0)),
    ],
    ids=["runs on", "seen a moment ago", "older than the span", "nobody knows how it is paid", "no boot time"],
)
def test_only_a_whole_life_is_judged(still):
    assert found(still=still) == []


def test_a_machine_that_was_booted_twice_has_two_bills_and_none_is_guessed():
    twice = machine("aws", 40)
    twice.reborn = BEGIN + 900
    assert found(twice=twice) == []


def test_an_owned_machine_is_billed_by_nobody():
    (one,) = found(mine=machine("owned", 40, purchase_option="owned"))
    assert (one.billed_seconds, one.more_usd) == (40, 0)
    assert notes([one]) == []


def test_a_spot_machine_that_was_taken_away_is_billed_for_what_it_ran(whole):
    (taken,) = [one for one in whole.fleet.ended if one.node == "sim-taken"]
    assert taken.ran_seconds == pytest.approx(seen(node("sim-taken"), 1e9))
    assert taken.billed_seconds == pytest.approx(taken.ran_seconds, abs=1)
