"""What a policy selects by, joined with what the agent really has: teams, sessions, and the account's credit."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from tests.agent.driven import World
from tests.guard.test_guard_agent import advance, begin, guarded, world

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

__all__ = ["world"]
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
    ("run", "machine", "wanted", "left", "said"),
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
    world: World,
    run: str,
    machine: str,
    wanted: str,
    left: str,
    said: bool,
) -> None:
    it = guarded(world, OF_TEAM.format(wanted=wanted, left=left), node__team=machine)
    begin(world, **({"team": run} if run else {}))
    advance(it, world, 30)
    it.run(250)
    told = it.value("guard_actions_total", policy="hung", step="tell", result="dry_run")
    assert (told is not None) is said
    it.close()


def test_a_session_of_the_providers_is_told_before_it_ends_the_machine(world: World) -> None:
    # Booted two hours ago.
    it = guarded(world, SESSION.replace("SESSION", "session_left: 20m"), node__session_limit="3h")
    it.run(39 * 60)
    assert it.value("guard_actions_total", policy="session", step="tell", result="dry_run") is None
    it.run(3 * 60)
    assert it.value("guard_actions_total", policy="session", step="tell", result="dry_run") == 1
    assert it.value("guard_waiting_seconds", policy="session", run="", condition="past-session")
    it.run(20 * 60)  # a limit that did not hold is none
    assert it.value("guard_waiting_seconds", policy="session", run="", condition="past-session") is None
    it.close()


def test_a_session_that_the_policy_allows_is_over_at_its_end(world: World) -> None:
    it = guarded(world, SESSION.replace("SESSION", "session: 150m"))
    it.run(29 * 60)
    assert it.value("guard_waiting_seconds", policy="session", run="", condition="past-session") is None
    it.run(3 * 60)
    assert it.value("guard_actions_total", policy="session", step="tell", result="dry_run") == 1
    it.close()


def condition(terms: PriceTerms, *, boot_ts: float = T0 - HOUR, minutes: int = 3) -> str:
    """What a guard has found after some minutes, from what a poller says beside the price."""
    guard, meter, observer = Guard(policies(parsed(CREDIT, "guard.yml"))), Meter(Ledger(), Node("n")), Observer(Idle())
    found = ""
    for n in range(minutes * 12):
        now = T0 + 5.0 * n
        if not n:
            meter.begin_boot(now, boot_ts, [])
        quote = Quote((PriceStep(T0 - 1e6, 2.0),), None, "vast", now, terms=terms)
        snapshot = meter.tick(now, Inputs(has_gpus=False, host=HostReading(now, 0.1), quote=quote))
        seen = observer.observe(snapshot, Facts(now, 15.0))
        found = next((one.condition for one in guard.tick(seen).view.waiting), "")
    return found


def purse(usd: float, age: float = 60.0, name: str = "account") -> Credit:
    return Credit(name, "vastai", usd, T0 - age, math.inf, 1.0)


@pytest.mark.parametrize(
    ("credits_", "found"),
    [
        ((), ""),
        ((purse(4.0),), "out-of-credit"),
        ((purse(-3.0),), "out-of-credit"),
        ((purse(6.0),), ""),
        ((purse(0.0, name="grant"), purse(900.0)), ""),  # another purse pays
        ((purse(0.0, name="grant"), purse(1.0)), "out-of-credit"),
        ((purse(0.0, age=6 * HOUR),), ""),  # it may have been filled since
    ],
)
def test_an_account_is_empty_where_all_that_pays_was_just_read_to_be(credits_: tuple[Credit, ...], found: str) -> None:
    assert condition(PriceTerms(credits=credits_)) == found


def test_a_limit_of_the_pollers_ends_the_session_too() -> None:
    limit = Limit("notebooks", session_seconds=1.1 * HOUR)
    assert not condition(PriceTerms(limits=(limit,)), boot_ts=T0)
    assert condition(PriceTerms(limits=(limit,)), boot_ts=T0 - HOUR) == "past-session"


def test_what_goes_with_a_session_is_not_taken_elsewhere(world: World, tmp_path: Path) -> None:
    text = "policies: [{name: p, when: {states: [stalled], for: 1m, session_left: 5m}, ladder: [tell]}]"
    with pytest.raises(Exception, match="session_left goes with the state past-session"):
        guarded(world, text)
