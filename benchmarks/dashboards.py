"""How long the dashboards' queries take: 200 simulated nodes of 8 GPUs, a month of recorded dollars, one Prometheus.

    python benchmarks/dashboards.py [--nodes 200] [--minutes 8]

The fleet is that of fleet.py. The dollars by team, experiment and owner of the 28 days before, and runs that ended in
them, are written beforehand, as the rules would have recorded them. Then every query of every dashboard is sent, six at
a time as a browser does: a graph's at 600 points or as many as it asks for, everything else for now, Finance over the
28 days. Printed are the time until a dashboard has all its answers, and the processor time of Prometheus for them.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import resource
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "exporter")]

from benchmarks import fleet  # noqa: E402

from epochcost.demo.history import History, prometheus_command  # noqa: E402
from epochcost.demo.programs import INSTALL, Program, free_port, program  # noqa: E402
from epochcost.demo.rules_for_replay import config_dir, copy_rules  # noqa: E402

BOARDS = fleet.ROOT / "grafana" / "dashboards"
AT_ONCE, POINTS = 6, 600
DAYS, DAY, FIVE_MINUTES, MINUTE = 28, 86_400, 300, 60
REMEMBERED = 26 * 3600
"""How long a day is recorded."""
ENDED_RUNS, REPORTED = 2000, 900
"""Of the month; each is reported for so many seconds after its end."""
TEAMS, EXPERIMENTS, OWNERS, STATES = 6, 40, 20, ("useful", "idle", "startup")


def month(end: float) -> Iterator[str]:
    """The recorded dollars of four weeks, as OpenMetrics text."""
    start = end - DAYS * 86_400
    for experiment in range(EXPERIMENTS):
        labels = f'team="t{experiment % TEAMS}",experiment="e{experiment}",owner="o{experiment % OWNERS}"'
        for state in STATES:
            yield from _steps(
                f'owner_state:epochcost_spent_usd:step{{{labels},state="{state}"', end - 2 * DAY, end, FIVE_MINUTES
            )
            yield from _days(f'owner_state:epochcost_spent_usd:day{{{labels},state="{state}"', start, end)
    for state in STATES:
        yield from _steps(f'cluster_state:epochcost_spent_usd:step{{state="{state}"', start, end, FIVE_MINUTES)
    for name in ("cluster:epochcost_spent_usd:step", "cluster:epochcost_spot_saved_usd:step"):
        yield from _steps(f'{name}{{written="before"', start, end, MINUTE)
    for option in ("spot", "on_demand", "reserved"):
        yield from _steps(f'purchase:epochcost_spent_usd:step{{purchase_option="{option}"', start, end, MINUTE)
    yield from _ended_runs(start, end)


def _days(series: str, start: float, end: float) -> Iterator[str]:
    """Dollars by the day, as far as they had come every five minutes, and while they are forgotten."""
    first = start - start % DAY
    for midnight in range(int(first), int(end), DAY):
        at = datetime.fromtimestamp(midnight, timezone.utc)
        for k in range(REMEMBERED // FIVE_MINUTES):
            t = midnight + (k + 1) * FIVE_MINUTES
            if start < t <= end:
                yield f'{series},month="{at.month}",day="{at.day}"}} {0.1 * min(k, DAY // FIVE_MINUTES)} {t}\n'


def _ended_runs(start: float, end: float) -> Iterator[str]:
    for n in range(ENDED_RUNS):
        state = ("finished", "failed", "lost", "preempted")[n % 4]
        labels = f'run="ended-{n}",state="{state}",team="t{n % TEAMS}",experiment="e{n % EXPERIMENTS}",owner_user="o"'
        first = start + (end - start - REPORTED) * n / ENDED_RUNS
        for k in range(REPORTED // FIVE_MINUTES):
            yield f"run:epochcost_ended_cost_usd:last{{{labels}}} {n % 97}.5 {first + k * FIVE_MINUTES:.0f}\n"


def _steps(series: str, start: float, end: float, every: int) -> Iterator[str]:
    for k in range(int((end - start) / every)):
        t = start + k * every
        at = datetime.fromtimestamp(t - 1, timezone.utc)
        yield f'{series},month="{at.month}",day="{at.day}",hour="{at.hour}"}} 0.1 {t:.0f}\n'


def chosen(url: str) -> dict[str, str]:
    """What a reader would have chosen at the top of the dashboards."""
    (run,) = fleet.ask(url, "topk(1, run:epochcost_owner:info)")
    (machine,) = fleet.ask(url, "topk(1, machine:epochcost_node_info:max)")
    labels = {**machine["metric"], **run["metric"]}
    kind = labels.get("instance_type", "")
    return {
        "run": labels["run"], "machine": machine["metric"]["epochcost_machine"], "here": kind, "instance_type": kind,
        "experiment": labels.get("experiment", ""), "epochs": "25", "__rate_interval": "1m", "__range": "6h",
    }  # fmt: skip


def queries(board: Mapping[str, Any]) -> Iterator[tuple[str, str, int]]:
    """Panel, expression, and at how many points it is asked for: 0 for now alone, ``DAYS`` by days."""
    for panel in board["panels"]:
        points = DAYS if panel.get("interval") == "1d" else panel.get("maxDataPoints", POINTS)
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"], 0 if target["instant"] else points


def timed(url: str, expr: str, points: int, minutes: float) -> float:
    """Seconds until the answer is there."""
    now, began = time.time(), time.monotonic()
    step = 86_400.0 if points == DAYS else max(1.0, minutes * 60 / (points or POINTS))
    where = "query_range" if points else "query"
    end = now - now % step if points == DAYS else now
    span = {"start": end - points * step, "end": end, "step": step} if points else {"time": now}
    body = urllib.parse.urlencode({"query": expr, **span}).encode()
    with urllib.request.urlopen(f"{url}/api/v1/{where}", data=body, timeout=60) as reply:
        assert json.load(reply)["status"] == "success"
    return time.monotonic() - began


def filled(expr: str, variables: Mapping[str, str]) -> str:
    """``expr`` with what was chosen in place of its variables."""
    return re.sub(r"\$\{?([a-z_]\w*)\}?", lambda match: variables.get(match[1], ".*"), expr)


def measure(url: str, pid: int, minutes: float) -> None:
    """One line a dashboard, and its slowest panel."""
    known = chosen(url)
    print(f"\n{'dashboard':<12}{'queries':>8}{'all answered':>14}{'CPU':>9}   slowest panel")
    for path in sorted(BOARDS.glob("*.json")):
        fill = known | ({"experiment": ".*"} if path.stem in ("fleet", "run") else {})
        fill |= {"__range": f"{DAYS}d"} if path.stem == "finance" else {}
        sent = [(title, filled(expr, fill), points) for title, expr, points in queries(json.loads(path.read_text()))]
        cpu, began = fleet.cpu_seconds(pid), time.monotonic()
        with ThreadPoolExecutor(AT_ONCE) as several:
            took = list(several.map(lambda q: (timed(url, q[1], q[2], minutes), q[0]), sent))
        whole, used = time.monotonic() - began, fleet.cpu_seconds(pid) - cpu
        seconds, panel = max(took)
        print(f"{path.stem:<12}{len(sent):>8}{whole:>12.2f} s{used:>7.2f} s   {panel} {seconds:.2f} s", flush=True)


def main() -> int:
    """Exit status 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=200)
    parser.add_argument("--runs", type=int, default=160)
    parser.add_argument("--minutes", type=float, default=8)
    args = parser.parse_args()
    if missing := [name for name in ("prometheus", "promtool") if not program(name)]:
        parser.error(f"{' and '.join(missing)} must be installed: {INSTALL}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        copy_rules(config_dir(), home / "rules", 1e6)
        end = time.time() // 3600 * 3600 - 3600
        History(home / "data", home / "rules", end - DAYS * 86_400, end).write(itertools.chain(month(end)))
        port, own = free_port("127.0.0.1", 0), ("127.0.0.1", free_port("127.0.0.1", 0))
        config = fleet.configuration(home, home / "rules", port, own[1], args.nodes)
        command = [sys.executable, fleet.__file__, f"--serve={port}", f"--nodes={args.nodes}", f"--runs={args.runs}"]
        with (
            subprocess.Popen(command) as generator,
            Program("prometheus", prometheus_command(config, home / "data", own), own, home / "log") as prometheus,
        ):
            try:
                time.sleep(args.minutes * 60)
                measure(prometheus.url, prometheus.pid, args.minutes)
                measure(prometheus.url, prometheus.pid, args.minutes)
            finally:
                generator.terminate()
    return 0


if __name__ == "__main__":
    sys.exit(main())
