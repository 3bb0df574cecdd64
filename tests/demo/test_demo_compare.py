"""Every figure of the dashboard Compare at the end of the demo, against the script.

Experiments: a run over two machines that changed its batch, one that continued elsewhere with another batch, and two
runs one after the other on one machine.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import pytest
from tests.demo.finale import ASKED, NOT_WASTE, NOW, mean, position, reporting_machines, waste_of
from tests.demo.truth import dollars, epoch_marks, price_of, run_cost, state_dollars
from tests.grafana.boards import PanelQuery, queries
from tests.grafana.simulated_prometheus import instant

from epochcost.demo.fleet import FLEET
from epochcost.demo.scenario import Attempt, Machine
from epochcost.model import State

pytestmark = pytest.mark.stack
EXPERIMENTS = {"llm-7b": 2, "char-lm": 2, "tabular": 1}
"""And how many setups each was trained on."""
STEP = 30.0
EPOCHS = 25
"""The board's own choice of a training run's length."""
REPORTED_SECONDS = 900.0
"""How long a run that has ended is still exported."""


@dataclass(frozen=True)
class Sample:
    """The last finished epoch of a run on a setup, at one moment."""

    seconds: float
    usd: float
    fill: float


def reported(machine: Machine, run: str, t: float) -> Attempt | None:
    """The attempt that the machine's agent reports at ``t``."""
    attempts = [a for a in machine.attempts if a.run == run and a.start <= t < a.end + REPORTED_SECONDS]
    return attempts[-1] if attempts and t < machine.gone else None


@cache
def samples(experiment: str) -> dict[tuple[str, str], list[Sample]]:
    """Samples by run and setup, every half minute."""
    by_key: dict[tuple[str, str], list[Sample]] = defaultdict(list)
    for job in (j for j in FLEET.jobs if j.experiment == experiment):
        marks = {m: epoch_marks(m, job.run, NOW) for m in FLEET.machines}
        for k in range(int(NOW / STEP) + 1):
            t = k * STEP
            there = {m: a for m in FLEET.machines if (a := reported(m, job.run, t)) is not None}
            marks_so_far = {m: [(a, b) for a, b in marks[m] if b <= t] for m in there}
            if not there or not all(marks_so_far.values()):
                continue
            a = next(iter(there.values()))
            m = next(iter(there))
            setup = f"{len(there)} x {m.kind.instance_type}, {m.purchase_option.value}, batch {a.batch_size}"
            last = [marks_so_far[m][-1] for m in there]
            usd = sum(dollars(price_of(FLEET, m), *marks_so_far[m][-1]) for m in there)  # type: ignore[arg-type, misc]
            by_key[job.run, setup].append(
                Sample(max(b - a for a, b in last), usd, a.memory_fill if m.kind.gpus else 0.0)
            )
    return by_key


def last_position(run: str) -> float:
    """The position in epochs, as last reported."""
    if reporting_machines(run):
        return position(run)
    last_attempt = [a for m in FLEET.machines for a in m.attempts if a.run == run][-1]
    return last_attempt.position(last_attempt.end)


def wasted(run: str) -> float:
    """The wasted share of its dollars."""
    if reporting_machines(run):
        return waste_of(run)
    of_each = [state_dollars(FLEET, m, NOW, run=run) for m in FLEET.machines if any(a.run == run for a in m.attempts)]
    usd = {s: sum(each[s] for each in of_each) for s in State}
    return 1 - sum(usd[s] for s in NOT_WASTE) / sum(usd.values())


def by_setup(experiment: str, of: Callable[[Sample], float]) -> dict[str, float]:
    """Mean over the runs of their medians."""
    medians: dict[str, list[float]] = defaultdict(list)
    for (_, setup), window in samples(experiment).items():
        medians[setup].append(statistics.median(of(s) for s in window))
    return {setup: mean(values) for setup, values in medians.items()}


def by_part(experiment: str, of: Callable[[str, list[Sample]], float]) -> dict[str, float]:
    return {f"simulated {run} {setup}": of(run, window) for (run, setup), window in samples(experiment).items()}


def frontier(seconds: dict[str, float], usd: dict[str, float]) -> set[str]:
    """Setups for which none is both cheaper and faster."""
    return {s for s in usd if not any(usd[o] < usd[s] and seconds[o] <= seconds[s] for o in usd)}


