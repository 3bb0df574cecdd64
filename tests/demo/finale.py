"""Expected figures at the end of the demo, from its script, for tests of the dashboards.

Figures of the last offer_key minutes are the script's over the same offer_key minutes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from tests.demo.truth import (
    busy_seconds,
    cost,
    dollars,
    epoch_marks,
    price_of,
    run_cost,
    state_dollars,
    state_seconds,
)

from epochcost.demo.fleet import FLEET
from epochcost.demo.market import REFRESH_SECONDS
from epochcost.demo.scenario import HOUR, Machine, Offer
from epochcost.demo.simulated_agent import machine_name
from epochcost.model import PurchaseOption, State

NOW = 21_570.0
ASKED = 21_599.9
"""Just before the scrape after ``NOW``: the last evaluation, and all that it reads, saw the scrape of ``NOW``."""
SETTLED = NOW - NOW % REFRESH_SECONDS
WINDOW = 300.0
RUN, NODE, TYPE, EXPERIMENT = "llm-7b-4417", "sim-a100-01", "p4d.24xlarge", "tabular"
CHOSEN = {"run": RUN, "machine": machine_name(NODE), "instance_type": TYPE, "here": TYPE, "experiment": EXPERIMENT}
HERE = [m for m in FLEET.machines if m.gone > NOW]
PRICED = [m for m in HERE if price_of(FLEET, m) is not None]
WITH_GPUS = [m for m in HERE if m.kind.gpus]
OPEN = {m.name: m.attempt_at(NOW - 1).run for m in HERE if m.attempt_at(NOW - 1) is not None}
RUNS = sorted(set(OPEN.values()))
MINE = [m for m in HERE if OPEN.get(m.name) == RUN]
JOB = FLEET.job(RUN)
NOT_WASTE = {State.USEFUL, State.UNATTRIBUTED, State.UNKNOWN}
CLUSTERS = {m.cluster for m in FLEET.machines}
BUDGET = FLEET.budget_usd_per_month * len(CLUSTERS)
CLUSTER_OF = {name: m.cluster for m in FLEET.machines for name in (m.name, *(a.run for a in m.attempts))}
"""By the name of a machine or of a run."""
A100 = next(m for m in HERE if m.name == NODE)


def price(m: Machine) -> float:
    offer = price_of(FLEET, m)
    assert offer is not None
    return offer.price.at(NOW)  # type: ignore[return-value]


def shares(m: Machine) -> dict[State, float]:
    """How a machine's last offer_key minutes are split over states."""
    before, now = state_seconds(m, NOW - WINDOW), state_seconds(m, NOW)
    return {s: (now[s] - before[s]) / WINDOW for s in State}


def wasted(m: Machine) -> float:
    return price(m) * sum(share for s, share in shares(m).items() if s not in NOT_WASTE)


def by_state() -> dict[str, float]:
    spend = {s.value: sum(price(m) * shares(m)[s] for m in PRICED) for s in State}
    return {s: usd for s, usd in spend.items() if usd > 1e-9 or s in ("useful", "idle")}


def load(m: Machine, gpu: int) -> float:
    return busy_seconds(m, gpu, NOW - WINDOW, NOW) / WINDOW


def busy(m: Machine) -> float:
    """Load of its GPUs over the window; for CPUs there is only the newest reading."""
    return mean([load(m, g) for g in range(m.kind.gpus)]) if m.kind.gpus else m.load(0, NOW - 1)


def mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)


def cpu(m: Machine) -> float:
    return m.cpu(NOW - 1) if m.kind.gpus else m.load(0, NOW - 1)


def reporting_machines(run: str) -> list[Machine]:
    """The machines that report a run now."""
    return [m for m in HERE if any(a.run == run and a.start <= NOW < a.end + 900 for a in m.attempts)]


def parts(run: str) -> list[Machine]:
    """The machines that a run is or was on, including those that have ended."""
    return [m for m in FLEET.machines if any(a.run == run and a.start <= NOW for a in m.attempts)]


def epochs_usd(run: str) -> list[float]:
    """Dollars of each finished epoch of a run, on every machine that trained it: at once, or one after the other."""
    of_each = [[dollars(price_of(FLEET, m), a, b) for a, b in epoch_marks(m, run, NOW)] for m in parts(run)]  # type: ignore[arg-type]
    if FLEET.job(run).nodes > 1:
        return [math.fsum(one) for one in zip(*of_each, strict=True)]
    return [usd for one in of_each for usd in one]


