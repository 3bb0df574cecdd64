"""However a training run is spread over machines, attempts and processes: every reader shows the same cost.

Real training runs by the real library, read by real agents; their scrapes in a real Prometheus with the project's
rules; and of one instant the page, the cost file, the library, the rules, the dashboard, the alert and the report.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.agree.attempts import Attempt, run_all
from tests.agree.played import PlayedMachine, StoreAsOf, by_name, play
from tests.agree.truth import Truth, truth_of
from tests.grafana.boards import queries
from tests.grafana.simulated_prometheus import instant

import epochcost
from epochcost.demo.history import History, prometheus_command
from epochcost.demo.programs import Program, free_port
from epochcost.demo.rules_for_replay import config_dir, copy_rules, every_rule
from epochcost.reports.report import Report, make
from epochcost.reports.report_settings import ReportSettings
from epochcost.reports.span import span
from epochcost.store.store_access import connect

pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(not shutil.which("promtool"), reason="no Prometheus on this machine"),
]
START_TS = 1_700_000_010.0
LOOK = 50.0
"""Minutes: every training run has ended, and every agent but those that are gone still shows its end."""
BUDGET_USD = 6.0
RULES = ("thresholds", "price", "run", "cost", "waste", "budget")
CENT = 0.005


def run_environ(run: str) -> dict[str, str]:
    return {"EPOCHCOST_RUN": run}


def rank(run: str, number: int, world: int) -> dict[str, str]:
    ranks = {"RANK": str(number), "LOCAL_RANK": "0", "WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": "1"}
    return {**run_environ(run), **ranks, "TORCHELASTIC_RESTART_COUNT": "0"}


def slurm(job: str, restarts: int = 0) -> dict[str, str]:
    return {"SLURM_JOB_ID": job, "SLURM_RESTART_COUNT": str(restarts), "SLURM_NTASKS": "1"}


SITUATIONS: Mapping[str, list[Attempt]] = {
    "one machine": [Attempt("one-a", 5, 45, env=run_environ("one"))],
    "two at once": [Attempt(f"two-{m}", 5, 45, env=rank("two", n, 2)) for n, m in enumerate("ab")],
    "moved, the old one still reports": [
        Attempt("moved-a", 18, 36.5, last=2.5, env=run_environ("moved")),
        Attempt("moved-b", 38, 47, first=2, env=run_environ("moved")),
    ],
    "moved after its end was forgotten": [
        Attempt("later-a", 1, 12, last=2.5, env=run_environ("later")),
        Attempt("later-b", 31, 46, first=2, env=run_environ("later")),
    ],
    "moved twice": [
        Attempt("twice-a", 1, 12, last=1.75, env=run_environ("twice")),
        Attempt("twice-b", 15, 27, first=1, last=3.25, env=run_environ("twice")),
        Attempt("twice-c", 31, 46, first=3, planned=5, env=run_environ("twice")),
    ],
    "restarted on the same machine": [
        Attempt("again-a", 5, 20, last=2.5, env=run_environ("again")),
        Attempt("again-a", 22, 46, first=1, env=run_environ("again")),
    ],
    "one machine joins late": [
        Attempt("late-a", 5, 46, env=rank("late", 0, 2)),
        Attempt("late-b", 19, 46, first=1, env=rank("late", 1, 2)),
    ],
    "elastic restart with fewer machines": [
        Attempt("elastic-a", 5, 20, last=2.25, env=rank("elastic", 0, 2)),
        Attempt("elastic-b", 5, 20, last=2.25, env=rank("elastic", 1, 2)),
        Attempt("elastic-b", 23, 46, first=2, env=rank("elastic", 0, 1)),
    ],
    "rank 0 goes to another machine and comes back": [
        *(Attempt(f"back-{m}", 1, 12, last=1.75, planned=5, env=rank("back", n, 3)) for n, m in enumerate("abc")),
        *(Attempt(f"back-{m}", 14, 27, 1, 3.25, 5, env=rank("back", n, 3)) for n, m in enumerate("bac")),
        *(Attempt(f"back-{m}", 29, 46, first=3, planned=5, env=rank("back", n, 3)) for n, m in enumerate("acb")),
    ],
    "grows and shrinks within an epoch": [
        Attempt("within-a", 5, 10, last=0.5, env=rank("within", 0, 1)),
        Attempt("within-a", 11, 16, last=0.75, env=rank("within", 0, 2)),
        Attempt("within-b", 11, 16, last=0.75, env=rank("within", 1, 2)),
        Attempt("within-a", 17, 46, env=rank("within", 0, 1)),
    ],
    "five trials in one process": [Attempt("process-a", 37, 47, planned=2, trials=5, env=slurm("900"))],
    "five processes of one job": [
        Attempt("job-a", 36 + 2 * i, 37.5 + 2 * i, planned=2, env=slurm("901")) for i in range(5)
    ],
    "five processes side by side": [Attempt("side-a", 36, 47, planned=2, beside=5, env=slurm("902"))],
    "requeued": [
        Attempt("requeued-a", 8, 20, last=2, planned=3, env=slurm("903")),
        Attempt("requeued-a", 23, 46, planned=3, env=slurm("903", 1)),
    ],
}
PRICES = {m: 6.0 + 3 * (i % 4) for i, m in enumerate(sorted({a.machine for s in SITUATIONS.values() for a in s}))}
GONE = {"twice-a": 12.0, "twice-b": 27.0, "elastic-a": 20.0}
"""Minutes at which a machine is taken away; its attempt has ended by then."""


@dataclass
class Situations:
    """All situations at once, and all readers."""

    truth: Mapping[str, Truth]
    runs: Mapping[str, list[str]]
    """Runs by situation."""
    machines: Mapping[str, PlayedMachine]
    url: str
    report: Report

    def queried(self, expr: str) -> list[dict[str, Any]]:
        return instant(self.url, expr, START_TS + 60 * LOOK)

    def by_run(self, expr: str) -> dict[str, float]:
        return by_name(self.queried(expr), "run")

    def showing(self, run: str) -> list[PlayedMachine]:
        """The machines whose agents are up and export the run."""
        return [m for name, m in self.machines.items() if name not in GONE and m.shows(run)]


@pytest.fixture(scope="module")
def situations(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Situations]:
    home = tmp_path_factory.mktemp("agree")
    attempts = [attempt for some in SITUATIONS.values() for attempt in some]
    lines_by_run = run_all(attempts, home / "trained", BUDGET_USD)
    truth = truth_of(lines_by_run, PRICES)
    runs = {name: runs_of(some, lines_by_run) for name, some in SITUATIONS.items()}
    forward = StoreAsOf(START_TS + 60 * LOOK)
    machines = {
        name: PlayedMachine(
            name, home / "machines" / name, PRICES[name], START_TS, list(lines), 60 * GONE.get(name, LOOK),
            forward.url,
        )
        for name, lines in lines_by_run.items()
    }  # fmt: skip
    history = store_of(home, machines)
    address = ("127.0.0.1", free_port("127.0.0.1", 0))
    command = prometheus_command(home / "past.yml", history.data, address)
    (home / "past.yml").write_text("global: {}\n")
    with Program("prometheus", command, address, home / "log") as store, forward.of(store.url):
        for machine in machines.values():
            machine.agent.app.sampling_loop.tick()
            assert machine.agent.app.store is not None
            assert machine.agent.app.store.ask(), machine.agent.app.store.error
            machine.agent.run(6.0, every=6.0)  # the cost files are written at intervals
        yield Situations(truth, runs, machines, store.url, reported(store.url))
        for machine in machines.values():
            machine.agent.close()


def runs_of(attempts: list[Attempt], lines_by_run: Mapping[str, list[Any]]) -> list[str]:
    machines = {attempt.machine for attempt in attempts}
    return sorted({line["run"] for machine in machines for _, _, line in lines_by_run[machine]})


def store_of(home: Path, machines: Mapping[str, PlayedMachine]) -> History:
    """A Prometheus history of all machines, the rules' series included."""
    copy_rules(config_dir(), home / "rules", 1000.0)
    for path in (home / "rules").glob("*.yml"):
        if path.stem.removeprefix("epochcost-") not in RULES and "alerts" not in path.stem:
            path.unlink()
    history = History(home / "data", home / "rules", START_TS, START_TS + 60 * LOOK)
    history.write(play(list(machines.values()), 60 * LOOK))
    history.record()
    return history


