"""What the agent costs beside nvitop-exporter and node_exporter: CPU, memory and scrape latency on simulated GPUs.

    python benchmarks/agent.py [--seconds 30] [--gpus 1,8,16] [--runs 0,8] [--as-prometheus]

For each number of GPUs and of runs, all three run at the same time: the agent and nvitop-exporter over the same driver
library, each reading the GPUs once a second (nvitop-exporter's own default), and Debian's node_exporter, which reads
the machine when it is scraped and knows no GPU. A peer that is not installed is left out. CPU is that of the time
without scrapes; then each is scraped in turn over one keep-alive connection, and CPU of a scrape is the time of its
process by the number of scrapes. Every run writes a line of progress a second. The driver is the tests' compiled one,
so a real driver's own time in each call is in none of the figures. The events lie in memory, as they do by default
(``/var/run``), the agent's state on disk. With ``--as-prometheus`` the scrapes ask for what Prometheus asks for,
OpenMetrics in gzip; without, for the plain text that any client gets.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import http.client
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "exporter")]

from tests.e2e.programs import free_port  # noqa: E402
from tests.fake_nvml import FakeDriver, build  # noqa: E402
from tests.waiting import wait_for  # noqa: E402

TICKS = os.sysconf("SC_CLK_TCK")
SCRAPES = 300
WARM_SECONDS = 3.0
"""After the start, before anything is measured."""
GZIP = b"\x1f\x8b"
AS_PROMETHEUS = {
    "Accept": "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1",
    "Accept-Encoding": "gzip",
}
HEAD = ("GPUs", "runs", "", "CPU of a core", "RSS", "series", "scrape p50", "scrape p99", "CPU of a scrape")


@dataclass
class Peer:
    name: str
    process: subprocess.Popen[bytes]
    port: int
    shows: Mapping[bytes, int]
    """How its lines begin once it works, and how many of them there are at least."""

    def ticked_seconds(self) -> float:
        """CPU time, to a hundredth of a second, with that of threads that have ended."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def cpu_seconds(self) -> float:
        """CPU time of the threads that it has now, to the nanosecond."""
        tasks = Path(f"/proc/{self.process.pid}/task")
        total = 0.0
        for task in tasks.iterdir():
            with contextlib.suppress(OSError):  # a thread that ended meanwhile
                total += int((task / "schedstat").read_text().split()[0]) / 1e9
        return total

    def rss_mib(self) -> float:
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

    def get(self, connection: http.client.HTTPConnection, headers: Mapping[str, str]) -> bytes:
        connection.request("GET", "/metrics", headers=dict(headers))
        return connection.getresponse().read()

    def missing(self, page: bytes) -> str:
        """What ``page`` lacks of what is to be measured; empty if nothing."""
        lines = page.splitlines()
        counts = {start: sum(line.startswith(start) for line in lines) for start in self.shows}
        return ", ".join(
            f"{counts[start]} of {count} lines {start.decode()}"
            for start, count in self.shows.items()
            if counts[start] < count
        )

    def up(self) -> bool:
        try:
            return not self.missing(self.get(http.client.HTTPConnection("127.0.0.1", self.port, timeout=5), {}))
        except OSError:
            return False


@dataclass
class Others:
    """Paths of the peers, empty for one that is not there."""

    nvitop: str
    node: str


@dataclass(frozen=True)
class Load:
    """What the machine has."""

    gpus: int
    runs: int


class Runs:
    """Open runs, each with a line of progress a second, written by a thread of this process."""

    def __init__(self, events: Path, count: int, gpus: int) -> None:
        self._files = [events / f"run-{i}.jsonl" for i in range(count)]
        self._step = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)
        for i, path in enumerate(self._files):
            self._say(path, ev="start", experiment="bench", gpus=[str(i % gpus)], epochs=1000)
        self._thread.start()

    def end(self) -> None:
        self._stop.set()
        self._thread.join()

    def _write(self) -> None:
        while not self._stop.wait(1.0):
            self._step += 1
            for path in self._files:
                self._say(path, ev="progress", step=self._step, epoch=self._step / 10, samples=self._step * 64)
                if self._step % 10 == 0:
                    self._say(path, ev="epoch_end", epoch=self._step // 10)

    @staticmethod
    def _say(path: Path, **event: object) -> None:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"v": 1, "ts": time.time(), "run": path.stem, **event}) + "\n")


def agent(directory: Path, events: Path, port: int) -> list[str]:
    command = [sys.executable, "-m", "epochcost", "agent", f"--web.listen-address=127.0.0.1:{port}"]
    command += [f"--events.dir={events}", f"--state.dir={directory / 'state'}", "--gpus.source=nvml"]
    return [*command, "--node.metadata=off", "--price.usd-per-hour=32.77", "--log.level=error"]


