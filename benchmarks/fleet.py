"""What rules and alerts cost on a fleet: 1,250 simulated nodes of 8 GPUs, 1,000 runs, one real Prometheus.

    python benchmarks/fleet.py [--nodes 1250] [--minutes 10] [--warm 6] [--history-minutes 60] [--keep DIR]

The text of one real agent (the demo's, with 8 GPUs and a run) is served for every node under its own name, with values
that move; Prometheus scrapes each node every 15 s and evaluates the project's own rules at their own intervals. The
counters that rules read over an hour get that hour beforehand, by promtool, and so do recorded series that rules read
over ten minutes or more, once they are recorded: a young store would make those rules look cheap. That hour is of an
earlier part of each run, so every run has one that is gone, as after a move to another machine. All is on loopback
and ends by itself. The load generator is a process of its own; what it takes of the same cores is printed.

Printed are the median and the longest evaluation of each group after the warm-up, and the rules that take the most of
their interval. These are durations: groups that begin at the same moment share the cores with each other and with
whatever else runs, so compare only runs on an otherwise idle machine. Prometheus' CPU is of the whole time.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "exporter")]

from prometheus_client import generate_latest  # noqa: E402

from epochcost.demo.fleet import A100, FLEET  # noqa: E402
from epochcost.demo.history import History, prometheus_command  # noqa: E402
from epochcost.demo.market import Market  # noqa: E402
from epochcost.demo.programs import INSTALL, Program, free_port, program  # noqa: E402
from epochcost.demo.rules_for_replay import config_dir, copy_rules, parsed, seconds  # noqa: E402
from epochcost.demo.simulated_agent import PlayedAgent  # noqa: E402

NODE, RUN = A100.name, A100.attempts[0].run
SCRAPE_SECONDS = 15
OVER_AN_HOUR = (
    "epochcost_node_cost_usd_total", "epochcost_node_seconds_total", "epochcost_node_unpriced_seconds",
    "epochcost_run_epochs_total", "epochcost_run_seconds_total",
)  # fmt: skip
DEAREST_RULES = 15
RECORDED_BEFORE = re.compile(r"\b([a-z_]+:[\w:]+)(?:\{[^}]*\})?(?:\[|\s+offset\s+)((?:\d+[smhd])+)")


class Template:
    """The exposition of one agent at any second, and of the poller."""

    def __init__(self) -> None:
        self._began = time.time() - 7000
        self._market = Market(FLEET, self._began)
        self._market.advance(0.0)
        self._agent = PlayedAgent(A100, FLEET, self._market, self._began)
        self._t = 0.0
        self.advance(self._began + 1500)

    def advance(self, now: float) -> None:
        while self._t + 5 <= now - self._began:
            self._t += 5
            self._market.advance(self._t)
            self._agent.tick(self._t)
        self._agent.show()

    def agent(self) -> bytes:
        text = generate_latest(self._agent.registry)
        assert all(name.encode() in text for name in (NODE, RUN)), "the template's agent shows no node or no run"
        return text

    def poller(self) -> bytes:
        return generate_latest(self._market.registry)


COUNTED_BY_LEADERS = re.compile(
    rb"epochcost_run_(epoch(s_.*|_seconds_.*|_cost_usd_count)?|(useful|lost)_epochs.*|start_epoch|(steps|samples|tokens)_total|"
    rb"phase_seconds_total|last_epoch_seconds|current_epoch_(seconds|ratio))[{ ]"
)


def as_follower(text: bytes) -> bytes:
    """The text of a machine where global rank 0 is not: it counts no progress."""
    lines = [line for line in text.splitlines(keepends=True) if not COUNTED_BY_LEADERS.match(line)]
    return re.sub(rb"(?m)^(epochcost_run_leader\{.*\}) 1\.0$", rb"\1 0.0", b"".join(lines))


def as_node(text: bytes, index: int, runs: int) -> bytes:
    """One agent's text as that of node ``index``; from ``runs`` nodes on, several nodes share a run."""
    name = f"node-{index:04d}".encode()
    return text.replace(NODE.encode(), name).replace(RUN.encode(), f"run-{index % runs:04d}".encode())


def serve(port: int, runs: int) -> None:
    """The load generator: answers every path ``/INDEX`` with that node's text of now."""
    template = Template()
    now: dict[str, Any] = {"second": 0, "agent": b"", "follower": b"", "poller": b""}

    def body(path: str) -> bytes:
        second = int(time.time()) // 5
        if second != now["second"]:
            template.advance(time.time())
            agent = template.agent()
            now.update(second=second, agent=agent, follower=as_follower(agent), poller=template.poller())
        if path == "/prices":
            return bytes(now["poller"])
        index = int(path[1:])
        return as_node(now["follower" if index >= runs else "agent"], index, runs)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                text = body(head.split(b" ", 2)[1].decode())
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: %d\r\n\r\n%b"
                    % (len(text), text)
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def run() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", port)
        async with server:
            await server.serve_forever()

    asyncio.run(run())


