"""What a refresh of all sources takes on data of recorded size: the whole poller, real clients, simulated providers.

    python benchmarks/refresh.py [--list]

The providers are servers on this machine in processes of their own, so their time and the network's are left out; every
figure is made up. AWS has 110 types in 20 regions (on demand with their zero-dollar twins, spot in three zones), Azure
110 sizes in 5 regions with four rows each, vast.ai 2,000 offers, Google Cloud 36,000 SKUs (`gcp_catalogue.py`). With
``--list`` the public price list of each AWS region, 450 MB, is read too. Exits 1 when a goal is missed.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "exporter")]

from benchmarks import gcp_catalogue  # noqa: E402

from epochcost.poller.app import PollerApp, make_sources  # noqa: E402
from epochcost.poller.footprint import keep_small  # noqa: E402
from epochcost.poller.poller_settings import PollerSettings  # noqa: E402
from epochcost.prices.vast.vast_source import MOST_OFFERS  # noqa: E402

if TYPE_CHECKING:
    from tests.prices.aws_server import AwsPriceServer
    from tests.prices.json_server import ReceivedRequest

AWS_REGIONS = [f"us-east-{n}" for n in range(11, 31)]
AWS_TYPES = [f"p{n}.{size}xlarge" for n in range(22) for size in (1, 2, 8, 24, 48)]
AZURE_REGIONS = [f"region{n}" for n in range(5)]
AZURE_TYPES = [f"Standard_NC{n}ads_A100_v4" for n in range(110)]
VAST_OFFERS = MOST_OFFERS - 1  # of as many as fit, some may be left out
MEASURED = {"aws", "aws_spot", "azure", "vast", "gcp"}
NOW = time.time()
GOAL_SECONDS = 15.0
GOAL_MIB = 150.0
GOAL_SCRAPE_MS = 10.0
PROBE_SECONDS = 0.002
LONG_SECONDS = 0.004
LATER_ROUNDS = 3


# --- the simulated providers, in a process of their own ---


def serve() -> None:
    """Print where each provider listens, as JSON; ends when the input does."""
    from tests.prices.aws_price_list import PriceListServer, big
    from tests.prices.json_server import JsonServer, Reply
    from tests.prices.test_azure import page, row, spot
    from tests.prices.test_vast import offer

    def sizes(region: str, names: Sequence[str]) -> list[dict[str, object]]:
        windows = {"productName": "Virtual Machines NCads A100 v4 Series Windows", "meterId": "m-w"}
        low = {"meterName": "NC24 Low Priority", "skuName": "NC24 Low Priority", "meterId": "m-l"}
        made = []
        for name in names:
            place = {"armRegionName": region}
            made += [row(3.6, name, **place), spot(0.7, name, **place), row(4.7, name, **place, **windows)]
            made.append(row(1.4, name, **place, **low))
        return made

    def azure(request: ReceivedRequest) -> Reply:
        names = re.findall(r"armSkuName eq '([^']*)'", request.query["$filter"])
        (region,) = re.findall(r"armRegionName eq '([^']*)'", request.query["$filter"])
        return page(sizes(region, names))

    vast = [offer(1.0 + n / 1000, gpus=(1, 2, 4, 8)[n % 4], id=n, machine_id=n) for n in range(VAST_OFFERS)]
    aws = _aws()
    server = JsonServer()
    server.script("/azure", azure)
    server.on("/vast/v0/bundles/", Reply({"offers": vast}))
    rows = 1_200_000
    length = sum(map(len, big(rows, AWS_TYPES[0], "3.5")))
    price_list = PriceListServer(lambda: big(rows, AWS_TYPES[0], "3.5"))
    price_list.length = length
    urls = {"aws": aws.environment(aws.start()), "json": server.url, "list": price_list.url, "list_bytes": length}
    print(json.dumps(urls), flush=True)
    sys.stdin.read()


def _aws() -> AwsPriceServer:
    from tests.prices.aws_server import AwsPriceServer, TypeFacts, capacity_block_twin, product, spot, windows_twin

    class Aws(AwsPriceServer):
        def _in_effect_at(self, row: object, start: float) -> float:  # noqa: ARG002
            return 0.0

    products = []
    for n, name in enumerate(AWS_TYPES):
        for region in AWS_REGIONS:
            products += [
                product(name, region, 1 + n / 10),
                capacity_block_twin(name, region),
                windows_twin(name, region, 9),
            ]
    history = [
        spot(name, f"{region}{zone}", 0.3 + n / 100, NOW - hours * 3600)
        for n, name in enumerate(AWS_TYPES)
        for region in AWS_REGIONS
        for zone in "abc"
        for hours in (1, 20)
    ]
    types = [TypeFacts(name, 8, 65536, "A100", 8, 40960) for name in AWS_TYPES]
    return Aws(products, history, types, page_size=100)


# --- the poller ---


def settings(urls: Mapping[str, Any], state: str, *, with_list: bool) -> PollerSettings:
    """Of a poller whose sources are the simulated providers."""
    return PollerSettings(
        web_listen_address=("127.0.0.1", 0),
        state_dir=state,
        prices_sources=("listed", "aws", "azure", "vast", *(("aws_bulk",) if with_list else ())),
        aws_regions=tuple(AWS_REGIONS),
        aws_instance_types=tuple(AWS_TYPES),
        aws_price_list_url=str(urls["list"]),
        azure_url=f"{urls['json']}/azure",
        azure_regions=tuple(AZURE_REGIONS),
        azure_instance_types=tuple(AZURE_TYPES),
        vast_url=f"{urls['json']}/vast",
        vast_regions=("US",),
        vast_instance_types=("1x H100 SXM", "4x H100 SXM", "8x H100 SXM"),
        prices_max_series=500,
    )


def measure(urls: Mapping[str, Any], gcp_port: int, *, with_list: bool) -> bool:
    """Refresh once with all sources and print the figures; whether every goal was met."""
    os.environ.update(urls["aws"])
    keep_small()  # as the poller does before it begins
    rss_before = gcp_catalogue.resident_mib("VmRSS")
    with tempfile.TemporaryDirectory() as state:
        known = settings(urls, state, with_list=with_list)
        sources = (*make_sources(known), gcp_catalogue.source(gcp_port, gcp_catalogue.wants()))
        app = PollerApp(known, sources)
        names = {source.name for source in sources} - {"vast_rented"}
        first = _refresh(app, names, app.start)
        waits = _InterpreterWaits()
        waits.start()
        later = [_refresh(app, names, lambda: _refresh_all_now(app, names)) for _ in range(LATER_ROUNDS)]
        waits.stop()
        _print_sources(app)
        print(f"{'prices known':34}{len(app._store.merged.prices):9}; exported at most {known.prices_max_series}")  # noqa: SLF001
        print(f"{'state file':34}{(Path(state) / 'prices.json').stat().st_size / 1024**2:9.1f} MiB")
        peak = gcp_catalogue.resident_mib("VmHWM")
        prometheus = _Prometheus(app.port)
        time.sleep(3)
        calm = prometheus.milliseconds()
        app.stop()
    print(f"{'memory before, at most':34}{rss_before:9.1f} MiB, {peak:.1f} MiB (goal {GOAL_MIB:g} MiB)")
    _print_round("first refresh, with its imports", first)
    for each in later:
        _print_round("the same again", each)
    p99 = _print_scrapes("scrapes during later refreshes", [ms for each in later for ms in each.scrapes])
    waits.report()
    _print_scrapes("scrapes during the first", first.scrapes)
    _print_scrapes("scrapes afterwards", calm)
    print(f"load of this machine: {os.getloadavg()[0]:.1f}")
    return max(each.seconds for each in (first, *later)) <= GOAL_SECONDS and peak <= GOAL_MIB and p99 <= GOAL_SCRAPE_MS


def _print_sources(app: PollerApp) -> None:
    """A line of each; one that failed, or has no price, was not measured."""
    for name, health in app.snapshot().sources.items():
        if health.duration_seconds is not None:
            print(f"{'  ' + name:34}{health.duration_seconds:9.2f} s, {health.prices} prices {health.sentence[:60]}")
        if name in MEASURED:
            assert health.success, f"{name}: {health.sentence}"
            assert health.prices, f"{name} has no price"


def _print_round(name: str, it: _Round) -> None:
    print(f"{name:34}{it.seconds:9.2f} s, {it.cpu_seconds:.2f} s of CPU (goal {GOAL_SECONDS:g} s)")


def _print_scrapes(name: str, taken: Sequence[float]) -> float:
    assert taken, f"{name}: none was measured"
    ordered = sorted(taken)
    p99 = ordered[int(len(ordered) * 0.99)]
    print(
        f"{name:34}{len(ordered):9}: median {ordered[len(ordered) // 2]:.1f} ms, p99 {p99:.1f} ms, "
        f"longest {ordered[-1]:.1f} ms (goal {GOAL_SCRAPE_MS:g} ms)"
    )
    return p99


class _InterpreterWaits:
    """How long a thread that wants the interpreter waits for it, in CPU time of this process.

    It sleeps; what other threads have computed beyond the sleep when it wakes up kept it from running. How long it
    waited for a core (the kernel counts that for each thread) is left out: other processes of a busy machine do that.
    """

    def __init__(self) -> None:
        self.taken: list[tuple[float, str]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._over.is_set():
            began, cpu, delayed = time.perf_counter(), time.process_time(), _waited_for_a_core()
            time.sleep(PROBE_SECONDS)
            waited = time.process_time() - cpu - PROBE_SECONDS
            late = time.perf_counter() - began - PROBE_SECONDS - (_waited_for_a_core() - delayed)
            waited = max(0.0, min(waited, late))
            self.taken.append((waited * 1e3, self._busy() if waited > LONG_SECONDS else ""))

    def _busy(self) -> str:
        """Where the others are, just after one of them had the interpreter for long."""
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        return "; ".join(
            f"{names[ident]} {frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_lineno}"
            for ident, frame in sys._current_frames().items()  # noqa: SLF001 - it is for such looks
            if names.get(ident, "").startswith("prices-") and "queue" not in frame.f_code.co_filename
        )

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def report(self) -> None:
        _print_scrapes("waits for the interpreter (CPU)", [ms for ms, _ in self.taken])
        for ms, where in sorted(self.taken, reverse=True)[:5]:
            print(f"  {ms:.1f} ms of CPU: {where[:200]}")


def _waited_for_a_core() -> float:
    """Seconds that this thread was able to run and had no core, since it began."""
    with open("/proc/thread-self/schedstat", encoding="ascii") as stat:  # noqa: PTH123
        return int(stat.read().split()[1]) / 1e9


@dataclass(frozen=True, slots=True)
class _Round:
    seconds: float
    cpu_seconds: float
    scrapes: list[float]


def _refresh(app: PollerApp, names: set[str], begin: Callable[[], None]) -> _Round:
    """All of ``names`` refreshed once, with scrapes meanwhile."""
    before = _healths(app)
    began, cpu = time.perf_counter(), time.process_time()
    begin()
    prometheus = _Prometheus(app.port)
    deadline = time.monotonic() + 300
    while any(_healths(app)[name] is before[name] for name in names):
        if time.monotonic() > deadline:
            raise SystemExit("not every source answered within 5 minutes")
        time.sleep(0.1)
    return _Round(time.perf_counter() - began, time.process_time() - cpu, prometheus.milliseconds())


def _healths(app: PollerApp) -> dict[str, object]:
    """A value that is another one after each attempt, by source."""
    return {name: attempts._health for name, attempts in app._schedule._attempts.items()}  # noqa: SLF001


def _refresh_all_now(app: PollerApp, names: set[str]) -> None:
    for name in names:
        app._schedule._scheduler.modify_job(name, next_run_time=datetime.now(timezone.utc))  # noqa: SLF001


# --- who scrapes, in a process of its own: it must not wait for the poller's interpreter as a thread of it would ---


def scrape(port: int) -> None:
    """Scrape 20 times a second over one connection, as Prometheus keeps it; print milliseconds when the input ends."""
    taken: list[float] = []
    ended = threading.Event()

    def wait_for_the_end() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    connection = http.client.HTTPConnection("127.0.0.1", port)
    while not ended.wait(0.05):
        began = time.perf_counter()
        connection.request("GET", "/metrics", headers={"Accept-Encoding": "gzip"})
        response = connection.getresponse()
        page = response.read()
        taken.append((time.perf_counter() - began) * 1e3)
        assert response.status == 200, response.status
        assert page, "an empty page"
    print(json.dumps(taken))


def _child(file: str, *args: str) -> subprocess.Popen[bytes]:
    """A benchmark's file as a process of its own, which ends when its input does."""
    return subprocess.Popen([sys.executable, file, *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE)


class _Prometheus:
    """A `scrape` under way."""

    def __init__(self, port: int) -> None:
        self._process = _child(__file__, "scrape", str(port))

    def milliseconds(self) -> list[float]:
        """End it; what each scrape took."""
        out, _ = self._process.communicate(timeout=30)
        milliseconds: list[float] = json.loads(out)
        return milliseconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=["serve", "scrape"])
    parser.add_argument("port", nargs="?", type=int)
    parser.add_argument("--list", action="store_true", help="read the public price list too, once a region")
    args = parser.parse_args()
    if args.what == "serve":
        serve()
        return 0
    if args.what == "scrape":
        scrape(args.port)
        return 0
    print(f"Python {platform.python_version()}, {os.cpu_count()} CPUs; simulated providers on loopback")
    gcp = _child(gcp_catalogue.__file__, "serve")
    others = _child(__file__, "serve")
    with gcp, others:
        assert gcp.stdin is not None
        assert gcp.stdout is not None
        assert others.stdin is not None
        assert others.stdout is not None
        try:
            met = measure(json.loads(others.stdout.readline()), int(gcp.stdout.readline()), with_list=args.list)
        finally:
            gcp.stdin.close()
            others.stdin.close()
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
