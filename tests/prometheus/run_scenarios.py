"""Runs over machines, attempts and clusters, simulated: what each agent exports, and the expected figures.

Every agent's ledger is exact for its own machine; the truth of a run is the sum over them. Scenarios define who trains
when, who is gone when, and which labels a scrape configuration adds; the rules have to find that sum.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tests.prometheus.rule_files import PROMETHEUS_DIR, every_rule

STARTUP_MINUTES, EPOCH_MINUTES, PLANNED = 2, 10, 40
USEFUL = 0.8
Series = dict[str, list[float | None]]


@dataclass(frozen=True)
class Machine:
    """One computer: its prices, and from when to when its agent is scraped (minutes; None: to the end)."""

    name: str
    usd_per_hour: float = 0.6
    on_demand: float = 1.2
    until: int | None = None
    prices_own: bool = True
    ledger: str = "p"
    """Its part of the run: another one where the ledger is another."""
    alias: str = ""
    """The name on its series, where it is that of another machine of before."""

    @property
    def label(self) -> str:
        return self.alias or self.name


@dataclass(frozen=True)
class Attempt:
    """A stretch of a run: which machines train from when to when, from which epoch, and who holds rank 0."""

    machines: Sequence[Machine]
    start: int
    end: int
    position: float = 0.0
    leaders: Sequence[str] | None = None
    """None: the first machine."""
    finishes: bool = False
    """It comes to its goal; what starts later under the run's id is another training run."""

    def leads(self, machine: Machine) -> bool:
        names = [self.machines[0].name] if self.leaders is None else self.leaders
        return machine.name in names


@dataclass
class Part:
    """One ledger's record of the run, minute by minute."""

    machine: Machine
    first: int
    start_epoch: float
    seconds: float = 0.0
    states: dict[str, float] = field(default_factory=dict)
    led: bool = False
    epochs: float = 0.0
    position: float = 0.0
    high: float = 0.0
    epoch_seconds: float = 0.0
    epoch_count: float = 0.0
    epoch_usd: float = 0.0
    this_epoch: float = 0.0
    phases: dict[str, float] = field(default_factory=lambda: {"startup": 0.0, "train": 0.0})
    share: float = 0.0
    leader: bool = False
    lost_epochs: float = 0.0
    before: float = 0.0
    """Epochs of earlier training runs: positions count on from there."""
    over: tuple[float, float] | None = None
    """Where a training run last finished here, and when."""
    anew: bool = False
    attempt_t: float = 0.0
    rows: Series = field(default_factory=dict)

    def dollars(self) -> float:
        return sum(self.states.values()) / 3600 * self.machine.usd_per_hour

    def exported(self) -> dict[str, float]:
        """The agent's series of this part, by name and labels beside the identifying ones."""
        out = {
            "run_seconds_total": self.seconds, "run_node_share_ratio": self.share, "run_leader": float(self.leader),
        }  # fmt: skip
        for state, seconds in self.states.items():
            out[f'run_state_seconds_total|state="{state}"'] = seconds
            if self.machine.prices_own:
                usd = seconds / 3600 * self.machine.usd_per_hour
                out[f'run_state_cost_usd_total|state="{state}"'] = usd
        if self.machine.prices_own:
            out |= {"run_cost_usd_total": self.dollars(), "run_epoch_cost_usd_sum": self.epoch_usd}
        if self.led:
            out |= {
                "run_epoch": self.position, "run_epochs_total": self.epochs, "run_useful_epochs": self.high,
                "run_start_epoch": self.start_epoch, "run_attempt_timestamp_seconds": self.attempt_t,
                "run_epochs_planned": self.before + PLANNED, "run_lost_epochs_total": self.lost_epochs,
                "run_epoch_seconds_sum": self.epoch_seconds, "run_epoch_seconds_count": self.epoch_count,
                "run_steps_total": self.epochs * 100, "run_tokens_total": self.epochs * 1e6,
                'run_phase_seconds_total|phase="startup"': self.phases["startup"],
                'run_phase_seconds_total|phase="train"': self.phases["train"],
            }  # fmt: skip
            if self.before:
                out["run_before_epochs"] = self.before
            if self.over:
                out |= {"run_finished_epochs": self.over[0], "run_finished_timestamp_seconds": self.over[1]}
        return out


