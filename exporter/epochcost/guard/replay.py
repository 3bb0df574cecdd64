"""A policy played over the past that a Prometheus has: when it would have acted, and what that would have ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from epochcost.guard.conditions import MACHINE
from epochcost.guard.engine import Guard
from epochcost.guard.observation import GpuSeen, Observation, Person, RunSeen
from epochcost.guard.policy import PolicySet
from epochcost.model import RunId, RunState, State
from epochcost.store.promql_client import Series

LEAST_STEP_SECONDS = 60.0
MOST_POINTS = 10_000
"""Samples of one query; Prometheus returns at most 11,000."""
NEARLY_ALL = 0.98
"""Of a step's seconds: the rest is where a state begins or ends."""
Key = tuple[str, ...]
Points = Mapping[Key, Mapping[int, float]]
BY_MACHINE = "epochcost_machine"
QUERIES: Mapping[str, tuple[tuple[str, ...], str]] = {
    "price": ((BY_MACHINE,), "max by (epochcost_machine) (epochcost_node_price_usd_per_hour)"),
    "gpus": ((BY_MACHINE,), "max by (epochcost_machine) (epochcost_node_gpus)"),
    "cpu": ((BY_MACHINE,), "max by (epochcost_machine) (epochcost_node_cpu_utilization_ratio)"),
    "states": (
        (BY_MACHINE, "state"),
        "max by (epochcost_machine, state) (rate(epochcost_node_seconds_total[WINDOW]))",
    ),
    "held": ((BY_MACHINE,), "max by (epochcost_machine) (rate(epochcost_gpu_held_idle_seconds_total[WINDOW]))"),
    "owners": (
        (BY_MACHINE, "owner"),
        'max by (epochcost_machine, owner) (epochcost_gpu_owner_info{owner_kind!="run"})',
    ),
    "runs": (
        (BY_MACHINE, "run", "state"),
        "max by (epochcost_machine, run, state) (epochcost_run_state == 1)",
    ),
    "share": ((BY_MACHINE, "run"), "max by (epochcost_machine, run) (epochcost_run_node_share_ratio)"),
    "experiment": (
        (BY_MACHINE, "run", "experiment"),
        "max by (epochcost_machine, run, experiment) (epochcost_run_info)",
    ),
    "budget": ((BY_MACHINE, "run"), "max by (epochcost_machine, run) (epochcost_run_budget_usd)"),
    "cost": ((BY_MACHINE, "run"), "max by (epochcost_machine, run) (epochcost_run_cost_usd_total)"),
    "nodes": ((BY_MACHINE, "run", "nodes"), "max by (epochcost_machine, run, nodes) (epochcost_run_info)"),
}  # fmt: skip
"""The queries, and the labels that distinguish their results."""
ENDED = frozenset({RunState.FINISHED, RunState.FAILED, RunState.PREEMPTED, RunState.LOST})


class Asks(Protocol):
    """The store, as far as a replay goes."""

    def over(self, query: str, start: float, end: float, step_seconds: float) -> list[Series]:
        """The series of a range query."""
        ...


@dataclass(frozen=True, slots=True)
class Acted:
    """What a policy would have ended.

    Attributes:
        usd: what was wasted after it, until the condition ended by itself.
        runs: open runs on the machine, which would have been ended.
    """

    t: float
    machine: str
    policy: str
    subject: str
    condition: str
    usd_per_hour: float
    wasted_usd: float
    usd: float
    runs: tuple[str, ...]


