"""CPU, memory and scrape latency of the agent on 8 simulated GPUs, beside nvitop-exporter over the same driver library.

    python benchmarks/agent.py [--seconds 60] [--peer PATH_OF_nvitop-exporter] [--as-prometheus]

Both run at the same time, sample once a second (nvitop-exporter's own default), and are scraped in turn over one
keep-alive connection each. CPU and RSS are read from /proc over the time without scrapes. The driver is the tests'
compiled one, so a real driver's own time in each call is not in the figures of either. The events lie in memory, as
they do by default (``/var/run``), the agent's state on disk. With ``--as-prometheus`` the scrapes ask for what
Prometheus asks for, OpenMetrics in gzip; without, for the plain text that any client gets.
"""

from __future__ import annotations

import argparse
import gzip
import http.client
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "exporter")]

from tests.e2e.programs import free_port  # noqa: E402
from tests.fake_nvml import FakeDriver, build  # noqa: E402
from tests.waiting import wait_for  # noqa: E402

TICKS = os.sysconf("SC_CLK_TCK")
SCRAPES = 500
GZIP = b"\x1f\x8b"
AS_PROMETHEUS = {
    "Accept": "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1",
    "Accept-Encoding": "gzip",
}


@dataclass
class Peer:
    name: str
    process: subprocess.Popen[bytes]
    port: int

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def rss_mib(self) -> float:
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

    def get(self, connection: http.client.HTTPConnection, headers: Mapping[str, str]) -> bytes:
        connection.request("GET", "/metrics", headers=dict(headers))
        return connection.getresponse().read()

    def up(self) -> bool:
        try:
            return b"utilization" in self.get(http.client.HTTPConnection("127.0.0.1", self.port, timeout=5), {})
        except OSError:
            return False


def runs(events: Path, count: int) -> None:
    """Open runs that say something each second would need processes; open ones are enough for the exported series."""
    events.mkdir(exist_ok=True)
    for i in range(count):
        lines = [{"v": 1, "ev": "start", "ts": time.time(), "run": f"run-{i}", "experiment": "bench", "gpus": [str(i)]}]
        lines += [{"v": 1, "ev": "epoch_end", "ts": time.time(), "run": f"run-{i}", "epoch": k} for k in (1, 2, 3)]
        (events / f"run-{i}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def start(directory: Path, events: Path, driver: FakeDriver, peer: str, open_runs: int) -> list[Peer]:
    env = {**os.environ, **driver.env(), "PYTHONPATH": str(ROOT / "exporter")}
    port, peer_port = free_port(), free_port()
    runs(events, open_runs)
    command = [sys.executable, "-m", "epochcost", "agent", f"--web.listen-address=127.0.0.1:{port}"]
    command += [f"--events.dir={events}", f"--state.dir={directory / 'state'}", "--gpus.source=nvml"]
    command += ["--price.usd-per-hour=32.77", "--log.level=error"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    peers = [Peer("epochcost agent", subprocess.Popen(command, env=env, **quiet), port)]
    if peer:
        theirs = [peer, "--bind-address", "127.0.0.1", "--port", str(peer_port)]
        peers.append(Peer("nvitop-exporter", subprocess.Popen(theirs, env=env, **quiet), peer_port))
    for one in peers:
        wait_for(one.up, 60, one.name)
    return peers


def measure(peers: list[Peer], seconds: float, headers: Mapping[str, str]) -> list[list[str]]:
    before = [(one.cpu_seconds(), time.monotonic()) for one in peers]
    time.sleep(seconds)
    idle = [(one.cpu_seconds() - cpu) / (time.monotonic() - t) for one, (cpu, t) in zip(peers, before, strict=True)]
    connections = [http.client.HTTPConnection("127.0.0.1", one.port, timeout=10) for one in peers]
    times: list[list[float]] = [[] for _ in peers]
    series = [0 for _ in peers]
    for _ in range(SCRAPES):
        for i, one in enumerate(peers):
            began = time.perf_counter()
            text = one.get(connections[i], headers)
            times[i].append((time.perf_counter() - began) * 1000)
            text = gzip.decompress(text) if text.startswith(GZIP) else text
            series[i] = sum(1 for line in text.splitlines() if line and not line.startswith(b"#"))
    rows = []
    for i, one in enumerate(peers):
        ordered = sorted(times[i])
        rows.append(
            [
                one.name,
                f"{idle[i] * 100:.2f} %",
                f"{one.rss_mib():.1f} MiB",
                f"{series[i]}",
                f"{statistics.median(ordered):.2f} ms",
                f"{ordered[int(len(ordered) * 0.99)]:.2f} ms",
            ]
        )
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--gpus", type=int, default=8)
    parser.add_argument("--peer", default=shutil.which("nvitop-exporter") or "")
    parser.add_argument("--as-prometheus", action="store_true", help="ask for OpenMetrics in gzip")
    args = parser.parse_args()
    in_memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory() as name, tempfile.TemporaryDirectory(dir=in_memory) as events:
        directory = Path(name)
        driver = FakeDriver(build(directory), directory / "driver.txt", gpus=args.gpus)
        driver.gpu("*", util=70, memory_used=30 << 30, memory_total=80 << 30)
        peers = start(directory, Path(events), driver, args.peer, args.runs)
        try:
            rows = measure(peers, args.seconds, AS_PROMETHEUS if args.as_prometheus else {})
        finally:
            for one in peers:
                one.process.terminate()
                one.process.wait()
    head = ["", "CPU of a core", "RSS", "series", "scrape p50", "scrape p99"]
    for row in (head, *rows):
        print("  ".join(f"{cell:>16}" for cell in row))
    if not args.peer:
        print("nvitop-exporter is not installed: pip install nvitop-exporter, or --peer PATH")
    return 0


if __name__ == "__main__":
    sys.exit(main())
