"""What rules and alerts cost on a fleet: 1,250 simulated nodes of 8 GPUs, 1,000 runs, one real Prometheus.

    python benchmarks/fleet.py [--nodes 1250] [--minutes 8] [--history-minutes 60]

The text of one real agent (the demo's, with 8 GPUs and a run) is served for every node under its own name, with values
that move; Prometheus scrapes each node every 15 s and evaluates the project's own rules at their own intervals. The
counters that rules read over an hour get that hour beforehand, by promtool. All is on loopback and ends by itself.
The load generator is a process of its own; what it takes of the same cores is printed.
"""

from __future__ import annotations

import argparse
import asyncio
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
from epochcost.demo.programs import Program, free_port  # noqa: E402
from epochcost.demo.rules_for_replay import config_dir, copy_rules  # noqa: E402
from epochcost.demo.simulated_agent import PlayedAgent  # noqa: E402

NODE, RUN = A100.name, A100.attempts[0].run
SCRAPE_SECONDS = 15
OVER_AN_HOUR = (
    "epochcost_node_cost_usd_total", "epochcost_node_seconds_total", "epochcost_node_unpriced_seconds",
    "epochcost_run_epochs_total", "epochcost_run_seconds_total",
)  # fmt: skip


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


def history(home: Path, rules: Path, minutes: int, nodes: int, runs: int) -> None:
    """The hour before, of what is read over an hour."""
    if not minutes:
        return
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

    History(home / "data", rules, end - minutes * 60, end).write(lines())


def ask(url: str, query: str) -> list[dict[str, Any]]:
    body = urllib.parse.urlencode({"query": query}).encode()
    with urllib.request.urlopen(f"{url}/api/v1/query", data=body, timeout=60) as reply:
        result: list[dict[str, Any]] = json.load(reply)["data"]["result"]
    return result


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


def report(url: str, samples: dict[str, list[float]], loads: list[tuple[str, float]], pid: int, nodes: int) -> None:
    interval = {
        r["metric"]["rule_group"]: float(r["value"][1]) for r in ask(url, "prometheus_rule_group_interval_seconds")
    }
    print(f"\n{'group':<28}{'each':>8}{'median':>10}{'most':>10}{'of its interval':>18}")
    for group, took in sorted(samples.items(), key=lambda pair: -median(pair[1]) / interval[pair[0]]):
        share = median(took) / interval[group]
        name = group.rpartition(";")[2]
        print(f"{name:<28}{interval[group]:>6.0f} s{median(took):>8.3f} s{max(took):>8.3f} s{100 * share:>16.1f} %")
    series = float(ask(url, 'count({job="epochcost-agent"})')[0]["value"][1])
    head = float(ask(url, "prometheus_tsdb_head_series")[0]["value"][1])
    missed = float(ask(url, "sum(prometheus_rule_group_iterations_missed_total) or vector(0)")[0]["value"][1])
    slow = ask(url, 'quantile(0.99, scrape_duration_seconds{job="epochcost-agent"})')[0]["value"][1]
    print(f"\nscraped and recorded series a node: {series / nodes:.0f}; series in the head: {head:.0f}")
    print(f"Prometheus' memory: {status(pid, 'VmRSS') / 1024:.0f} MiB, at most {status(pid, 'VmHWM') / 1024:.0f} MiB")
    print(f"evaluations missed: {missed:.0f}; scrape p99 {float(slow) * 1000:.0f} ms")
    for name, share in loads:
        print(f"{name}: {100 * share:.0f} % of a core")


def watch(url: str, minutes: float, warm: float) -> dict[str, list[float]]:
    """The duration of each group at every evaluation after ``warm`` minutes."""
    samples: dict[str, list[float]] = {}
    newest_ts: dict[str, float] = {}
    began = time.monotonic()
    while time.monotonic() - began < minutes * 60:
        time.sleep(5)
        newest = "prometheus_rule_group_last_evaluation_timestamp_seconds"
        for result in ask(url, newest):
            group, at = result["metric"]["rule_group"], float(result["value"][1])
            if newest_ts.get(group) == at:
                continue
            newest_ts[group] = at
            if time.monotonic() - began >= warm * 60:
                query = f"prometheus_rule_group_last_duration_seconds{{rule_group={json.dumps(group)}}}"
                samples.setdefault(group, []).append(float(ask(url, query)[0]["value"][1]))
    return samples


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=1250)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--warm", type=float, default=6, help="minutes before the evaluations count")
    parser.add_argument("--history-minutes", type=int, default=60)
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(args.serve, args.runs)
        return 0
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        copy_rules(config_dir(), home / "rules", 1e6)
        began = time.monotonic()
        history(home, home / "rules", args.history_minutes, args.nodes, args.runs)
        print(f"history of {args.history_minutes} minutes written in {time.monotonic() - began:.0f} s", flush=True)
        port, own = free_port("127.0.0.1", 0), ("127.0.0.1", free_port("127.0.0.1", 0))
        config = configuration(home, home / "rules", port, own[1], args.nodes)
        command = [sys.executable, __file__, f"--serve={port}", f"--nodes={args.nodes}", f"--runs={args.runs}"]
        with (
            subprocess.Popen(command) as generator,
            Program("prometheus", prometheus_command(config, home / "data", own), own, home / "log") as prometheus,
        ):
            try:
                pids = (("Prometheus", prometheus.pid), ("load generator", generator.pid))
                before = [(cpu_seconds(pid), time.monotonic()) for _, pid in pids]
                samples = watch(prometheus.url, args.minutes, args.warm)
                loads = [
                    (who, (cpu_seconds(pid) - cpu) / (time.monotonic() - t))
                    for (who, pid), (cpu, t) in zip(pids, before, strict=True)
                ]
                assert samples, "no group of rules was evaluated after the warm-up"
                report(prometheus.url, samples, loads, prometheus.pid, args.nodes)
            finally:
                generator.terminate()
    return 0


if __name__ == "__main__":
    sys.exit(main())