@dataclass(frozen=True)
class Scenario:
    """A run's history, what is scraped of it under which labels, and the time of evaluation."""

    name: str
    attempts: Sequence[Attempt]
    look: int
    labels: Callable[[Machine], Sequence[Mapping[str, str]]] = lambda machine: [{"job": "epochcost-agent"}]
    poller: bool = False
    blind: tuple[int, int] = (-1, -1)
    """Minutes in which Prometheus sees nothing."""
    others: Sequence[Scenario] = ()
    cluster: str = ""
    absent: Sequence[str] = ()
    """Figures that must not be shown."""
    more: Mapping[str, float] = field(default_factory=dict)

    def parts(self) -> list[Part]:
        """Every part of the run after its whole history."""
        parts: dict[tuple[str, str], Part] = {}
        for minute in range(self.look + 1):
            now = [a for a in self.attempts if a.start <= minute <= a.end]
            for part in parts.values():
                part.share, part.leader = 0.0, part.leader
            for attempt in now:
                for machine in attempt.machines:
                    if machine.until is not None and minute > machine.until:
                        continue
                    key = (machine.label, machine.ledger)
                    if key not in parts:
                        parts[key] = Part(machine, minute, attempt.position, high=attempt.position)
                    advance(parts[key], attempt, minute)
            for part in parts.values():
                if part.machine.until is None or minute <= part.machine.until:
                    record(part, minute)
        return list(parts.values())

    def useful(self) -> list[float]:
        """Of each training run under the id, from its first to its last position, by its attempts."""
        spans: list[list[float]] = [[]]
        for attempt in sorted(self.attempts, key=lambda a: a.start):
            age = max(0, min(attempt.end, self.look) - attempt.start - STARTUP_MINUTES)
            for machine in attempt.machines:
                if machine.until is not None and attempt.leads(machine):
                    age = max(0, min(age, machine.until - attempt.start - STARTUP_MINUTES))
            if attempt.start <= self.look:
                spans[-1] += [attempt.position, attempt.position + age / EPOCH_MINUTES]
            if attempt.finishes:
                spans.append([])
        return [max(span) - min(span) for span in spans if span]

    def truth(self) -> dict[str, float]:
        """The figures of the whole run, from every ledger's last sample."""
        parts = self.parts()
        last = [{name: row[-1] for name, row in p.rows.items()} for p in parts]

        def total(name: str) -> float:
            return sum(row.get(name) or 0.0 for row in last)

        cost = sum(p.dollars() for p in parts)
        executed, count = total("run_epochs_total"), total("run_epoch_seconds_count")
        led = [p for p in parts if p.led]
        useful = sum(self.useful())
        usd = sum(p.epoch_usd for p in parts)
        wasted = sum(
            p.states[s] / 3600 * p.machine.usd_per_hour for p in parts for s in p.states if s in {"startup", "idle"}
        )
        normal = sum(p.states.get("useful", 0.0) / 3600 * p.machine.on_demand for p in parts)
        mean = usd / count if count else 0.0
        now = [p for p in led if p.share > 0]
        figures = {
            "run:epochcost_cost_usd:sum": cost,
            "sum without (state) (run_state:epochcost_cost_usd:sum)": cost,
            "run:epochcost_epoch_cost_usd:mean": mean,
            "run:epochcost_epochs:executed": executed,
            "run:epochcost_epochs:useful": useful,
            "run:epochcost_epochs:lost": executed - useful,
            "run:epochcost_epochs:finished": count,
            "run:epochcost_waste_ratio:life": wasted / cost,
            "run:epochcost_saving_ratio:realised": 1 - cost / normal,
            'run_phase:epochcost_seconds:sum{phase="startup"}': total('run_phase_seconds_total|phase="startup"'),
            "run:epochcost_kilostep_cost_usd:mean": 1e3 * cost / (executed * 100),
        }
        if now:
            remaining = PLANNED - (now[-1].position - now[-1].before)
            figures["run:epochcost_cost_usd:projected"] = cost + remaining * mean
        return figures | self.more