def epochs_seconds(run: str) -> list[float]:
    """How long each finished epoch of a run took, counted once."""
    count = parts(run)[:1] if FLEET.job(run).nodes > 1 else parts(run)
    return [b - a for m in count for a, b in epoch_marks(m, run, NOW)]


def position(run: str) -> float:
    """The position as last reported: every 15 s."""
    m = reporting_machines(run)[0]
    a = [a for a in m.attempts if a.run == run][-1]
    at = min(NOW, a.hangs_at)
    return a.position(a.first_step + (at - a.first_step) // 15 * 15) if at == NOW else a.position(at)


def projected(run: str) -> float:
    return run_cost(FLEET, run, NOW) + (FLEET.job(run).epochs - position(run)) * mean(epochs_usd(run))


def run_states(run: str) -> dict[str, float]:
    """Dollars by state: settled ones, up to the last confirmed price, and provisional ones."""
    totals = [state_dollars(FLEET, m, min(SETTLED if m.priced else NOW, m.gone), run=run) for m in parts(run)]
    settled = {s.value: sum(t[s] for t in totals) for s in State}
    return {**settled, "unsettled": run_cost(FLEET, run, NOW) - sum(settled.values())}


def waste_of(run: str) -> float:
    usd = run_states(run)
    return sum(v for s, v in usd.items() if s != "unsettled" and State(s) not in NOT_WASTE) / sum(usd.values())


def executed(m: Machine, run: str) -> float:
    return sum(min(position(run), a.position(a.end - 15)) - a.from_epoch for a in m.attempts if a.run == run)


def epochs_done() -> float:
    """Executed epochs of the run, as far as reported: a crash takes up to 15 s of reports with it."""
    one, two = A100.attempts
    return one.position(one.end - 15) + position(RUN) - two.from_epoch


def offers() -> list[Offer]:
    return [o for o in FLEET.offers if o.price.at(NOW) is not None]


def location(*parts: str) -> str:
    return ", ".join(parts)


def kind(o: Offer):
    kinds = [k for k in FLEET.kinds if (k.provider, k.instance_type) == (o.provider, o.instance_type)]
    return kinds[0] if kinds else None


def on_demand(o: Offer) -> float | None:
    same = [x for x in offers() if (x.provider, x.region, x.instance_type) == (o.provider, o.region, o.instance_type)]
    return next((x.price.at(NOW) for x in same if x.purchase_option is PurchaseOption.ON_DEMAND), None)


SPOT = [o for o in offers() if o.purchase_option is PurchaseOption.SPOT]
SAVING = {o: 1 - o.price.at(NOW) / on_demand(o) for o in SPOT if on_demand(o)}


def would_save(spot: Offer) -> float:
    """Hourly savings of the on-demand machines of its type and region at that offer."""
    of_type = (spot.provider, spot.region, spot.instance_type)
    on_demand_there = [
        m
        for m in PRICED
        if (m.kind.provider, m.region, m.kind.instance_type) == of_type
        and m.purchase_option is PurchaseOption.ON_DEMAND
    ]
    there = spot.price.at(NOW)
    assert there is not None
    return max(0.0, sum(price(m) - there for m in on_demand_there))


P4D = [o for o in offers() if o.instance_type == TYPE]
P4D_GPU = A100.kind.gpu_model
PER_GPU = {o: o.price.at(NOW) / kind(o).gpus for o in offers() if kind(o) is not None and kind(o).gpus}


def offer_key(o: Offer) -> str:
    return location(o.provider, o.region, o.zone, o.instance_type, o.purchase_option.value)


def cheapest_by_model() -> dict[str, float]:
    best: dict[str, float] = {}
    for o, usd in PER_GPU.items():
        key = location(
            kind(o).gpu_model, *dict.fromkeys((o.provider, o.purchase_option.value))
        )  # "owned" is both, once
        best[key] = min(usd, best.get(key, math.inf))
    return dict(sorted(best.items(), key=lambda pair: pair[1])[:10])


def age(o: Offer) -> float:
    return ASKED - (NOW - NOW % REFRESH_SECONDS if o.dated is None else o.dated)


def oldest(source: str) -> float:
    return max(age(o) for o in offers() if o.source == source)


def fills() -> list[float]:
    """Memory fill of each GPU."""
    return [m.memory_fill(NOW - 1) for m in WITH_GPUS for _ in range(m.kind.gpus)]


def spend_of(run: str) -> float:
    return sum(price(m) for m in HERE if OPEN.get(m.name) == run)


def paid_usd(m: Machine) -> float:
    """Dollars of the run on a machine."""
    return sum(state_dollars(FLEET, m, NOW, run=RUN).values())


def owner_of(m: Machine, label: str) -> str:
    """The current owner of a machine's dollars."""
    run = OPEN.get(m.name)
    user = m.stranger_at(NOW - 1)
    if label == "team":
        return (FLEET.job(run).team if run else "") or m.team or "no team"
    if label == "experiment":
        return FLEET.job(run).experiment if run else "no run, or no experiment"
    return (FLEET.job(run).user if run else user.user if user else "") or "no owner known"


def top_six(label: str, of: Callable[[Machine], float]) -> dict[str, float]:
    """The six largest."""
    sums: dict[str, float] = {}
    for m in PRICED:
        sums[owner_of(m, label)] = sums.get(owner_of(m, label), 0.0) + of(m)
    return dict(sorted(((k, usd) for k, usd in sums.items() if usd > 1e-9), key=lambda pair: -pair[1])[:6])


def last_to_usual(run: str) -> float:
    """The newest epoch against the mean of those before it."""
    *before, last = epochs_usd(run)
    return last / mean(before)


def month_by_option() -> dict[str, float]:
    """Dollars of the full hours by purchase option."""
    until = NOW - NOW % HOUR
    sums: dict[str, float] = {}
    for m in FLEET.machines:
        if price_of(FLEET, m) and m.purchase_option is not None:
            usd = cost(FLEET, m, until)
            sums[m.purchase_option.value] = sums.get(m.purchase_option.value, 0.0) + usd
    return sums


def in_use(o: Offer) -> float:
    """How many machines there are of a type in a region, of any purchase option."""
    of_type = (o.provider, o.region, o.instance_type)
    return float(sum((m.kind.provider, m.region, m.kind.instance_type) == of_type for m in HERE))


def fleet_usd(t: float, cluster: str = "") -> float:
    machines = [m for m in FLEET.machines if cluster in ("", m.cluster)]
    return sum(cost(FLEET, m, t) for m in machines if price_of(FLEET, m) and t > m.agent_starts)


def burn() -> float:
    """Burn rate of the fastest cluster."""
    hour = [fleet_usd(NOW, name) - fleet_usd(NOW - HOUR, name) for name in CLUSTERS]
    return max(hour) / (FLEET.budget_usd_per_month / 720)


def in_whole_hours() -> float:
    """Dollars up to the last full hour."""
    return fleet_usd(NOW - NOW % HOUR)


def by_the_end() -> float:
    """The forecast at the mean of the full hours played."""
    return in_whole_hours() + in_whole_hours() / (NOW // HOUR) * HOURS_LEFT


HOURS_LEFT = 24 * (30 - 15 + 1) - 3
"""Of November 2023, at the end of the demo: on the 15th at 3:59 h UTC."""


def by_machine(of_each: Callable[[], Mapping[str, float]]) -> tuple[str, Callable[[], dict[str, float]]]:
    """The label by which a table joins its rows, and figures keyed by it instead of by node name."""
    return "row", lambda: {f"{CLUSTER_OF[name]}/{machine_name(name)}": value for name, value in of_each().items()}


def by_run(of_each: Callable[[], Mapping[str, float]]) -> tuple[str, Callable[[], dict[str, float]]]:
    """The same for names of runs."""
    return "row", lambda: {f"{CLUSTER_OF[run]}/{run}": value for run, value in of_each().items()}


BREAK_EVEN = "market/Break-even speed-up against the machine in use"
SOURCES = sorted({o.source for o in FLEET.offers})
PAID_BOTH = [m for m in PRICED if price_of(FLEET, m, PurchaseOption.ON_DEMAND) is not None]
LISTED = {m.name: price_of(FLEET, m, PurchaseOption.ON_DEMAND).price.at(NOW) for m in PAID_BOTH}
KNOWN_RUNS = [run for run in RUNS if all(price_of(FLEET, m) is not None for m in parts(run))]
