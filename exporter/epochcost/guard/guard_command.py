"""``epochcost guard check`` and ``epochcost guard replay``."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TextIO

from epochcost.guard.located_yaml import PolicyError
from epochcost.guard.policy import Policy, PolicySet, Step
from epochcost.guard.policy_file import read
from epochcost.guard.replay import Acted, Past, replay
from epochcost.settings import SettingsError, option, spelled
from epochcost.store.moment import moment
from epochcost.store.store_access import connect
from epochcost.store.store_error import StoreError
from epochcost.store.store_settings import StoreSettings

USD = "${:,.2f}"


@dataclass(frozen=True, slots=True)
class GuardSettings(StoreSettings):
    """Settings of the two commands."""

    policy_file: str = option("policy", "", "policy file, such as guard.yml")
    begin: str = option(
        "from", "7d", "start of the period to replay: an age (7d), Unix seconds, or 2026-05-01T00:00:00Z"
    )
    end: str = option("to", "now", "end of the period to replay: now, or as for --from")


def check(settings: GuardSettings, out: TextIO = sys.stdout) -> int:
    """Read the policies and print in words what they do; 0 if they are valid."""
    policy_set = _read(settings)
    out.writelines(_sentence(policy) + "\n" for policy in policy_set.policies)
    out.write(f"At most {policy_set.actions_per_hour} actions in an hour on each machine.\n")
    return 0


def play(settings: GuardSettings, out: TextIO = sys.stdout, err: TextIO = sys.stderr) -> int:
    """Print what the policies would have ended."""
    policies, now = _read(settings), time.time()
    begin, end = moment(settings.begin, "--from", now), min(moment(settings.end, "--to", now), now)
    if end - begin < 60:  # noqa: PLR2004 - a minute
        raise SettingsError("--from must be earlier than --to, by a minute at least")
    try:
        acted = replay(policies, Past(connect(settings), begin, end))
    except StoreError as error:
        err.write(f"epochcost guard: {error}\n")
        return 1
    out.writelines(_line(one) + "\n" for one in acted)
    saved = sum(one.usd for one in acted)
    hit = sorted({run for one in acted for run in one.runs})
    out.write(f"{len(acted)} stops; {USD.format(saved)} were paid for nothing after them.\n")
    out.write(f"Runs that they would have hit: {', '.join(hit) or 'none'}.\n")
    err.write("Taken as the policies need it, since no store has it: who was at a terminal, keeps, processes, files.\n")
    return 0


def _read(settings: GuardSettings) -> PolicySet:
    if not settings.policy_file:
        raise SettingsError("--policy must be given: the file of policies")
    try:
        return read(Path(settings.policy_file))
    except PolicyError as err:
        raise SettingsError(str(err)) from None


def _sentence(policy: Policy) -> str:
    when = policy.when
    states = " or ".join(condition.value for condition in when.conditions)
    dollars = f" and has cost {USD.format(when.from_usd)} meanwhile" if when.from_usd else ""
    mode = "dry run, reports what it would do" if policy.dry_run else "acts"
    steps = ", then ".join(_step(step) for step in policy.ladder)
    return f"{policy.name} ({mode}): what is {states} for {spelled(when.for_seconds)}{dollars}: {steps}."


def _step(step: Step) -> str:
    command = f" by {' '.join(step.command.argv)}" if step.command is not None else ""
    wait = f" and wait {spelled(step.wait_seconds)}" if step.wait_seconds and step.kind.value != "stop" else ""
    return f"{step.kind.value}{command}{wait}"


def _line(one: Acted) -> str:
    at = datetime.fromtimestamp(one.t, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    what = f"run {one.subject}" if one.subject else "the machine"
    hit = f"; it would have hit {', '.join(one.runs)}" if one.runs else ""
    return (
        f"{at}  {one.machine}  {one.policy}: stops {what}, {one.condition}; {USD.format(one.usd_per_hour)} an hour, "
        f"{USD.format(one.wasted_usd)} spent until then, {USD.format(one.usd)} after{hit}"
    )