@contextlib.contextmanager
def started(directory: Path, events: Path, driver: FakeDriver, others: Others, load: Load) -> Iterator[list[Peer]]:
    """All that are installed, up and warm."""
    env = {**os.environ, **driver.env(), "PYTHONPATH": str(ROOT / "exporter")}
    ports = [free_port() for _ in range(3)]
    nvitop = [others.nvitop, "--bind-address", "127.0.0.1", "--port", str(ports[1])]
    node = [others.node, f"--web.listen-address=127.0.0.1:{ports[2]}"]
    progress = dict.fromkeys((b"epochcost_run_info{", b"epochcost_run_steps_total{"), load.runs)
    cases: list[tuple[str, list[str], int, dict[bytes, int]]] = [
        (
            "epochcost agent",
            agent(directory, events, ports[0]),
            ports[0],
            {b"epochcost_gpu_utilization_ratio{": load.gpus, **progress},
        ),
        ("nvitop-exporter", nvitop, ports[1], {b"nvitop_gpu_utilization": load.gpus}),
        ("node_exporter", node, ports[2], {b"node_cpu_seconds_total": 1}),
    ]
    peers: list[Peer] = []
    try:
        for name, command, port, shows in cases:
            if command[0]:
                process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                peers.append(Peer(name, process, port, shows))
        for one in peers:
            wait_for(one.up, 60, one.name)
        time.sleep(WARM_SECONDS)
        yield peers
    finally:
        for one in peers:
            one.process.terminate()
            one.process.wait()


def measured(peers: list[Peer], seconds: float, headers: Mapping[str, str]) -> list[list[str]]:
    """A row of figures for each."""
    before = [(one.cpu_seconds(), time.monotonic()) for one in peers]
    time.sleep(seconds)
    alone = [(one.cpu_seconds() - cpu) / (time.monotonic() - t) for one, (cpu, t) in zip(peers, before, strict=True)]
    connections = [http.client.HTTPConnection("127.0.0.1", one.port, timeout=10) for one in peers]
    times: list[list[float]] = [[] for _ in peers]
    pages = [b"" for _ in peers]
    began = [(one.ticked_seconds(), time.monotonic()) for one in peers]
    for _ in range(SCRAPES):
        for i, one in enumerate(peers):
            start = time.perf_counter()
            pages[i] = one.get(connections[i], headers)
            times[i].append((time.perf_counter() - start) * 1000)
    rows = []
    for i, one in enumerate(peers):
        cpu = one.ticked_seconds() - began[i][0] - alone[i] * (time.monotonic() - began[i][1])
        ordered = sorted(times[i])
        page = gzip.decompress(pages[i]) if pages[i].startswith(GZIP) else pages[i]
        if missing := one.missing(page):
            raise SystemExit(f"{one.name}: nothing was measured, its page has {missing}")
        series = sum(1 for line in page.splitlines() if line and not line.startswith(b"#"))
        p50, p99 = statistics.median(ordered), ordered[int(len(ordered) * 0.99)]
        figures = [f"{alone[i] * 100:.2f} %", f"{one.rss_mib():.1f} MiB", f"{series}", f"{p50:.2f} ms", f"{p99:.2f} ms"]
        rows.append([one.name, *figures, f"{max(0.0, cpu) / SCRAPES * 1000:.2f} ms"])
    return rows


def cell(gpus: int, runs: int, others: Others, seconds: float, headers: Mapping[str, str]) -> list[list[str]]:
    """All of them with so many GPUs and runs."""
    in_memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory() as name, tempfile.TemporaryDirectory(dir=in_memory) as events:
        directory = Path(name)
        driver = FakeDriver(build(directory / "library"), directory / "driver.txt", gpus=gpus)
        driver.gpu("*", gpm=1, util=70, memory_used=30 << 30, memory_total=80 << 30)
        written = Runs(Path(events), runs, gpus)
        try:
            with started(directory, Path(events), driver, others, Load(gpus, runs)) as peers:
                return measured(peers, seconds, headers)
        finally:
            written.end()


def machine() -> str:
    """Where this was measured."""
    cpus = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    model = cpus[0].partition(":")[2].strip() if cpus else platform.machine()
    load = "/".join(f"{part:.1f}" for part in os.getloadavg())
    return f"{os.cpu_count()} CPUs ({model}), load {load} at the start, Python {platform.python_version()}"


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30.0, help="without scrapes, for each row")
    parser.add_argument("--gpus", type=numbers, default=[1, 8, 16])
    parser.add_argument("--runs", type=numbers, default=[0, 8])
    parser.add_argument("--nvitop", default=installed("nvitop-exporter"), help="path of nvitop-exporter")
    parser.add_argument("--node", default=installed("prometheus-node-exporter"), help="path of node_exporter")
    parser.add_argument("--as-prometheus", action="store_true", help="ask for OpenMetrics in gzip")
    args = parser.parse_args()
    others, headers = Others(args.nvitop, args.node), AS_PROMETHEUS if args.as_prometheus else {}
    print(machine(), end="\n\n")
    print(f"| {' | '.join(HEAD)} |\n|{' --- |' * len(HEAD)}")
    for gpus in args.gpus:
        for runs in args.runs:
            for row in cell(gpus, runs, others, args.seconds, headers):
                print(f"| {' | '.join([str(gpus), str(runs), *row])} |", flush=True)
    for path, package in ((args.nvitop, "pip install nvitop-exporter"), (args.node, "Debian's node_exporter")):
        if not path:
            print(f"\nleft out, for it is not installed: {package}")
    return 0


def installed(program: str) -> str:
    """Its path, beside this Python or in the search path; empty if it is in neither."""
    beside = Path(sys.executable).with_name(program)
    return str(beside) if beside.exists() else shutil.which(program) or ""


if __name__ == "__main__":
    sys.exit(main())
