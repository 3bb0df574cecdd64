"""A simulated machine with the agent's real meter, observer and guard; all around them is the script's."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from epochcost.agent.device_activity import Idle
from epochcost.agent.guard_memory import OFTEN_SECONDS
from epochcost.agent.guard_observation import Facts, Observer
from epochcost.agent.meter import Meter, MeterSettings
from epochcost.agent.meter_inputs import Inputs, Quote
from epochcost.agent.snapshot import CollectorHealth, Snapshot
from epochcost.demo.scenario import Attempt, Script
from epochcost.demo.simulated_machine import Life as Readings
from epochcost.demo.simulated_machine import writer_of
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
)
from scripts.guard_sim.life import BOOT_SECONDS, REMOTE_EVERY, REMOTE_HEARD, SILENT_AFTER, Life
from scripts.guard_sim.waste import POLICY, nothing_until

T0 = 1_700_000_000.0
BEAT_SECONDS, FRESH_SECONDS, SAVE_SECONDS = 20.0, 60.0, 300.0
ADA = 1001
BUSY_CPU, IDLE_CPU = 0.7, 0.003
OBEYS_SECONDS = 60.0
"""So long after it was asked a training run has got to its next checkpoint."""
GOOD = CollectorHealth(success=True, duration_seconds=0.0)


@dataclass(frozen=True, slots=True)
class Stop:
    """What the guard did, and when: a machine (empty subject) or a run was ended, or a run was asked to end."""

    t: float
    subject: str
    policy: str
    how: str


@dataclass
class Simulated:
    """One machine, tick by tick.

    Attributes:
        ended: processes (run and start) that were ended before their time, and when.
        off: (from, to) in which the guard had ended the machine.
    """

    life: Life
    t: float = 0.0
    stops: list[Stop] = field(default_factory=list)
    ended: dict[tuple[str, float], float] = field(default_factory=dict)
    off: list[tuple[float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.policies = policies(parsed(POLICY, "guard.yml"))
        machine = self.life.machine
        self.node = Node(machine.name, machine.kind.provider, machine.region, machine.zone, machine.kind.instance_type)
        script = Script((machine,), tuple(self.life.jobs.values()), (), ())
        self._readings = Readings(machine, script, T0)
        self._events: list[TrainingEvent] = []
        self._fed, self._saved, self._saved_t = 0, "", 0.0
        self._promised, self._promised_t = "", 0.0
        self._counts: Counter[str] = Counter(accepted=0)
        self._jumps = 0
        self._once: set[tuple[str, float]] = set()
        self._gave_up: set[str] = set()
        self._linked: set[str] = set()
        self._cpu_seconds = self._received = 0.0
        self._saving: set[str] = set()
        self._asked_t: dict[tuple[str, float], float] = {}
        self._fresh_agent()

    # -- the agent ---------------------------------------------------------------------------------------------------

    def _fresh_agent(self, *, lost: bool = True, booted: bool = False) -> None:
        """A new process: with the state that was saved last, or, where that is ``lost``, from the event files."""
        self.meter = Meter(Ledger(), self.node, MeterSettings("sim-0"))
        self.guard = Guard(self.policies)
        self.observer = Observer(Idle())
        self.quote: Quote | None = None
        self._begun = False
        if lost and self._promised:
            promised = json.loads(self._promised)
            self.guard.keep_promises(promised["guard"], 0.0)
            self.observer.restore(promised["seen"])
        if not lost and self._saved:
            state = json.loads(self._saved)
            self.guard.restore(state["guard"])
            self.observer.restore(state["seen"])
            if not booted:
                self.meter.take(self.meter.restored(state["meter"], T0 + self.t + 60))
                self._fed, self._begun = state["fed"], True
                return
        self._fed = len(self._events) if booted else 0

    def _save(self) -> None:
        seen = self.observer.state()
        state = {"meter": self.meter.state(), "guard": self.guard.state(), "seen": seen, "fed": self._fed}
        self._saved, self._saved_t = json.dumps(state), self.t
        if self.t - self._promised_t >= OFTEN_SECONDS:
            self._promise()

    def _promise(self) -> None:
        document = {"guard": self.guard.promises(), "seen": self.observer.state()}
        self._promised, self._promised_t = json.dumps(document), self.t

    def tick(self) -> None:
        """What happens in one tick."""
        self.t += BEAT_SECONDS
        wrong = self.life.wrong(self.t)
        self._report(wrong)
        if self.off and self.t < self.off[-1][1]:
            return
        if self.off and self.t - BEAT_SECONDS < self.off[-1][1]:  # booted anew: nothing of what ran is there
            self._fresh_agent(lost=False, booted=True)
        if not self.life.machine.samples(self.t):
            return
        if {"pause", "restart", "corrupt"} & wrong.keys():
            for kind in ("restart", "corrupt"):
                if kind in wrong and self._first(kind, wrong[kind]):
                    self._fresh_agent(lost=kind == "corrupt")
            return
        self._look(wrong)

    def _first(self, kind: str, start: float) -> bool:
        fresh = (kind, start) not in self._once
        self._once.add((kind, start))
        return fresh

    def _look(self, wrong: dict[str, float]) -> None:
        now = T0 + self.t
        self._one_time_faults(wrong)
        events = [] if "unread" in wrong else self._events[self._fed :]
        self._fed += len(events)
        if not self._begun:
            self.meter.begin_boot(now, T0 + min(self.life.machine.boots, 0.0), events)
            self._begun = True
        self._hear_price(wrong, now)
        running = self._running()
        inputs = Inputs(
            gpus=self._gpus(wrong, now),
            has_gpus=bool(self.life.machine.kind.gpus),
            host=self._host(now),
            events=events,
            quote=self.quote,
            watched={writer_of(attempt) for attempt in running},
            health={"progress": GOOD},
            event_counts=self._counts,
            clock_jumps=self._jumps,
            fresh_seconds=FRESH_SECONDS,
        )
        snapshot = self.meter.tick(now, inputs)
        self._decide(replace(snapshot, owners=self._owners(snapshot)), running, wrong)
        if self.t - self._saved_t >= SAVE_SECONDS:
            self._save()

    def _host(self, now: float) -> HostReading:
        """Readings count from the agent's start, and so does this: only what comes between two of them is looked at."""
        cores, seconds = self.life.machine.kind.vcpus, now - T0
        ratio = BUSY_CPU if self._is("cpu") else IDLE_CPU
        self._cpu_seconds += BEAT_SECONDS * (1.0 if self._is("one-core") else ratio * cores)
        self._received += BEAT_SECONDS * (20e6 if self._is("fetch") else 1e4)
        used = {"user": self._cpu_seconds, "idle": cores * seconds - self._cpu_seconds}
        return HostReading(now, ratio, used, network_received_bytes=int(self._received))

    def _hear_price(self, wrong: dict[str, float], now: float) -> None:
        price = self.life.price
        if "unpriced" in wrong or price is None:
            if self.quote is not None:
                self.meter.node_changed(now)
            self.quote = None
        elif self.quote is None:
            steps = tuple(PriceStep(T0 + since, usd) for since, usd in price.steps)
            self.quote = Quote(steps, None, "sim", now)
        else:
            self.quote = replace(self.quote, confirmed_ts=now)

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

    def _decide(self, snapshot: Snapshot, running: list[Attempt], wrong: dict[str, float]) -> None:
        self._keep()
        facts = Facts(
            wall_ts=T0 + self.t,
            fresh_seconds=FRESH_SECONDS,
            runs_on=self.meter.ledger.runs_on(),
            users={r.run: ADA for r in snapshot.runs},
            followed={attempt.run: (4711,) for attempt in running},
            unread="event files contain more than was read" if "unread" in wrong else "",
            interactive=((Person(ADA), 60.0),) if self._is("typing") else (),
            no_room="the file system is full" if "full" in wrong else "",
        )
        decisions = self.guard.tick(self.observer.observe(snapshot, facts))
        for run, request in decisions.requests.items():
            self._ask(str(run), request.policy, request.at)
        if decisions.order is not None:
            order = decisions.order
            self.guard.report(Outcome(order))
            self.stops.append(Stop(self.t, order.subject, order.policy, "command"))
            self._end(order.subject)

    def _keep(self) -> None:
        keeps = {one for one in self.life.over(self.t) if one.kind == "kept"}
        for number, one in enumerate(o for o in self.life.overlays if o.kind == "kept"):
            key = f"link {number}" if one.who == "link" else f"file {number}"
            if one not in keeps or (one.who == "link" and key in self._linked):
                continue
            uid = ADA if one.who == "ada" else None
            self.guard.keeps.put(Keep(key, uid, one.subject, T0 + one.end, one.who, "wanted"))
            if one.who == "link":  # said once: whether it is remembered is the agent's
                self._linked.add(key)
                self._promise()

    # -- what it does to the world -----------------------------------------------------------------------------------

    def _ask(self, run: str, policy: str, at: str) -> None:
        attempt = next((a for a in self._alive() if a.run == run), None)
        if attempt is None:
            return
        key = (run, attempt.start)
        if key not in self._asked_t:
            self._asked_t[key] = self.t
            self.stops.append(Stop(self.t, run, policy, at))
        hangs = self.t >= attempt.hangs_at
        if run in self.life.obeys and not hangs and self.t - self._asked_t[key] > OBEYS_SECONDS:
            self._end(run)

    def _end(self, subject: str) -> None:
        if subject == MACHINE:
            self.off.append((self.t, max(self.t + BEAT_SECONDS, nothing_until(self, self.t) - BOOT_SECONDS)))
            return
        for attempt in self._alive():
            if attempt.run == subject:
                self.ended[subject, attempt.start] = self.t
                ending = TrainingEvent(
                    EventKind.END, T0 + self.t, RunId(subject), writer_of(attempt), status=EndStatus.PREEMPTED, user=ADA
                )
                self._events.append(ending)
        machine = self._readings.machine
        attempts = tuple(replace(a, end=min(a.end, self.ended.get((a.run, a.start), a.end))) for a in machine.attempts)
        self._readings.machine = replace(machine, attempts=attempts)

    def _alive(self) -> list[Attempt]:
        return [a for a in self._readings.machine.attempts if a.start <= self.t < a.end]

    def _running(self) -> list[Attempt]:
        """Processes whose lives are seen: not those that report over the network."""
        return [a for a in self._alive() if not self._is("remote", a.run)]

    def _is(self, kind: str, subject: str = "") -> bool:
        return any(one.kind == kind and one.subject == subject for one in self.life.over(self.t))

    # -- the world ---------------------------------------------------------------------------------------------------

    def _report(self, wrong: dict[str, float]) -> None:
        """What the training runs say; a full disk may silence a writer for good, a cut network for a while."""
        for event in self._readings.events(self.t):
            received = self._heard(event, wrong)
            if received is not None:
                self._events.append(replace(received, user=ADA))
        self._events.extend(self._checkpoints())

    def _heard(self, event: TrainingEvent, wrong: dict[str, float]) -> TrainingEvent | None:
        run, t = str(event.run), event.t - T0
        attempt = next((a for a in self.life.machine.attempts if writer_of(a) == event.writer), None)
        if attempt is None or t > self.ended.get((run, attempt.start), t):
            return None
        if event.kind is EventKind.START:
            return replace(event, from_output=True) if self._is("silent", run) else event
        if event.kind not in (EventKind.PROGRESS, EventKind.EPOCH_END):
            return event
        if "full" in wrong and self.life.seed % 2:
            self._gave_up.add(event.writer)
        cut = self._is("remote", run) and (t - attempt.start) % REMOTE_EVERY > REMOTE_HEARD
        silent = self._is("silent", run) and t - attempt.start > SILENT_AFTER
        lost = "full" in wrong or event.writer in self._gave_up or cut or silent or self.life.saves(attempt, t)
        return None if lost else event

    def _checkpoints(self) -> Iterator[TrainingEvent]:
        for attempt in self._alive():
            if writer_of(attempt) in self._gave_up or "full" in self.life.wrong(self.t):
                continue
            run, saves = attempt.run, self.life.saves(attempt, self.t) and self.t < attempt.hangs_at
            if saves != (run in self._saving) and not self._is("remote", run):
                (self._saving.add if saves else self._saving.discard)(run)
                phase = Phase.CHECKPOINT if saves else Phase.TRAIN
                yield TrainingEvent(EventKind.PHASE, T0 + self.t, RunId(run), writer_of(attempt), phase=phase, user=ADA)

    def _gpus(self, wrong: dict[str, float], now: float) -> GpuReading | None:
        reading = self._readings.gpus(self.t)
        self._readings.host(self.t)
        if reading is None:
            return None
        attempt = self._readings.machine.attempt_at(self.t)
        quiet = attempt is not None and self._is("quiet", attempt.run)
        samples = [self._sample(sample, quiet=quiet) for sample in reading.gpus]
        if "unreadable" in wrong or "stuck" in wrong:
            stuck = "nvmlDeviceGetPowerUsage" if "stuck" in wrong else ""
            samples[0] = GpuSample("0", samples[0].uuid, readable=False, stuck_call=stuck)
        if "gone" in wrong:
            samples.pop()
        return GpuReading(now - (90.0 if "stale" in wrong else 0.0), tuple(samples), "sim")

    def _sample(self, sample: GpuSample, *, quiet: bool) -> GpuSample:
        if quiet and sample.readable:
            watts = 0.27 * self.life.machine.kind.watts_per_gpu
            sm = None if sample.sm_active_ratio is None else 0.0
            return replace(sample, utilization_ratio=0.0, sm_active_ratio=sm, power_watts=watts)
        return replace(sample, utilization_ratio=0.0) if self._is("lying") and sample.readable else sample

    def _owners(self, snapshot: Snapshot) -> tuple[GpuOwner, ...]:
        if self._is("held-unknown"):
            return ()
        uuids = {gpu.sample.uuid for gpu in snapshot.gpus}
        return tuple(owner for owner in self._readings.strangers(self.t) if owner.uuid in uuids)
