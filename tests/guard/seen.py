"""Observations for tests: a machine with two GPUs on which nothing runs, and variations of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from epochcost.guard.decisions import Decisions
from epochcost.guard.engine import Guard
from epochcost.guard.located_yaml import parsed
from epochcost.guard.observation import GpuSeen, Observation, Person, RunSeen
from epochcost.guard.policy import PolicySet
from epochcost.guard.policy_file import policies
from epochcost.model import RunId, RunState, State

T0 = 1_700_000_000.0
ALICE, BOB = Person(1001, "alice"), Person(1002, "bob")
COMMANDS = """
commands:
  off: {command: [/bin/true, "{node}"], scope: machine}
  cancel: {command: [/bin/true, "{run}"], scope: run}
"""
FORGOTTEN = f"""
dry_run: false
{COMMANDS}
policies:
  - use: forgotten-machine
    command: off
    when: {{for: 10m, from_usd: 0}}
    except: {{interactive: off, busy_cpu: off}}
    ladder: [tell, {{step: ask, wait: 5m}}, {{step: stop, tries: 2, retry: 1m}}]
"""
HUNG = f"""
dry_run: false
{COMMANDS}
policies:
  - name: hung
    when: {{states: [stalled], for: 10m}}
    ladder: [tell, {{step: checkpoint, wait: 2m}}, {{step: stop, command: cancel}}]
"""
BUDGET = f"""
dry_run: false
{COMMANDS}
policies:
  - use: budget
    ladder: [{{step: checkpoint, wait: 5m}}, stop]
"""


def policy_set(text: str) -> PolicySet:
    return policies(parsed(text, "guard.yml"))


def gpu(number: int = 0, **other: Any) -> GpuSeen:
    values = {"state": State.VACANT, "utilization_ratio": 0.0, "power_watts": 50.0, "held": False, **other}
    return GpuSeen(f"GPU-{number}", **values)


def run(name: str = "r", **other: Any) -> RunSeen:
    values: dict[str, Any] = {
        "state": RunState.TRAINING,
        "open": True,
        "user": ALICE,
        "usd_per_hour": 10.0,
        "followed": True,
    }
    return RunSeen(RunId(name), **{**values, **other})


def vacant(**other: Any) -> Observation:
    values: dict[str, Any] = {
        "node": "n1",
        "machine": "n1-0",
        "usd_per_hour": 10.0,
        "gpus": (gpu(0), gpu(1)),
        "interactive": (),
        "cpu_ratio": 0.01,
    }
    return Observation(T0, T0, **{**values, **other})


def training(*runs: RunSeen, **other: Any) -> Observation:
    """Both GPUs work for ``runs``."""
    names = tuple(one.run for one in runs)
    gpus = tuple(
        gpu(n, state=State.USEFUL, utilization_ratio=0.9, power_watts=400.0, held=False, runs=names) for n in (0, 1)
    )
    return vacant(gpus=gpus, runs=runs, **other)


class GuardDriver:
    """A guard that gets a test's observations every five seconds."""

    def __init__(self, text: str, **more: Any) -> None:
        self.guard = Guard(policy_set(text), **more)
        self.t = T0
        self.notices: list[tuple[str, str, str]] = []
        self.orders: list[tuple[float, tuple[str, ...]]] = []
        self.last = Decisions()

    def show(self, observation: Observation, seconds: float, every: float = 5.0) -> Decisions:
        for decisions in self.steps(lambda _: observation, seconds, every):
            self.last = decisions
        return self.last

    def steps(self, at: Callable[[float], Observation], seconds: float, every: float = 5.0) -> Iterator[Decisions]:
        until = self.t + seconds
        while self.t < until - 1e-9:
            self.t += every
            observation = at(self.t)
            self.last = self.guard.tick(replace(observation, t=self.t, wall_ts=observation.wall_ts + self.t - T0))
            self.notices += [(n.policy, n.step, n.result) for n in self.last.notices]
            if self.last.order is not None:
                self.orders.append((self.t - T0, self.last.order.argv))
            yield self.last

    def noticed_steps(self) -> list[tuple[str, str]]:
        return [(step, result) for _, step, result in self.notices]
