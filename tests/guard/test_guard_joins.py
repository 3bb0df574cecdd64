"""Selectors of a policy joined with the agent's data: teams, sessions, and the account's credit."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from tests.agent.driven_agent import SimulatedMachine
from tests.guard.guarded_agent import advance, begin, guarded

from epochcost.agent.device_activity import Idle
from epochcost.agent.guard_observation import Facts, Observer
from epochcost.agent.meter import Meter
from epochcost.agent.meter_inputs import Inputs, Quote
from epochcost.guard.engine import Guard
from epochcost.guard.located_yaml import parsed
from epochcost.guard.policy_file import policies
from epochcost.ledger import Ledger
from epochcost.model import HostReading, Node, PriceStep
from epochcost.prices.allowances import Credit, Limit
from epochcost.prices.quote import PriceTerms

T0, HOUR = 1_700_000_000.0, 3600.0
OF_TEAM = """
policies:
  - {{name: hung, when: {{states: [stalled], for: 1m, teams: [{wanted}]}}, except: {{teams: [{left}]}}, ladder: [tell]}}
"""
SESSION = """
policies:
  - {name: session, when: {states: [past-session], for: 1m, SESSION}, ladder: [tell]}
"""
CREDIT = """
commands: {off: {command: [/bin/true]}}
policies:
  - {name: p, when: {states: [out-of-credit, past-session], for: 1m, credit_usd: 5}, command: off, ladder: [stop]}
"""


@pytest.mark.parametrize(
    ("run_team", "node_team", "included", "excluded", "notified"),
    [
        ("vision", "", "vis*", "none", True),
        ("vision", "language", "language", "none", False),  # the run's own team counts more
        ("", "language", "language", "none", True),
        ("", "", "language", "none", False),
        ("vision", "", "vision", "vision", False),
        ("", "language", "language", "lang*", False),
    ],
)
def test_a_team_is_the_runs_else_its_machines(
    machine: SimulatedMachine,
    run_team: str,
    node_team: str,
    included: str,
    excluded: str,
    notified: bool,
) -> None:
    it = guarded(machine, OF_TEAM.format(wanted=included, left=excluded), node__team=node_team)
    begin(machine, **({"team": run_team} if run_team else {}))
    advance(it, machine, 30)
    it.run(250)
    notifications = it.value("guard_actions_total", policy="hung", step="tell", result="dry_run")
    assert (notifications is not None) is notified
    it.close()


def test_a_session_of_the_provider_is_announced_before_it_ends_the_machine(machine: SimulatedMachine) -> None:
    # Booted two hours ago.
    it = guarded(machine, SESSION.replace("SESSION", "session_left: 20m"), node__session_limit="3h")
    it.run(39 * 60)
    assert it.value("guard_actions_total", policy="session", step="tell", result="dry_run") is None
    it.run(3 * 60)
    assert it.value("guard_actions_total", policy="session", step="tell", result="dry_run") == 1
    assert it.value("guard_waiting_seconds", policy="session", run="", condition="past-session")
    it.run(20 * 60)  # an exceeded limit is ignored
    assert it.value("guard_waiting_seconds", policy="session", run="", condition="past-session") is None
    it.close()


def test_a_session_that_the_policy_allows_is_over_at_its_end(machine: SimulatedMachine) -> None:
    it = guarded(machine, SESSION.replace("SESSION", "session: 150m"))
    it.run(29 * 60)
    assert it.value("guard_waiting_seconds", policy="session", run="", condition="past-session") is None
    it.run(3 * 60)
    assert it.value("guard_actions_total", policy="session", step="tell", result="dry_run") == 1
    it.close()


def condition(terms: PriceTerms, *, boot_ts: float = T0 - HOUR, minutes: int = 3) -> str:
    """The condition that a guard finds after some minutes, from the poller's terms beside the price."""
    guard, meter, observer = Guard(policies(parsed(CREDIT, "guard.yml"))), Meter(Ledger(), Node("n")), Observer(Idle())
    result = ""
    for n in range(minutes * 12):
        now = T0 + 5.0 * n
        if not n:
            meter.begin_boot(now, boot_ts, [])
        quote = Quote((PriceStep(T0 - 1e6, 2.0),), None, "vast", now, terms=terms)
        snapshot = meter.tick(now, Inputs(has_gpus=False, host=HostReading(now, 0.1), quote=quote))
        observation = observer.observe(snapshot, Facts(now, 15.0))
        result = next((one.condition for one in guard.tick(observation).view.waiting), "")
    return result


def credit(usd: float, age: float = 60.0, name: str = "account") -> Credit:
    return Credit(name, "vastai", usd, T0 - age, math.inf, 1.0)


@pytest.mark.parametrize(
    ("credits_", "expected"),
    [
        ((), ""),
        ((credit(4.0),), "out-of-credit"),
        ((credit(-3.0),), "out-of-credit"),
        ((credit(6.0),), ""),
        ((credit(0.0, name="grant"), credit(900.0)), ""),  # another credit pays
        ((credit(0.0, name="grant"), credit(1.0)), "out-of-credit"),
        ((credit(0.0, age=6 * HOUR),), ""),  # it may have been filled since
    ],
)
def test_an_account_is_empty_if_a_recent_reading_shows_no_credit(credits_: tuple[Credit, ...], expected: str) -> None:
    assert condition(PriceTerms(credits=credits_)) == expected


def test_a_limit_of_the_pollers_ends_the_session_too() -> None:
    limit = Limit("notebooks", session_seconds=1.1 * HOUR)
    assert not condition(PriceTerms(limits=(limit,)), boot_ts=T0)
    assert condition(PriceTerms(limits=(limit,)), boot_ts=T0 - HOUR) == "past-session"


def test_session_settings_are_rejected_without_the_session_state(machine: SimulatedMachine, tmp_path: Path) -> None:
    text = "policies: [{name: p, when: {states: [stalled], for: 1m, session_left: 5m}, ladder: [tell]}]"
    with pytest.raises(Exception, match="session_left goes with the state past-session"):
        guarded(machine, text)
