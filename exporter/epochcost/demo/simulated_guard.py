"""The guard of a simulated machine: the agent's own, with the ready policies, and dry: it reports what it would do."""

from __future__ import annotations

from epochcost.agent.device_activity import Idle
from epochcost.agent.guard_observation import Facts, Observer
from epochcost.agent.snapshot import Snapshot
from epochcost.demo.scenario import Machine
from epochcost.demo.simulated_machine import Life
from epochcost.guard.conditions import MACHINE
from epochcost.guard.decisions import GuardView
from epochcost.guard.engine import Guard
from epochcost.guard.keeps import Keep
from epochcost.guard.located_yaml import parsed
from epochcost.guard.policy import PolicySet
from epochcost.guard.policy_file import policies
from epochcost.ledger import Ledger

FRESH_SECONDS = 15.0
"""Three ticks of a simulated machine."""
SIMULATED_PID = 1
POLICIES = """
dry_run: true
commands:
  poweroff: {command: [/usr/sbin/shutdown, -h, now]}
policies:
  - {use: forgotten-machine, command: poweroff}
  - {use: budget}
  - {use: hung-run}
"""


def ready_policies() -> PolicySet:
    """What each guard of the demo has."""
    return policies(parsed(POLICIES, "the demo's guard.yml"))


class PlayedGuard:
    """The guard of one machine. Times are seconds since the beginning of the simulation."""

    def __init__(self, machine: Machine, epoch_ts: float) -> None:
        self._machine, self._epoch_ts = machine, epoch_ts
        self._guard = Guard(ready_policies())
        self._observer = Observer(Idle())

    def view(self, snapshot: Snapshot, life: Life, ledger: Ledger, t: float) -> GuardView:
        """What it waits for and has decided at ``t``."""
        for keep in self._machine.keeps:
            if keep.start <= t < keep.end:
                key = f"file keep.{keep.user}"
                until = self._epoch_ts + keep.end
                self._guard.keeps.put(Keep(key, None, MACHINE, until, f"user {keep.user}", keep.why))
        facts = Facts(
            wall_ts=self._epoch_ts + t,
            fresh_seconds=FRESH_SECONDS,
            runs_on=ledger.runs_on(),
            followed=dict.fromkeys(life.running(t), (SIMULATED_PID,)),
            reported=life.strangers(t),
            interactive=(),
        )
        return self._guard.tick(self._observer.observe(snapshot, facts)).view