def reported(url: str) -> Report:
    settings = ReportSettings(prometheus_url=url)
    end = START_TS + 60 * LOOK
    return make(connect(settings), settings, span(str(START_TS), str(end), end), end, lambda *_: None)


@pytest.fixture(params=list(SITUATIONS))
def situation(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_each_training_of_a_situation_is_a_run(situations: Situations, situation: str) -> None:
    assert len(situations.runs[situation]) == (5 if situation.startswith("five") else 1)


def test_all_readers_show_the_same_dollars(situations: Situations, situation: str) -> None:
    rules = situations.by_run("run:epochcost_cost_usd:sum")
    states = situations.by_run("sum by (run) (run_state:epochcost_cost_usd:sum)")
    tile = next(q for q in queries() if (q.board, q.panel, q.ref) == ("run", "Cost so far", "A"))
    budget = situations.by_run("run:epochcost_budget_ratio:spent")
    for run in situations.runs[situation]:
        usd = pytest.approx(situations.truth[run].usd, abs=CENT)
        row = next(row for row in situations.report.runs if row.label == run)
        (panel,) = situations.queried(tile.filled(run=run, cluster=".*"))
        assert rules[run] == usd
        assert states[run] == pytest.approx(rules[run], rel=1e-9)
        assert float(panel["value"][1]) == usd
        assert budget[run] * BUDGET_USD == usd
        assert row.usd == usd
        assert sum(row.dollars.values()) == usd
        for machine in situations.showing(run):
            assert (machine.live(run)["cost_usd"], machine.live(run)["part"]) == (usd, ""), machine.live(run)["missing"]


def test_all_readers_show_the_same_epochs_and_cost_per_epoch(situations: Situations, situation: str) -> None:
    figures = {
        name: situations.by_run(f"run:epochcost_{name}")
        for name in ("epoch_cost_usd:mean", "epochs:finished", "epochs:executed", "epochs:useful", "epochs:lost")
    }
    for run in situations.runs[situation]:
        truth = situations.truth[run]
        row = next(row for row in situations.report.runs if row.label == run)
        mean = pytest.approx(truth.mean, abs=CENT)
        assert figures["epoch_cost_usd:mean"][run] == mean
        assert row.usd_per_epoch == mean
        assert (figures["epochs:finished"][run], row.epochs) == (truth.finished, truth.finished)
        assert figures["epoch_cost_usd:mean"][run] * truth.finished == pytest.approx(truth.epochs_usd, abs=CENT)
        assert (figures["epochs:executed"][run], row.epochs_executed) == pytest.approx((truth.executed,) * 2)
        assert (figures["epochs:useful"][run], row.useful_epochs) == pytest.approx((truth.useful,) * 2)
        assert figures["epochs:lost"][run] == pytest.approx(truth.executed - truth.useful, abs=1e-9)
        assert truth.executed >= truth.useful
        for machine in situations.showing(run):
            assert machine.live(run)["mean_epoch_cost_usd"] == mean


def test_the_library_reads_the_entire_run_and_checks_its_budget(
    situations: Situations, situation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for run in situations.runs[situation]:
        for machine in situations.showing(run):
            monkeypatch.setenv("EPOCHCOST_DIR", str(machine.agent.machine.events))
            training = epochcost.run(id=run, budget_usd=BUDGET_USD)  # not started: it reports nothing
            usd = situations.truth[run].usd
            assert training.cost_usd == pytest.approx(usd, abs=CENT)
            assert training.part is None
            assert training.over_budget is (usd >= BUDGET_USD)
            assert training.cost_per_epoch_usd == pytest.approx(situations.truth[run].mean, abs=CENT)


def test_the_budget_alert_fires_only_for_runs_over_their_budget(situations: Situations) -> None:
    """Each at its own last minute of training: an ended run fires no alert."""
    rule = next(r for r in every_rule(config_dir() / "rules", "alert") if r["alert"] == "EpochcostRunOverBudget"
                and "spent" in r["expr"])  # fmt: skip
    ends = {a.env.get("EPOCHCOST_RUN"): 0.0 for s in SITUATIONS.values() for a in s}
    for some in SITUATIONS.values():
        for a in some:
            run = a.env.get("EPOCHCOST_RUN")
            ends[run] = max(ends[run], a.end)
    for run, end in ends.items():
        if run is None:
            continue
        alerts = by_name(instant(situations.url, rule["expr"], START_TS + 60 * end - 1), "run")
        assert (run in alerts) is (situations.truth[run].usd > BUDGET_USD), run
