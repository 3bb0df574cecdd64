"""A simulated machine with the agent's real meter, observer and guard; all around them is the script's."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from epochcost.agent.guard_observation import Facts, Observer
from epochcost.agent.meter import Idle, Inputs, Meter, Quote
from epochcost.agent.snapshot import CollectorHealth, Snapshot
from epochcost.guard.conditions import MACHINE
from epochcost.guard.decisions import Outcome
from epochcost.guard.engine import Guard
from epochcost.guard.keeps import Keep
from epochcost.guard.located_yaml import parsed
from epochcost.guard.observation import Person
from epochcost.guard.policy_file import policies
from epochcost.ledger import Ledger
from epochcost.model import (
    EndStatus,
    EventKind,
    GpuOwner,
    GpuReading,
    GpuSample,
    HostReading,
    Node,
    Phase,
    PriceStep,
    RunId,
    TrainingEvent,
)  # fmt: skip
from scripts.guard_sim.life import BOOT_SECONDS, BUDGET_USD, GPUS, REPORT_SECONDS, USD_PER_HOUR, Life, Part

T0 = 1_700_000_000.0
BEAT_SECONDS, FRESH_SECONDS, SAVE_SECONDS = 15.0, 45.0, 60.0
GIB = 1 << 30
ADA = 1001
POLICY = """
dry_run: false
actions_per_hour: 60
commands:
  off: {command: [/bin/true]}
  kill: {command: [/bin/true, "{pids}"], scope: run}
policies:
  - {use: forgotten-machine, command: off}
  - {use: budget, command: kill}
  - {use: hung-run, command: kill}
