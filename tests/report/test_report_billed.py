"""What the provider will bill for a start that failed after 40 seconds."""

from __future__ import annotations

from typing import Any

import pytest
from tests.report.worlds import last_scrape, node

from epochcost.reports.billed import Billed, billed, notes
from epochcost.reports.history import History, NodeHistory, NodeKey
from epochcost.reports.money import Prices
from epochcost.reports.span import Span
from epochcost.reports.tracks import Track

BEGIN = 1_700_000_000.0
SPAN = Span(BEGIN, BEGIN + 7200, 24)


def track(window: int, value: float) -> Track:
    track_of_one = Track()
    track_of_one.put(window, value)
    return track_of_one


def machine(provider: str, seconds: float, *, last: int = 2, first_seen: float = 300, **changes: Any) -> NodeHistory:
    """Seen in one window, in which it ran for ``seconds`` at $36 an hour: a cent a second."""
    identity = {
        "provider": provider, "region": "r", "zone": "", "instance_type": "big", "purchase_option": "on_demand",
    } | changes  # fmt: skip
    return NodeHistory(
        info={last: identity}, seen=track(last, 1.0), seconds={"startup": track(last, seconds)},
        price=track(last, 36.0), born=BEGIN + first_seen, reborn=BEGIN + first_seen,
    )  # fmt: skip


def billed_machines(**machines: NodeHistory) -> list[Billed]:
    history = History(SPAN, {NodeKey(name.replace("_", "-")): one for name, one in machines.items()})
    return billed(history, Prices(history))


def test_a_failed_start_of_forty_seconds_is_billed_as_its_provider_does():
    by_provider = {
        one.provider: one for one in billed_machines(**{p: machine(p, 40) for p in ("aws", "azure", "runpod")})
    }
    assert by_provider["aws"] == Billed("aws", "aws", "big", 40, 60, pytest.approx(0.20))  # type: ignore[arg-type]
    assert by_provider["azure"].more_usd == pytest.approx(2.60)
    assert by_provider["runpod"].more_usd == 0


def test_whole_minutes_are_billed_where_that_is_the_rule():
    (one,) = billed_machines(one=machine("lambda", 61))
    assert (one.billed_seconds, one.more_usd) == (120, pytest.approx(0.59))


def test_the_amount_billed_beyond_the_seconds_is_noted_and_stays_out_of_the_sums():
    (sentences,) = notes(billed_machines(a=machine("aws", 40), b=machine("azure", 40), c=machine("runpod", 40)))
    assert sentences == (
        "2 nodes that ended will be billed for longer than they ran (a, aws big: 40.0 s, billed 1 min 00 s; "
        "b, azure big: 40.0 s, billed 5 min 00 s): $2.80 more, which is not included in any figure here."
    )


def test_an_unknown_rule_or_price_is_noted():
    unpriced = machine("aws", 40)
    unpriced.price = Track()
    ruleless = machine("vulcan", 40)
    sentences = notes(billed_machines(unpriced=unpriced, ruleless=ruleless))
    assert "more, at a price that is not known" in sentences[0]
    assert sentences[1] == "The billing increment of vulcan is not known: 1 node counted to the second."


@pytest.mark.parametrize(
    "still",
    [
        machine("aws", 40, last=24),
        machine("aws", 40, last=23),
        machine("aws", 40, first_seen=-500),
        machine("aws", 40, purchase_option=""),
        NodeHistory(seen=track(2, 1.0)),
    ],
    ids=["runs on", "seen a moment ago", "older than the span", "nobody knows how it is paid", "no boot time"],
)
def test_only_a_complete_lifetime_is_assessed(still):
    assert billed_machines(still=still) == []


def test_a_machine_that_was_booted_twice_has_no_guessed_bill():
    twice = machine("aws", 40)
    twice.reborn = BEGIN + 900
    assert billed_machines(twice=twice) == []


def test_an_owned_machine_is_not_billed():
    (one,) = billed_machines(mine=machine("owned", 40, purchase_option="owned"))
    assert (one.billed_seconds, one.more_usd) == (40, 0)
    assert notes([one]) == []


def test_a_preempted_spot_machine_is_billed_for_its_run_time(full_report):
    (preempted,) = [one for one in full_report.fleet.ended if one.node == "sim-taken"]
    assert preempted.ran_seconds == pytest.approx(last_scrape(node("sim-taken"), 1e9))
    assert preempted.billed_seconds == pytest.approx(preempted.ran_seconds, abs=1)