def advance(part: Part, attempt: Attempt, minute: int) -> None:
    """One minute of training on one machine."""
    machine, age = part.machine, minute - attempt.start
    part.share, part.leader = 1.0, attempt.leads(machine)
    part.led |= part.leader
    if age == 0:
        if part.anew:
            part.before = max(part.before, part.high - attempt.position)
        part.anew = False
        part.position, part.this_epoch, part.attempt_t = part.before + attempt.position, 0.0, 60.0 * minute + 1
        return
    part.seconds += 60
    starting = age <= STARTUP_MINUTES
    states = {"startup": 60.0} if starting else {"useful": 60.0 * USEFUL, "idle": 60.0 * (1 - USEFUL)}
    for state, seconds in states.items():
        part.states[state] = part.states.get(state, 0.0) + seconds
    if part.leader:
        part.phases["startup" if starting else "train"] += 60
    if starting:
        return
    part.position = part.before + attempt.position + (age - STARTUP_MINUTES) / EPOCH_MINUTES
    part.this_epoch += 60 / 3600 * machine.usd_per_hour
    epoch_starts = (age - STARTUP_MINUTES) % EPOCH_MINUTES == 0
    if epoch_starts:
        part.epoch_usd += part.this_epoch
        part.this_epoch = 0.0
    if part.leader:
        part.epochs += 1 / EPOCH_MINUTES
        part.high = max(part.high, part.position)
        if epoch_starts:
            part.epoch_seconds += EPOCH_MINUTES * 60
            part.epoch_count += 1
        if attempt.finishes and minute == attempt.end:
            part.over, part.anew = (part.high, 60.0 * minute), True


def record(part: Part, minute: int) -> None:
    for name, value in part.exported().items():
        row = part.rows.setdefault(name, [None] * (minute))
        row.append(value)


def values(row: Sequence[float | None], blind: tuple[int, int], *, stale: bool) -> str:
    scraped = [None if blind[0] <= t < blind[1] else v for t, v in enumerate(row)]
    return " ".join("_" if v is None else f"{v:.9f}" for v in scraped) + (" stale" if stale else "")


def series_of(scenario: Scenario) -> list[dict[str, str]]:
    """The series that Prometheus scrapes from a scenario's agents (and poller)."""
    series = []
    for number, part in enumerate(scenario.parts()):
        machine = part.machine
        end = scenario.look if machine.until is None else machine.until
        was_removed = end < scenario.look
        up = [None] * part.first + [1.0] * (end - part.first + 1)
        kind = {"node": machine.name, "provider": "aws", "region": "r", "zone": "z", "instance_type": machine.name,
                "purchase_option": "spot"}  # fmt: skip
        node = {"node_info": (kind, up)}
        if machine.prices_own:
            node["node_price_usd_per_hour"] = ({}, [v and machine.usd_per_hour for v in up])
        node["node_on_demand_price_usd_per_hour"] = ({}, [v and machine.on_demand for v in up])
        for target in scenario.labels(machine):
            common = {"epochcost_machine": machine.label, "instance": f"10.0.0.{number}:10835", **target}
            if scenario.cluster:
                common["cluster"] = scenario.cluster
            for name, (own, row) in node.items():
                clash = {f"exported_{k}" if k in target else k: v for k, v in own.items()}
                series.append(input_series(name, common | clash, values(row, scenario.blind, stale=was_removed)))
            for name, row in part.rows.items():
                base, _, extra = name.partition("|")
                labels = common | {"run": "r", "part": machine.ledger}
                series.append(input_series(base, labels, values(row, scenario.blind, stale=was_removed), extra))
        if scenario.poller:
            offer = {k: v for k, v in kind.items() if k != "node"} | {"instance": "p:1"}
            offer |= {"cluster": scenario.cluster} if scenario.cluster else {}
            price = f"{machine.usd_per_hour}+0x{scenario.look}"
            series.append(input_series("instance_price_usd_per_hour", offer, price))
    return series


