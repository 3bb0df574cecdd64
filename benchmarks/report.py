"""What ``epochcost report`` takes: a simulated fleet in a real Prometheus, asked for its whole past.

python benchmarks/report.py --nodes 60 --hours 12
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "exporter")]

from tests.grafana.scenarios import G5  # noqa: E402
from tests.grafana.simulated_fleet import HOUR, SimulatedFleet, SimulatedRun, Stretch  # noqa: E402
from tests.grafana.simulated_prometheus import prometheus  # noqa: E402
from tests.report.stored import past, write  # noqa: E402

from epochcost.model import State  # noqa: E402
from epochcost.reports.report import make  # noqa: E402
from epochcost.reports.report_page import page  # noqa: E402
from epochcost.reports.report_settings import ReportSettings  # noqa: E402
from epochcost.reports.span import span  # noqa: E402
from epochcost.store.store_access import connect  # noqa: E402


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


def main() -> None:
    """Print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=60)
    parser.add_argument("--hours", type=float, default=12)
    given = parser.parse_args()
    simulated = fleet(given.nodes, given.hours * HOUR)
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / "data", past(simulated, given.hours * HOUR), simulated.epoch_ts)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with prometheus(Path(folder) / "data") as url:
            settings = ReportSettings(prometheus_url=url)
            store = connect(settings)
            whole = span(str(simulated.epoch_ts), str(simulated.epoch_ts + given.hours * HOUR), time.time())
            began, cpu = time.perf_counter(), time.process_time()
            report = make(store, settings, whole, time.time(), lambda *_: None)
            made_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu
        html = page(report)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{given.nodes} simulated nodes and runs over {given.hours:g} h in {whole.steps} windows")
    print(
        f"{store.questions} questions, {made_s:.2f} s, of which {cpu_s:.2f} s CPU here; page {len(html) / 1024:.0f} KiB"
    )
    print(f"peak memory {after / 1024:.0f} MiB ({before / 1024:.0f} MiB before)")


if __name__ == "__main__":
    main()