def scraped_history(home: Path, minutes: int, nodes: int, runs: int) -> None:
    """The hour before, of what is read over an hour."""
    end = time.time() // SCRAPE_SECONDS * SCRAPE_SECONDS
    text = [
        line for line in Template().agent().decode().splitlines()
        if line.startswith(OVER_AN_HOUR) and not line.startswith("#")
    ]  # fmt: skip
    parts = [line.rpartition(" ") for line in text]

    def lines() -> Iterator[str]:
        for name, _, value in parts:
            for index in range(runs if COUNTED_BY_LEADERS.match(name.encode() + b" ") else nodes):
                series = as_node(name.encode(), index, runs).decode()
                labels = f'job="epochcost-agent",instance="node-{index:04d}"'
                series = f"{series[:-1]},{labels}}}" if series.endswith("}") else f"{series}{{{labels}}}"
                for k in range(minutes * 60 // SCRAPE_SECONDS, 0, -1):
                    moved = float(value) * (1 - k * 1e-3) if "unpriced" not in name else 0.0
                    yield f"{series} {moved:.6f} {end - k * SCRAPE_SECONDS:.0f}\n"

    History(home / "data", home / "rules", end - minutes * 60, end).write(lines())


def get(url: str, **parameters: str) -> Any:
    body = urllib.parse.urlencode(parameters)
    with urllib.request.urlopen(f"{url}?{body}", timeout=60) as reply:
        return json.load(reply)["data"]


def ask(url: str, query: str) -> list[dict[str, Any]]:
    result: list[dict[str, Any]] = get(f"{url}/api/v1/query", query=query)["result"]
    return result


def read_over_long(rules: Path) -> dict[str, tuple[float, float]]:
    """Recorded series that rules read ten minutes back or more: how many seconds, and how often they are recorded."""
    back: dict[str, float] = {}
    every: dict[str, float] = {}
    for group in (group for path in sorted(rules.glob("*.yml")) for group in parsed(path)["groups"]):
        for rule in group["rules"]:
            every[rule.get("record", "")] = seconds(group.get("interval", f"{SCRAPE_SECONDS}s"))
            for name, text in RECORDED_BEFORE.findall(rule["expr"]):
                back[name] = max(back.get(name, 0.0), seconds(text))
    return {name: (length, every[name]) for name, length in back.items() if length >= 600 and name in every}


def recorded_history(home: Path, url: str, minutes: int, end: float) -> None:
    """The hour before ``end``, of recorded series: as they are now. Prometheus reads new blocks once a minute."""

    def lines() -> Iterator[str]:
        for name, (length, every) in read_over_long(home / "rules").items():
            for result in ask(url, name):
                series, value = dict(result["metric"]), result["value"][1]
                del series["__name__"]
                labels = ",".join(f"{key}={json.dumps(text, ensure_ascii=False)}" for key, text in series.items())
                for k in range(int(min(length, minutes * 60) // every), 0, -1):
                    yield f"{name}{{{labels}}} {value} {end - k * every:.0f}\n"

    History(home / "data", home / "rules", end - minutes * 60, end).write(lines())


def status(pid: int, key: str) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith(key))


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def configuration(home: Path, rules: Path, port: int, prometheus: int, nodes: int) -> Path:
    here = f"127.0.0.1:{port}"
    agents = [
        {"targets": [here], "labels": {"instance": f"node-{i:04d}", "__metrics_path__": f"/{i}"}} for i in range(nodes)
    ]
    jobs = [
        {"job_name": "epochcost-agent", "static_configs": agents},
        {"job_name": "epochcost-prices", "metrics_path": "/prices", "static_configs": [{"targets": [here]}]},
        {"job_name": "prometheus", "static_configs": [{"targets": [f"127.0.0.1:{prometheus}"]}]},
    ]
    document = {
        "global": {"scrape_interval": f"{SCRAPE_SECONDS}s", "evaluation_interval": "15s"},
        "rule_files": [f"{rules}/*.yml"],
        "scrape_configs": jobs,
    }
    path = home / "prometheus.yml"
    path.write_text(json.dumps(document))
    return path


class Durations:
    """How long each group and each rule took, evaluation by evaluation, and how often they are due."""

    def __init__(self) -> None:
        self.groups: dict[str, list[float]] = {}
        self.rules: dict[tuple[str, str, int], list[float]] = {}
        self.interval: dict[str, float] = {}
        self._newest: dict[str, str] = {}

    def read(self, url: str, *, counts: bool) -> None:
        for group in get(f"{url}/api/v1/rules")["groups"]:
            name, at = group["name"], group["lastEvaluation"]
            if self._newest.get(name) == at:
                continue
            self._newest[name], self.interval[name] = at, group["interval"]
            if not counts or at.startswith("0001-"):
                continue
            self.groups.setdefault(name, []).append(group["evaluationTime"])
            for index, rule in enumerate(group["rules"]):
                self.rules.setdefault((name, rule["name"], index), []).append(rule["evaluationTime"])

    def show(self) -> None:
        head = f"{'each':>8}{'median':>10}{'most':>10}{'of its interval':>18}"
        print(f"\n{'group':<28}{head}")
        for name, took in sorted(self.groups.items(), key=lambda pair: -median(pair[1]) / self.interval[pair[0]]):
            print(f"{name:<28}{self._row(took, self.interval[name])}")
        print(f"\n{f'the {DEAREST_RULES} dearest rules':<84}{head}")
        dearest = sorted(self.rules.items(), key=lambda pair: -median(pair[1]) / self.interval[pair[0][0]])
        for (group, name, _), took in dearest[:DEAREST_RULES]:
            print(f"{group.removeprefix('epochcost-'):<20}{name:<64}{self._row(took, self.interval[group])}")

    @staticmethod
    def _row(took: list[float], interval: float) -> str:
        share = 100 * median(took) / interval
        return f"{interval:>6.0f} s{median(took):>8.3f} s{max(took):>8.3f} s{share:>16.1f} %"


def watch(url: str, durations: Durations, until: float, *, counts: bool) -> None:
    """Read the evaluations until ``until`` (monotonic seconds)."""
    while time.monotonic() < until:
        durations.read(url, counts=counts)
        time.sleep(5)


def report(url: str, loads: list[tuple[str, float]], pid: int, nodes: int) -> None:
    series = float(ask(url, 'count({job="epochcost-agent"})')[0]["value"][1])
    head = float(ask(url, "prometheus_tsdb_head_series")[0]["value"][1])
    missed = float(ask(url, "sum(prometheus_rule_group_iterations_missed_total) or vector(0)")[0]["value"][1])
    slow = ask(url, 'quantile(0.99, scrape_duration_seconds{job="epochcost-agent"})')[0]["value"][1]
    print(f"\nscraped and recorded series a node: {series / nodes:.0f}; series in the head: {head:.0f}")
    print(f"Prometheus' memory: {status(pid, 'VmRSS') / 1024:.0f} MiB, at most {status(pid, 'VmHWM') / 1024:.0f} MiB")
    print(f"evaluations missed: {missed:.0f}; scrape p99 {float(slow) * 1000:.0f} ms")
    for name, share in loads:
        print(f"{name}: {100 * share:.0f} % of a core")


def measure(home: Path, args: argparse.Namespace) -> None:
    copy_rules(config_dir(), home / "rules", 1e6)
    began = time.monotonic()
    if args.history_minutes:
        scraped_history(home, args.history_minutes, args.nodes, args.runs)
    print(f"history of {args.history_minutes} minutes written in {time.monotonic() - began:.0f} s", flush=True)
    port, own = free_port("127.0.0.1", 0), ("127.0.0.1", free_port("127.0.0.1", 0))
    config = configuration(home, home / "rules", port, own[1], args.nodes)
    command = [sys.executable, __file__, f"--serve={port}", f"--nodes={args.nodes}", f"--runs={args.runs}"]
    started = time.time() - SCRAPE_SECONDS
    with (
        subprocess.Popen(command) as generator,
        Program("prometheus", prometheus_command(config, home / "data", own), own, home / "log") as prometheus,
    ):
        try:
            pids = (("Prometheus", prometheus.pid), ("load generator", generator.pid))
            before = [(cpu_seconds(pid), time.monotonic()) for _, pid in pids]
            began, durations = time.monotonic(), Durations()
            watch(prometheus.url, durations, began + args.warm * 30, counts=False)
            if args.history_minutes:  # once the series are recorded that it is of
                recorded_history(home, prometheus.url, args.history_minutes, started)
            watch(prometheus.url, durations, began + args.warm * 60, counts=False)
            watch(prometheus.url, durations, began + args.minutes * 60, counts=True)
            loads = [
                (who, (cpu_seconds(pid) - cpu) / (time.monotonic() - t))
                for (who, pid), (cpu, t) in zip(pids, before, strict=True)
            ]
            assert durations.groups, "no group of rules was evaluated after the warm-up"
            durations.show()
            report(prometheus.url, loads, prometheus.pid, args.nodes)
        finally:
            generator.terminate()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=1250)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--warm", type=float, default=6, help="minutes before the evaluations count")
    parser.add_argument("--history-minutes", type=int, default=60)
    parser.add_argument("--keep", type=Path, help="a new directory for Prometheus' data, which stays")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(args.serve, args.runs)
        return 0
    if missing := [name for name in ("prometheus", "promtool") if not program(name)]:
        parser.error(f"{' and '.join(missing)} must be installed: {INSTALL}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    if args.keep:
        args.keep.mkdir(parents=True)
    with contextlib.nullcontext(args.keep) if args.keep else tempfile.TemporaryDirectory() as name:
        measure(Path(name), args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
