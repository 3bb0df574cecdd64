"""What ``epochcost report`` takes: a simulated fleet in a real Prometheus, queried for its whole past.

python benchmarks/report.py --nodes 60 --hours 12
python benchmarks/report.py --nodes 300 --trials 100
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "exporter")]

from tests.grafana.scenarios import G5  # noqa: E402
from tests.grafana.simulated_fleet import HOUR, SimulatedFleet, SimulatedRun, Stretch  # noqa: E402
from tests.grafana.simulated_prometheus import prometheus  # noqa: E402
from tests.report.stored import Sample, past, write  # noqa: E402

from epochcost.demo.programs import INSTALL, program  # noqa: E402
from epochcost.model import State  # noqa: E402
from epochcost.reports.app import Progress  # noqa: E402
from epochcost.reports.report import make  # noqa: E402
from epochcost.reports.report_page import page  # noqa: E402
from epochcost.reports.report_settings import ReportSettings  # noqa: E402
from epochcost.reports.several_stores import connect_all  # noqa: E402
from epochcost.reports.span import span  # noqa: E402


def fleet(nodes: int, length: float) -> SimulatedFleet:
    """So many nodes with one GPU and one run each, and the price poller."""
    made, runs = [], []
    for n in range(nodes):
        life = (
            Stretch(0, 600, State.STARTUP, f"run-{n}"),
            Stretch(600, length, State.USEFUL, f"run-{n}", 0.8, 0, 6, 32),
        )
        made.append(replace(G5, node=f"sim-{n}", stretches=life))
        runs.append(SimulatedRun(f"run-{n}", f"experiment-{n % 10}", 1000, 10_000))
    return SimulatedFleet(tuple(made), tuple(runs))


TRIAL_SECONDS, SCRAPED = 1200.0, (300.0, 600.0, 900.0, 1200.0)


def trials(nodes: int, each: int, epoch_ts: float) -> Iterator[Sample]:
    """So many nodes with one short run after the other, scraped every five minutes: one run's samples, moved on."""
    life = (Stretch(0, 60, State.STARTUP, "RUN"), Stretch(60, TRIAL_SECONDS, State.USEFUL, "RUN", 0.8, 0, 6, 32))
    one = SimulatedFleet((replace(G5, node="NODE", stretches=life),), (SimulatedRun("RUN", "sweep", 1000, 10_000),))
    scrapes = [(t, name, labels, value) for t in SCRAPED for name, labels, value in one.samples(t - 1)]
    for n, k in ((n, k) for n in range(nodes) for k in range(each)):
        names = {"NODE": f"sim-{n}", "RUN": f"trial-{n}-{k}"}
        for t, name, labels, value in scrapes:
            of_run = name.startswith("epochcost_run_")
            if not of_run and (
                (k and name != "epochcost_node_info") or (n and "NODE" not in labels.get("instance", ""))
            ):
                continue
            moved = value - one.epoch_ts + epoch_ts + k * TRIAL_SECONDS if "timestamp" in name else value
            named = {label: _renamed(text, names) for label, text in labels.items()}
            yield t + k * TRIAL_SECONDS, name, named, float(moved)


def _renamed(text: str, names: Mapping[str, str]) -> str:
    for name, by in names.items():
        text = text.replace(name, by)
    return text


def main() -> int:
    """Print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=60)
    parser.add_argument("--hours", type=float, default=12)
    parser.add_argument("--trials", type=int, default=0, help="runs a node, 20 minutes each, instead of one for hours")
    parser.add_argument("--runs", default="", help="only these, a regular expression")
    args = parser.parse_args()
    if missing := [name for name in ("prometheus", "promtool") if not program(name)]:
        parser.error(f"{' and '.join(missing)} must be installed: {INSTALL}")
    simulated = fleet(args.nodes, args.hours * HOUR)
    length = args.trials * TRIAL_SECONDS or args.hours * HOUR
    samples = trials(args.nodes, args.trials, simulated.epoch_ts) if args.trials else past(simulated, length)
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / "data", samples, simulated.epoch_ts)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with prometheus(Path(folder) / "data") as url:
            settings = ReportSettings(prometheus_url=url, run=args.runs)
            store = connect_all(settings)
            whole = span(str(simulated.epoch_ts), str(simulated.epoch_ts + length), time.time())
            began, cpu = time.perf_counter(), time.process_time()
            report = make(store, settings, whole, time.time(), Progress(sys.stderr))
            made_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu
        began_cpu = time.process_time()
        html = page(report)
        page_cpu_s = time.process_time() - began_cpu
    runs = args.nodes * (args.trials or 1)
    most = min(runs, settings.most_runs)
    assert args.runs or len(report.runs) == most, f"{len(report.runs)} of {most} runs were reported"
    assert all(row.usd for row in report.runs), "a run without dollars"
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{args.nodes} simulated nodes, {len(report.runs):,} runs over {length / HOUR:g} h, {whole.steps} windows")
    print(f"{store.questions} requests, {made_s:.2f} s, of which {cpu_s:.2f} s CPU here")
    print(f"page {len(html) / 1024:,.0f} KiB in {page_cpu_s:.2f} s CPU")
    print(f"peak memory {after / 1024:.0f} MiB ({before / 1024:.0f} MiB before)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