"""
GOOD = CollectorHealth(success=True, duration_seconds=0.0)


@dataclass
class Stop:
    """What the guard did, and when: a machine (empty subject) or a run was ended, or a run was asked to end."""

    t: float
    subject: str
    policy: str
    how: str


@dataclass
class Simulated:
    """One machine, beat by beat."""

    life: Life
    t: float = 0.0
    stops: list[Stop] = field(default_factory=list)
    off_until: float = 0.0
    """The machine is off until then."""
    ended: dict[str, float] = field(default_factory=dict)
    """Runs that are over, and since when."""

    def __post_init__(self) -> None:
        self.policies = policies(parsed(POLICY, "guard.yml"))
        self._events: list[TrainingEvent] = []
        self._fed = 0
        self._saved = ""
        self._saved_t = 0.0
        self._counts: Counter[str] = Counter(accepted=0)
        self._jumps = 0
        self._once: set[tuple[str, float]] = set()
        self._seen_part: Part | None = None
        self._reported_t = -1e9
        self._gave_up: set[str] = set()
        self._asked_t: dict[str, float] = {}
        self._down, self._booting_until = False, 0.0
        self._fresh_agent()

    # -- the agent ---------------------------------------------------------------------------------------------------

    def _fresh_agent(self, *, lost: bool = True) -> None:
        """A new process: with the state that was saved last, or, where that is ``lost``, from the event files."""
        self.meter = Meter(Ledger(), Node("sim"), machine="sim-0")
        self.guard = Guard(self.policies)
        self.observer = Observer(Idle())
        self.quote: Quote | None = None
        if lost or not self._saved:
            self._fed, self._begun = 0, False
            return
        state = json.loads(self._saved)
        self.meter.take(self.meter.restored(state["meter"], T0 + self.t + 60))
        self.guard.restore(state["guard"])
        self._fed, self._begun = state["fed"], True

    def _save(self) -> None:
        state = {"meter": self.meter.state(), "guard": self.guard.state(), "fed": self._fed}
        self._saved, self._saved_t = json.dumps(state), self.t

    def beat(self) -> None:
        """What happens in one beat."""
        self.t += BEAT_SECONDS
        part, wrong = self.life.at(self.t), self.life.wrong(self.t)
        if self.t < self.off_until:
            self._down = True
            return
        if self._down:  # booted anew: nothing of what ran is there
            self._down, self._booting_until = False, self.t + BOOT_SECONDS
            self._fresh_agent(lost=True)
            self._events, self._seen_part = [], None
        if self.t < self._booting_until:
            part = Part("booting", self.t, self._booting_until, -1)
        self._report(part, wrong)
        if {"pause", "restart", "corrupt"} & wrong.keys():
            self._interrupted(wrong)
            return
        self._look(part, wrong)

    def _interrupted(self, wrong: dict[str, float]) -> None:
        for kind in ("restart", "corrupt"):
            if kind in wrong and self._first(kind, wrong[kind]):
                self._fresh_agent(lost=kind == "corrupt")

    def _first(self, kind: str, start: float) -> bool:
        fresh = (kind, start) not in self._once
        self._once.add((kind, start))
        return fresh

    def _look(self, part: Part, wrong: dict[str, float]) -> None:
        now = T0 + self.t
        self._one_time_faults(wrong)
        events = [] if "unread" in wrong else [e for e in self._events[self._fed :] if e.t <= now]
        self._fed += len(events)
        if not self._begun:
            self.meter.begin_boot(now, T0, events)
            self._begun = True
        if "unpriced" in wrong:
            self.meter.node_changed(now)
            self.quote = None
        elif self.quote is None:
            self.quote = Quote((PriceStep(T0 - 1e6, USD_PER_HOUR),), None, "sim", now)
        else:
            self.quote = replace(self.quote, confirmed_ts=now)
        run = part.run if part.run not in self.ended else ""
        inputs = Inputs(
            gpus=self._gpus(part, wrong, now),
            has_gpus=True,
            host=HostReading(now, 0.7 if part.kind == "cpu" else 0.02),
            events=events,
            quote=self.quote,
            watched={run} if run and part.kind != "remote" else set(),
            health={"progress": GOOD},
            event_counts=self._counts,
            clock_jumps=self._jumps,
            fresh_seconds=FRESH_SECONDS,
        )
        snapshot = self.meter.tick(now, inputs)
        self._decide(self._with_owners(snapshot, part), part, wrong, run)
        if self.t - self._saved_t >= SAVE_SECONDS:
            self._save()

    def _one_time_faults(self, wrong: dict[str, float]) -> None:
        for kind, start in wrong.items():
            if not self._first(kind, start):
                continue
            if kind == "jump":
                self._jumps += 1
            elif kind == "policy":
                self.guard.replace(self.policies)
            elif kind in ("refused", "unreadable file"):
                self._counts["refused" if kind == "refused" else "unreadable"] += 1

    def _with_owners(self, snapshot: Snapshot, part: Part) -> Snapshot:
        known = part.kind in ("held", "stranger", "lying")
        owners = [GpuOwner(g.sample.uuid, "user", "ada", 1.0, user="ada") for g in snapshot.gpus if known]
        return replace(snapshot, owners=tuple(owners))

    def _decide(self, snapshot: Snapshot, part: Part, wrong: dict[str, float], run: str) -> None:
        if part.kind == "kept":
            self.guard.keeps.put(Keep("file keep.0", None, MACHINE, T0 + part.end, "root", "wanted"))
        facts = Facts(
            wall_ts=T0 + self.t,
            fresh_seconds=FRESH_SECONDS,
            runs_on=self.meter.ledger.runs_on(),
            users={r.run: ADA for r in snapshot.runs},
            followed={run: (4711,)} if run and part.kind != "remote" else {},
            unread="event files have more to say than was read" if "unread" in wrong else "",
            interactive=((Person(ADA), 60.0),) if part.kind == "typing" else (),
            no_room="the file system is full" if "full" in wrong else "",
        )
        decisions = self.guard.tick(self.observer.observe(snapshot, facts))
        for asked, request in decisions.requests.items():
            self._ask(str(asked), request.policy, request.at, part)
        if decisions.order is not None:
            order = decisions.order
            self.guard.report(Outcome(order))
            self.stops.append(Stop(self.t, order.subject, order.policy, "command"))
            self._end(order.subject, part)

    def _ask(self, run: str, policy: str, at: str, part: Part) -> None:
        if run not in self._asked_t:
            self._asked_t[run] = self.t
            self.stops.append(Stop(self.t, run, policy, at))
        hangs = part.kind == "hung" and self.t >= part.worse
        if part.obeys and not hangs and run == part.run and self.t - self._asked_t[run] > 4 * BEAT_SECONDS:
            self._end(run, part)

    def _end(self, subject: str, part: Part) -> None:
        if subject == MACHINE:
            self.off_until = max(
                (w.end for w in self.life.waste(self.ended) if not w.subject and w.start <= self.t < w.end),
                default=part.end,
            )
        elif subject not in self.ended:
            self.ended[subject] = self.t
            self._say(EventKind.END, RunId(subject), status=EndStatus.PREEMPTED)

    # -- the world ---------------------------------------------------------------------------------------------------

    def _say(self, kind: EventKind, run: RunId, **said: Any) -> None:  # noqa: ANN401 - of an event
        self._events.append(TrainingEvent(kind, T0 + self.t, run, str(run), user=ADA, **said))

    def _report(self, part: Part, wrong: dict[str, float]) -> None:
        """What the trainings say; a full disk may silence a writer for good, a cut network for a while."""
        before, self._seen_part = self._seen_part, part
        if part.kind == "booting":
            return
        if before is not part and before is not None and before.run and before.run not in self.ended:
            self.ended[before.run] = before.end
            self._say(EventKind.END, RunId(before.run), status=EndStatus.FINISHED)
        if not part.run or part.run in self.ended:
            return
        if before is not part:
            budget = BUDGET_USD if part.kind == "budget" else None
            launcher = "exec" if part.kind == "silent" else None
            self._say(EventKind.START, RunId(part.run), epochs=1000.0, budget_usd=budget, launcher=launcher)
            self._say(EventKind.PHASE, RunId(part.run), phase=Phase.TRAIN, epoch=0.0)
        if "full" in wrong:
            if self.life.seed % 2:
                self._gave_up.add(part.run)
            return
        cut = part.kind == "remote" and (self.t - part.start) % 7200 > 1800
        silent = part.kind == "silent" and self.t - part.start > 900
        hangs = part.kind == "hung" and self.t >= part.worse
        if not (hangs or cut or silent or part.run in self._gave_up) and self.t - self._reported_t >= REPORT_SECONDS:
            self._reported_t = self.t
            done = self.t - part.start
            self._say(EventKind.PROGRESS, RunId(part.run), step=int(done), epoch=done / 600, steps=600)

    def _gpus(self, part: Part, wrong: dict[str, float], now: float) -> GpuReading:
        works = part.kind in ("train", "budget", "hung", "stranger", "lying", "silent", "remote")
        works = works and (not part.run or part.run not in self.ended)
        busy = part.busy if part.kind == "hung" and self.t >= part.worse else 0.9
        holds = works or part.kind in ("held", "held-unknown")
        samples = []
        for number in range(GPUS - ("gone" in wrong)):
            if number == 0 and ("unreadable" in wrong or "stuck" in wrong):
                stuck = "nvmlDeviceGetPowerUsage" if "stuck" in wrong else ""
                samples.append(GpuSample("0", "GPU-0", readable=False, stuck_call=stuck))
                continue
            samples.append(
                GpuSample(
                    str(number),
                    f"GPU-{number}",
                    utilization_ratio=(0.0 if part.kind == "lying" else busy) if works else 0.0,
                    memory_used_bytes=40 * GIB if holds else GIB // 16,
                    memory_total_bytes=80 * GIB,
                    power_watts=(90.0 + 300 * busy) if works else 60.0 if not holds else 75.0,
                )
            )
        return GpuReading(now - (60.0 if "stale" in wrong else 0.0), tuple(samples), "sim")