def input_series(name: str, labels: Mapping[str, str], row: str, extra: str = "") -> dict[str, str]:
    inside = ",".join([*(f'{k}="{v}"' for k, v in labels.items()), *([extra] if extra else [])])
    return {"series": f"epochcost_{name}{{{inside}}}", "values": row}


def document(scenarios: Sequence[Scenario]) -> dict[str, Any]:
    """A file for promtool in which all of ``scenarios`` happen at once, each in clusters of its own."""
    every = [one for scenario in scenarios for one in (scenario, *scenario.others)]
    assert len({one.cluster for one in every}) == len(every)
    checks = []
    for one in every:
        for figure, value in one.truth().items():
            is_exported = figure not in one.absent
            where = f"({figure}) * on (cluster) group_left () {only(one.cluster)}"
            checks.append(
                {
                    "expr": f"round(sum({where}), 1e-6)",
                    "eval_time": f"{one.look}m",
                    "exp_samples": [{"labels": "{}", "value": round(value, 6)}] if is_exported else [],
                }
            )
    names = {rule.file.name for rule in every_rule() if "record" in rule.body}
    return {
        "rule_files": [str(PROMETHEUS_DIR / "rules" / name) for name in sorted(names)],
        "evaluation_interval": "1m",
        "group_eval_order": GROUPS,
        "tests": [
            {
                "name": "; ".join(f"{one.cluster}: {one.name}" for one in scenarios),
                "interval": "1m",
                "input_series": [line for one in every for line in series_of(one)],
                "promql_expr_test": checks,
            }
        ],
    }


def together(size: int) -> list[list[Scenario]]:
    """Every scenario, ``size`` at once: those that last alike, the first of them without a name of its cluster.

    Rules are evaluated as often for one cluster as for many, and most of that is the same work for both.
    """
    by_length = sorted(SCENARIOS, key=lambda one: one.look)
    batches = [by_length[i : i + size] for i in range(0, len(by_length), size)]
    return [
        [one if one.cluster or not i else replace(one, cluster=f"c{i}") for i, one in enumerate(batch)]
        for batch in batches
    ]


def only(cluster: str) -> str:
    return f'label_replace(vector(1), "cluster", "{cluster}", "", "")'


GROUPS = [
    "epochcost-thresholds", "epochcost-budgets", "epochcost-links", "epochcost-price", "epochcost-place",
    "epochcost-parts", "epochcost-run", "epochcost-owner", "epochcost-epoch", "epochcost-archive", "epochcost-seen",
    "epochcost-cost", "epochcost-spend",
    "epochcost-waste", "epochcost-gpu", "epochcost-memory", "epochcost-market", "epochcost-compare", "epochcost-budget",
    "epochcost-calendar", "epochcost-run-budget", "epochcost-experiment",
]  # fmt: skip
A, B, C = Machine("a"), Machine("b", usd_per_hour=0.75, on_demand=1.5), Machine("c", usd_per_hour=0.9)
D = Machine("d", usd_per_hour=1.1, on_demand=1.3)
LOST_WORK = 7.0


def ends_at(machine: Machine, minute: int, **changes: Any) -> Machine:
    return replace(machine, until=minute, **changes)