class Past:
    """What the store has of ``begin`` to ``end``."""

    def __init__(self, store: Asks, begin: float, end: float) -> None:
        self.begin = begin
        self.step = max(LEAST_STEP_SECONDS, (end - begin) / MOST_POINTS)
        self._points: dict[str, Points] = {}
        for name, (labels, query) in QUERIES.items():
            filled = query.replace("WINDOW", f"{2 * self.step:.0f}s")
            result = store.over(filled, begin, end, self.step)
            self._points[name] = {
                tuple(series.labels.get(label, "") for label in labels): {self._index(t): v for t, v in series.points}
                for series in result
            }
        self.steps = self._index(end) + 1

    def _index(self, t: float) -> int:
        return round((t - self.begin) / self.step)

    def machines(self) -> list[str]:
        """All that reported."""
        return sorted({key[0] for key in self._points["states"]})

    def observations(self, machine: str) -> Iterator[Observation]:
        """One machine, step by step; where it was not scraped there is a gap."""
        for index in range(self.steps):
            states = {key[1]: share for key, share in self._of("states", machine, index)}
            if not states:
                continue
            t = self.begin + index * self.step
            runs = tuple(self._run(key, machine, index) for key, _ in self._of("runs", machine, index))
            observation = Observation(t, t, machine, machine, fresh_seconds=2.5 * self.step, interactive=())
            yield replace(
                observation,
                usd_per_hour=self._one("price", (machine,), index),
                cpu_ratio=self._one("cpu", (machine,), index),
                gpus=self._gpu(machine, index, states, runs),
                runs=runs,
            )

    def _gpu(
        self, machine: str, index: int, states: Mapping[str, float], runs: tuple[RunSeen, ...]
    ) -> tuple[GpuSeen, ...]:
        """All GPUs as one: the machine's states are their mean."""
        if not self._one("gpus", (machine,), index):
            return ()
        whole = sum(states.values())
        state = max(states, key=lambda name: states[name])
        nothing = states.get("vacant", 0.0) + states.get("finished", 0.0)
        idle = whole > 0 and nothing >= NEARLY_ALL * whole
        held = (self._one("held", (machine,), index) or 0.0) > 1 - NEARLY_ALL
        owners = tuple(Person(name=key[1]) for key, _ in self._of("owners", machine, index))
        on_it = tuple(run.run for run in runs if run.open)
        return (GpuSeen("all", State(state), 0.0 if idle else 1.0, held=held, owners=owners, runs=on_it),)

    def _run(self, key: Key, machine: str, index: int) -> RunSeen:
        run, state = key[1], RunState(key[2])
        price, share = self._one("price", (machine,), index), self._one("share", (machine, run), index)
        experiment = next((k[2] for k, _ in self._of("experiment", machine, index) if k[1] == run), "")
        alone = any(k[1] == run and k[2] in ("", "1") for k, _ in self._of("nodes", machine, index))
        return RunSeen(
            RunId(run),
            state,
            state not in ENDED,
            experiment,
            confirmed_usd=self._one("cost", (machine, run), index) if alone else None,
            budget_usd=self._one("budget", (machine, run), index),
            usd_per_hour=None if price is None or share is None else price * share,
            followed=True,
        )

    def _of(self, name: str, machine: str, index: int) -> Iterator[tuple[Key, float]]:
        for key, points in self._points[name].items():
            if key[0] == machine and index in points:
                yield key, points[index]

    def _one(self, name: str, key: Key, index: int) -> float | None:
        return self._points[name].get(key, {}).get(index)


def replay(policies: PolicySet, past: Past) -> list[Acted]:
    """What ``policies`` would have ended, in order of time."""
    dry = replace(policies, policies=tuple(replace(policy, dry_run=True) for policy in policies.policies))
    acted = [one for machine in past.machines() for one in _of_machine(dry, machine, past)]
    return sorted(acted, key=lambda one: one.t)


def _of_machine(policies: PolicySet, machine: str, past: Past) -> Iterator[Acted]:
    guard = Guard(policies)
    under_way: dict[tuple[str, str], Acted] = {}
    for observation in past.observations(machine):
        decisions = guard.tick(observation)
        waiting = {(one.policy, one.subject): one for one in decisions.view.waiting}
        for key in [key for key in under_way if key not in waiting]:
            yield under_way.pop(key)
        for notice in decisions.notices:
            key = (notice.policy, notice.subject)
            if notice.step == "stop" and key in waiting:
                runs = tuple(run.run for run in observation.open_runs if notice.subject in (MACHINE, run.run))
                condition = waiting[key].condition
                under_way[key] = Acted(
                    observation.t, machine, *key, condition, notice.usd_per_hour, notice.wasted_usd, 0.0, runs
                )
        for key, one in under_way.items():
            under_way[key] = replace(one, usd=max(0.0, waiting[key].wasted_usd - one.wasted_usd))
    yield from under_way.values()
