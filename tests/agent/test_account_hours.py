"""Free hours of one account over several machines: the usage of the others is queried from the store over real HTTP."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
from tests.prices.json_server import JsonServer, Reply

from epochcost.agent.account_hours import MARGIN_SECONDS, MAX_AGE_SECONDS, AccountHours, StoredHours
from epochcost.agent.machine_terms import MachineTerms
from epochcost.agent.meter import Meter
from epochcost.agent.meter_inputs import Inputs, Quote
from epochcost.ledger import Ledger
from epochcost.model import Node, PriceStep
from epochcost.prices.allowances import Limit
from epochcost.prices.free_hours import OtherUse, free_windows, period_of, used_in
from epochcost.prices.quote import PriceTerms
from epochcost.store.store_error import StoreError
from epochcost.store.store_settings import StoreSettings

HOUR = 3600.0
START = 1_795_392_000.0
FREE = Limit("trial", free_seconds=10 * HOUR, period="week")
PERIOD = period_of(FREE, START)


@pytest.fixture
def server() -> Iterator[JsonServer]:
    with JsonServer() as running:
        yield running


def vector(*values: str) -> Reply:
    result = [{"metric": {}, "value": [START, value]} for value in values]
    return Reply({"status": "success", "data": {"resultType": "vector", "result": result}})


def queried(server: JsonServer, *values: str) -> StoredHours:
    server.on("/api/v1/query", vector(*values))
    return StoredHours(StoreSettings(server.url), 'lab "1"', lambda: "me-1", lambda: PERIOD[0] + 7205.0)


def test_the_store_is_queried_for_the_period_and_all_other_machines(server: JsonServer) -> None:
    assert queried(server, "5400").fetch("trial", PERIOD[0]) == 5400.0
    (sent_request,) = server.requests
    query = sent_request.body["query"]
    assert f"[{7205 - MARGIN_SECONDS}s]" in query
    assert 'account="lab \\"1\\""' in query
    assert 'epochcost_machine!="me-1"' in query


def test_without_other_usage_it_is_zero(server: JsonServer) -> None:
    assert queried(server).fetch("trial", PERIOD[0]) == 0.0


@pytest.mark.parametrize("value", ["-1", "NaN", "1e30"])
def test_impossible_hours_are_rejected(server: JsonServer, value: str) -> None:
    with pytest.raises(StoreError):
        queried(server, value).fetch("trial", PERIOD[0])


def test_a_response_of_more_than_one_figure_is_not_read(server: JsonServer) -> None:
    source = queried(server, "5400")
    server.on("/api/v1/query", vector(*["1"] * 10_000))
    with pytest.raises(StoreError, match="longer than 65536 bytes"):
        source.fetch("trial", PERIOD[0])


def test_at_the_start_of_a_period_no_query_is_needed(server: JsonServer) -> None:
    assert queried(server, "5").fetch("trial", PERIOD[0] + 7204.0) == 0.0
    assert server.requests == []


class FixedHours:
    """A store with a fixed result, or one that fails."""

    def __init__(self, hours: float) -> None:
        self.hours, self.fails = hours, False

    def fetch(self, limit: str, since_ts: float) -> float:
        if self.fails:
            raise StoreError("gone")
        return self.hours


def test_a_response_is_used_for_its_own_period_while_it_is_fresh() -> None:
    clock = [0.0]
    hours = AccountHours(FixedHours(60.0), 30.0, lambda: clock[0])
    assert hours.used("trial", 1.0) is None
    assert hours.ask()
    assert hours.used("trial", 1.0) == 60.0
    assert hours.used("trial", 2.0) is None, "another period"
    clock[0] = MAX_AGE_SECONDS + 1
    assert hours.used("trial", 1.0) is None


def test_a_store_that_fails_keeps_the_last_value() -> None:
    fixed = FixedHours(60.0)
    hours = AccountHours(fixed, 30.0, lambda: 0.0)
    hours.used("trial", 1.0)
    assert hours.ask()
    fixed.fails = True
    assert not hours.ask()
    assert (hours.used("trial", 1.0), hours.error) == (60.0, "gone")


def quote() -> Quote:
    return Quote((PriceStep(-math.inf, 3.0),), None, "listed", START, START, PriceTerms(limits=(FREE,)))


def test_usage_of_other_machines_ends_the_free_time_sooner_without_a_retroactive_charge() -> None:
    meter = Meter(Ledger(), Node("n"), terms=MachineTerms(account="lab"))
    other_machines = [0.0]
    meter.terms.account_hours = lambda name, since: other_machines[0]
    meter.begin_boot(START, START, [])
    for minute in range(1, 121):
        if minute == 60:
            other_machines[0] = 9.5 * HOUR  # together with this machine's hour more than ten
        snapshot = meter.tick(START + 60 * minute, Inputs(has_gpus=False, quote=quote()))
    terms = snapshot.node.terms
    assert (terms.free_scope, terms.free_account, terms.free_ends) == ("account", "lab", ())
    assert terms.free_used == (("trial", pytest.approx(2 * HOUR)),)
    cost = math.fsum(snapshot.node.totals.cost_usd.values())
    assert cost == pytest.approx(3.0 * 61 / 60, abs=0.051), "from when it came to be known on"


def test_without_a_store_it_is_this_machines_part() -> None:
    meter = Meter(Ledger(), Node("n"), terms=MachineTerms(account="lab"))
    meter.begin_boot(START, START, [])
    meter.tick(START + 60, Inputs(has_gpus=False, quote=quote()))
    snapshot = meter.tick(START + 120, Inputs(has_gpus=False, quote=quote()))
    assert snapshot.node.terms.free_scope == "machine"
    assert snapshot.node.terms.free_ends == (("trial", pytest.approx(START + 10 * HOUR)),)


def test_windows_with_hours_of_others() -> None:
    windows = [(START, START + HOUR)]
    now = START + HOUR
    alone = free_windows([FREE], windows, now, [])
    together = free_windows([FREE], windows, now, [], OtherUse(4 * HOUR))
    assert alone[0][1] - together[0][1] == 4 * HOUR
    over = free_windows([FREE], windows, now, alone, OtherUse(9.5 * HOUR, now - 60))
    assert over[0][1] == now - 60, "what was free when it was last known stays free"


def test_hours_of_a_period() -> None:
    assert used_in((10.0, 20.0), [(0.0, 12.0), (15.0, 16.0), (19.0, 30.0), (40.0, 50.0)]) == 2.0 + 1.0 + 1.0