def move(name: str, old: Machine, new: Machine = B, **changes: Any) -> Scenario:
    """From one machine to another, which resumes from the last checkpoint."""
    return Scenario(name, [Attempt([old], 0, 80), Attempt([new], 85, 200, LOST_WORK)], 150, **changes)


def replicas(_: Machine) -> list[dict[str, str]]:
    return [{"job": "epochcost-agent", "prometheus_replica": name} for name in ("p-0", "p-1")]


def relabelled(_: Machine) -> list[dict[str, str]]:
    """Relabelled as kube-prometheus-stack and cloud service discovery do."""
    return [
        {
            "job": "monitoring/agents", "namespace": "monitoring", "pod": "x", "container": "c", "endpoint": "metrics",
            "service": "s", "node": "ip-10-0-0-1", "region": "dc", "zone": "hall-2", "instance_type": "m5.large",
        }
    ]  # fmt: skip


SCENARIOS = [
    Scenario("one machine", [Attempt([A], 0, 200)], 150),
    Scenario("two at once", [Attempt([A, B], 0, 200)], 150),
    move("moved, the old one gone", ends_at(A, 80)),
    replace(move("moved, the old one reports on", A), look=94),
    replace(move("moved, the old one was forgotten after a while", ends_at(A, 95)), look=170),
    Scenario(
        "moved twice",
        [Attempt([ends_at(A, 60)], 0, 60), Attempt([ends_at(B, 115)], 65, 115, 5), Attempt([C], 121, 300, 9)],
        170,
    ),
    Scenario(
        "back to the first, its ledger kept",
        [Attempt([A], 0, 60), Attempt([ends_at(B, 115)], 65, 115, 5), Attempt([A], 121, 300, 9)],
        170,
    ),
    Scenario(
        "moved three times",
        [
            Attempt([ends_at(A, 50)], 0, 50), Attempt([ends_at(B, 95)], 55, 95, 4),
            Attempt([ends_at(C, 130)], 101, 130, 7), Attempt([D], 134, 300, 9),
        ],
        190,
    ),
    Scenario(
        "three machines, then two, then another two",
        [
            Attempt([A, ends_at(B, 60), ends_at(C, 110)], 0, 60), Attempt([A, ends_at(C, 110)], 64, 110, 5),
            Attempt([D, A], 114, 300, 8),
        ],
        190,
    ),
    Scenario("restarted on the same machine", [Attempt([A], 0, 70), Attempt([A], 72, 300, 6)], 150),
    Scenario(
        "finished, then begun anew on another machine",
        [Attempt([A], 0, 62, finishes=True), Attempt([B], 70, 300)],
        150,
    ),
    Scenario(
        "finished on the second machine, begun anew on a third, moved on from there",
        [
            Attempt([ends_at(A, 50)], 0, 50), Attempt([ends_at(B, 92)], 55, 92, 4, finishes=True),
            Attempt([ends_at(C, 140)], 100, 140), Attempt([D], 144, 300, 3),
        ],
        180,
    ),
    Scenario(
        "finished and begun anew on three machines in turn, and again on the first",
        [
            Attempt([A], 0, 42, finishes=True), Attempt([ends_at(B, 90)], 45, 87, finishes=True),
            Attempt([A], 92, 134, finishes=True), Attempt([C], 137, 300),
        ],
        170,
    ),
    Scenario(
        "finished elsewhere, begun anew where it had been before it moved",
        [Attempt([A], 0, 32), Attempt([B], 36, 78, 2, finishes=True), Attempt([A], 82, 300)],
        145,
    ),
    Scenario(
        "finished on two machines, begun anew on two others, rank 0 left",
        [
            Attempt([A, ends_at(B, 70)], 0, 62, finishes=True), Attempt([ends_at(C, 110), D], 70, 110),
            Attempt([D], 114, 300, 2),
        ],
        160,
    ),
    Scenario(
        "finished, then made longer on another machine from a checkpoint before the end",
        [Attempt([A], 0, 62, finishes=True), Attempt([B], 70, 300, 5)],
        150,
    ),
    Scenario(
        "finished, and begun anew after a pause of two hours in which nobody reported it",
        [Attempt([ends_at(A, 70)], 0, 62, finishes=True), Attempt([B], 190, 600)],
        260,
    ),
    move("a machine of the same name, another ledger", ends_at(A, 80), replace(B, alias="a", ledger="q")),
    move("a lost ledger on the same machine", ends_at(A, 80), replace(A, ledger="q")),
    Scenario("shrinks, rank 0 stays", [Attempt([A, ends_at(B, 80)], 0, 80), Attempt([A], 83, 300, 7)], 150),
    Scenario("shrinks, rank 0 leaves", [Attempt([ends_at(A, 80), B], 0, 80), Attempt([B], 83, 300, 7)], 150),
    Scenario("grows", [Attempt([A], 0, 80), Attempt([A, B], 84, 300, 7)], 150),
    Scenario("elastic restart with another rank 0", [Attempt([A, B], 0, 80), Attempt([B, A], 82, 300, 7)], 150),
    Scenario(
        "two clusters, the same id",
        [Attempt([A], 0, 200)],
        150,
        cluster="eu",
        others=[Scenario("", [Attempt([replace(A, usd_per_hour=2.4)], 0, 300)], 150, cluster="us")],
    ),
    move(
        "three clusters, the same id, moved in each",
        ends_at(A, 80),
        cluster="eu-2",
        others=[
            move("", ends_at(A, 80, usd_per_hour=2.4), replace(C, usd_per_hour=3.0), cluster="us-2"),
            Scenario("", [Attempt([A, B], 0, 300)], 150, cluster="ap-2"),
        ],
    ),
    move("two replicas", ends_at(A, 80), labels=replicas),
    move("target labels of all kinds", ends_at(A, 80), labels=relabelled),
    move("two agents' addresses of one machine", ends_at(A, 80), labels=lambda m: [{"job": "x"}, {"job": "y"}]),
    Scenario(
        "two at once, both moved",
        [Attempt([ends_at(A, 80), ends_at(B, 80)], 0, 80), Attempt([C, replace(A, name="d")], 85, 300, 7)],
        150,
    ),
    Scenario("a pause of three hours", [Attempt([ends_at(A, 80)], 0, 80), Attempt([B], 260, 600, 7)], 330),
    move("moved, agents without a price", ends_at(A, 80, prices_own=False), replace(B, prices_own=False), poller=True),
    move("moved while Prometheus was blind for 12 minutes", ends_at(A, 80), blind=(81, 93)),
    Scenario(
        "a worker failed once, the other machine did not count it",
        [Attempt([A, B], 0, 60), Attempt([A, B], 63, 300, 5)],
        150,
    ),
    Scenario(
        "both hold rank 0",
        [Attempt([A, B], 0, 200, leaders=["a", "b"])],
        150,
        absent=[
            "run:epochcost_epoch_cost_usd:mean", "run:epochcost_epochs:executed", "run:epochcost_epochs:useful",
            "run:epochcost_epochs:lost", "run:epochcost_epochs:finished", "run:epochcost_cost_usd:projected",
            'run_phase:epochcost_seconds:sum{phase="startup"}', "run:epochcost_kilostep_cost_usd:mean",
        ],
    ),
    Scenario(
        "one of two machines without a price",
        [Attempt([A, replace(B, prices_own=False)], 0, 200)],
        150,
        absent=[
            "run:epochcost_cost_usd:sum", "sum without (state) (run_state:epochcost_cost_usd:sum)",
            "run:epochcost_epoch_cost_usd:mean", "run:epochcost_waste_ratio:life",
            "run:epochcost_saving_ratio:realised", "run:epochcost_cost_usd:projected",
            "run:epochcost_kilostep_cost_usd:mean",
        ],
    ),
]  # fmt: skip