@cache
def truth(experiment: str) -> dict[str, float | tuple[str, dict[str, float]]]:
    seconds = by_setup(experiment, lambda s: s.seconds)
    usd = by_setup(experiment, lambda s: s.usd)
    fill = {s: v for s, v in by_setup(experiment, lambda s: s.fill).items() if v}
    cheapest, fastest = min(usd, key=usd.__getitem__), min(seconds, key=seconds.__getitem__)
    best = frontier(seconds, usd)
    rate = {s: 3600 * usd[s] / seconds[s] for s in usd}
    hours = "compare/Cost per hour against time to train"
    table = "compare/Cost of training by machine"
    runs = "compare/Runs behind these figures"
    return {
        "compare/Cheapest epoch/A": ("setup", {cheapest: usd[cheapest]}),
        "compare/Fastest epoch/A": ("setup", {fastest: seconds[fastest]}),
        "compare/Spread/A": max(usd.values()) / min(usd.values()),
        "compare/Measured/A": float(len(seconds)),
        "compare/Measured/B": float(len({run for run, _ in samples(experiment)})),
        "compare/Cost per epoch/A": ("setup", seconds),
        "compare/Cost per epoch/B": ("setup", usd),
        "compare/Cost per epoch/C": ("setup", {s: usd[s] for s in best}),
        f"{hours}/A": ("setup", {s: EPOCHS * v for s, v in seconds.items()}),
        f"{hours}/B": ("setup", rate),
        f"{hours}/C": ("setup", {s: rate[s] for s in frontier(seconds, rate)}),
        f"{table}/A": ("setup", seconds),
        f"{table}/B": ("setup", rate),
        f"{table}/C": ("setup", usd),
        f"{table}/D": ("setup", {s: v / min(usd.values()) for s, v in usd.items()}),
        f"{table}/F": ("setup", dict.fromkeys(best, 1.0)),
        f"{table}/G": ("setup", {s: EPOCHS * v for s, v in seconds.items()}),
        f"{table}/H": ("setup", {s: EPOCHS * v for s, v in usd.items()}),
        "compare/Memory fill/A": ("setup", fill),
        f"{runs}/A": ("row", by_part(experiment, lambda _, window: statistics.median(s.seconds for s in window))),
        f"{runs}/B": ("row", by_part(experiment, lambda run, _: last_position(run))),
        f"{runs}/C": ("row", by_part(experiment, lambda _, window: statistics.median(s.usd for s in window))),
        f"{runs}/D": ("row", by_part(experiment, lambda run, _: run_cost(FLEET, run, NOW) / last_position(run))),
        f"{runs}/E": ("row", by_part(experiment, lambda run, _: run_cost(FLEET, run, NOW))),
        f"{runs}/F": ("row", by_part(experiment, lambda run, _: wasted(run))),
    }


ELSEWHERE = (
    "compare/Cost of training by machine/I",
    "compare/Cost of a million samples",
    "compare/Time per step",
    "compare/Best of every experiment",
)
"""Held by prometheus/rules/tests/energy.yml and tests/grafana."""
ALL = [q for q in queries() if q.board == "compare" and not str(q).startswith(ELSEWHERE)]


@pytest.mark.parametrize("experiment", EXPERIMENTS)
@pytest.mark.parametrize("query", ALL, ids=str)
def test_the_figure_matches_the_script(demo_history, query: PanelQuery, experiment: str):
    expected = truth(experiment)[str(query)]
    results = instant(demo_history.url, query.filled(experiment=experiment), demo_history.epoch_ts + ASKED)
    if isinstance(expected, float):
        (result,) = results
        assert float(result["value"][1]) == pytest.approx(expected, rel=0.01)
        return
    label, of_each = expected
    figures = {r["metric"][label]: float(r["value"][1]) for r in results}
    assert len(figures) == len(results)
    assert figures == pytest.approx(of_each, rel=0.01)


def test_the_played_experiments_cover_the_cases_of_compare():
    assert {name: len(by_setup(name, lambda s: s.seconds)) for name in EXPERIMENTS} == EXPERIMENTS
    assert any(truth(experiment)[f"compare/Cost per epoch/{ref}"][1] for experiment in EXPERIMENTS for ref in "BC")  # type: ignore[index]
    assert len({run for run, _ in samples("tabular")}) == 2
