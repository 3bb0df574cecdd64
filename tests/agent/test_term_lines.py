"""Sentences of the live page about credit, free hours and traffic."""

from __future__ import annotations

from epochcost.agent.egress import GB
from epochcost.agent.live_page import live_json
from epochcost.agent.machine_terms import MachineTerms
from epochcost.agent.meter import Meter
from epochcost.agent.meter_inputs import Inputs, Quote
from epochcost.agent.snapshot import NodeTerms, Purse
from epochcost.agent.term_lines import term_lines
from epochcost.ledger import Ledger
from epochcost.model import Node, PriceStep
from epochcost.prices.allowances import parse_balance

NOON = 1_795_867_200.0


def test_without_terms_there_are_no_sentences() -> None:
    assert list(term_lines(NodeTerms())) == []


def test_a_part_is_called_a_part() -> None:
    terms = NodeTerms(
        purses=(Purse("grant", 7.2, NOON, machine_only=True), Purse("account", 5.0, NOON), Purse("old", 1.0)),
        free_ends=(("trial", NOON),),
        egress_bytes={"ens5": 2 * GB},
        egress_usd={"egress": 0.18},
    )
    assert list(term_lines(terms)) == [
        (
            "credit grant: at most $7.20 left, given this machine's spend; at this machine's price it lasts until "
            "2026-11-28 12:00 UTC. Other machines may spend from it too"
        ),
        "credit account: $5.00 left, used up or expired by 2026-11-28 12:00 UTC",
        "credit old: $1.00 left",
        (
            "free hours trial: until 2026-11-28 12:00 UTC, by this machine's hours alone; "
            "other machines of the account may use them up sooner"
        ),
        "traffic: 2.00 GB sent over ens5, $0.18 in addition to the hours",
    ]


def test_free_hours_of_an_account_are_labelled_as_such() -> None:
    terms = NodeTerms(free_ends=(("trial", NOON),), free_account="lab", free_scope="account")
    assert list(term_lines(terms)) == [
        "free hours trial: until 2026-11-28 12:00 UTC, by the hours of all machines of account lab"
    ]


def test_only_the_page_shows_how_long_ten_dollars_last() -> None:
    meter = Meter(Ledger(), Node("n"), terms=MachineTerms(credits_=(parse_balance("10@2026-11-28T12:00:00"),)))
    meter.begin_boot(NOON, NOON, [])
    quote = Quote((PriceStep(NOON - 1, 2.0),), None, "configured", NOON, NOON)
    for minute in range(1, 61):
        snapshot = meter.tick(NOON + 60 * minute, Inputs(has_gpus=False, quote=quote))
    (line,) = live_json(snapshot)["terms"]
    assert line.startswith("credit configured: at most $8.00 left, given this machine's spend; at this machine's price")
    assert "until 2026-11-28 17:00 UTC" in line
