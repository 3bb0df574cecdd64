"""What one reading of the Google Cloud catalogue takes, time and memory: the real client at a simulated catalogue.

    python benchmarks/gcp_catalogue.py

The catalogue is synthetic: as many SKUs as Compute Engine has (36,000), of the same form and size, most of them no part
of a machine. It is served over gRPC by a process of its own on this machine, so network and Google's time are left out.
Exits 1 when a goal is missed.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "exporter")]

from epochcost.prices.gcp.gcp_client import GcpCatalogue  # noqa: E402
from epochcost.prices.gcp.gcp_sources import NAME, GcpPrices  # noqa: E402
from epochcost.prices.price_source import PriceRequests, Want  # noqa: E402

SKUS = 36_000
REGIONS = [
    f"{area}-{side}{n}" for area in ("us", "europe", "asia", "me") for side in ("central", "west") for n in range(1, 6)
]
FAMILIES = ("N1 Predefined", "N2", "E2", "C3", "A2", "A3", "A3Plus", "G2")
GPUS = ("Tesla T4", "Tesla P4", "Tesla V100", "Tesla A100", "Tesla A100 80GB", "L4", "H100 80GB", "H100 80GB Plus")
TYPES = ("a2-highgpu-8g", "a3-highgpu-8g", "a3-megagpu-8g", "g2-standard-96", "n1-standard-16+nvidia-tesla-p4:1")
GOAL_SECONDS = 15.0
GOAL_MIB = 150.0


def texts() -> list[tuple[str, str, str]]:
    """Description, usage type and region of every SKU: the priced parts of every region, and what surrounds them."""
    rows = []
    for region in REGIONS:
        for spot, usage in (("", "OnDemand"), ("Spot Preemptible ", "Preemptible")):
            attached = "attached to Spot Preemptible VMs running in" if spot else "running in"
            rows += [
                (f"{spot}{f} Instance {w} running in {region}", usage, region)
                for f in FAMILIES
                for w in ("Core", "Ram")
            ]
            rows += [(f"Nvidia {gpu} GPU {attached} {region}", usage, region) for gpu in GPUS]
            rows.append(
                (
                    f"SSD backed Local Storage {attached} {region}"
                    if spot
                    else f"SSD backed Local Storage in {region}",
                    usage,
                    region,
                )
            )
    kinds = (
        "Commitment v1: N2 Cpu in {} for 1 Year",
        "Network Internet Egress from {} to Oceania number {}",
        "Licensing Fee {} {}",
    )
    number = 0
    while len(rows) < SKUS:
        number += 1
        region = REGIONS[number % len(REGIONS)]
        usage = ("Commit1Yr", "OnDemand", "OnDemand")[number % 3]
        rows.append((kinds[number % 3].format(region, number), usage, region))
    return rows[:SKUS]


def serve() -> None:
    """Serve the catalogue; the first line of output is the port. Ends when its input does."""
    import grpc
    from google.cloud.billing_v1 import ListSkusRequest, ListSkusResponse

    pages: dict[tuple[int, int], bytes] = {}
    rows = texts()

    def page(request: Any, _context: object) -> bytes:
        first, size = int(request.page_token or 0), request.page_size
        if (first, size) not in pages:
            response = ListSkusResponse.pb(ListSkusResponse())
            for number, (text, usage, region) in enumerate(rows[first : first + size], start=first):
                _fill(response.skus.add(), number, text, usage, region)
            response.next_page_token = str(first + size) if first + size < len(rows) else ""
            pages[first, size] = response.SerializeToString()
        return pages[first, size]

    server = grpc.server(ThreadPoolExecutor(2))
    method = grpc.unary_unary_rpc_method_handler(page, ListSkusRequest.deserialize, bytes)
    handler = grpc.method_handlers_generic_handler("google.cloud.billing.v1.CloudCatalog", {"ListSkus": method})
    server.add_generic_rpc_handlers((handler,))
    port = server.add_secure_port("127.0.0.1:0", grpc.local_server_credentials())
    server.start()
    print(port, flush=True)
    sys.stdin.read()
    server.stop(None)


def _fill(sku: Any, number: int, text: str, usage: str, region: str) -> None:
    sku.sku_id = f"{number:04X}-0000-{number:04X}"
    sku.name = f"services/6F81-5844-456A/skus/{sku.sku_id}"
    sku.description = text
    sku.category.service_display_name = "Compute Engine"
    sku.category.resource_family, sku.category.resource_group, sku.category.usage_type = "Compute", "CPU", usage
    sku.service_regions.append(region)
    sku.geo_taxonomy.regions.append(region)
    sku.service_provider_name = "Google"
    info = sku.pricing_info.add()
    info.currency_conversion_rate = 1.0
    info.effective_time.seconds = 1_795_000_000
    expression = info.pricing_expression
    storage, memory = text.startswith("SSD"), " Ram " in text
    expression.usage_unit = "GiBy.mo" if storage else "GiBy.h" if memory else "h"
    expression.usage_unit_description, expression.base_unit, expression.base_unit_description = "hour", "s", "second"
    expression.display_quantity, expression.base_unit_conversion_factor = 1.0, 3600.0
    price = expression.tiered_rates.add().unit_price
    price.currency_code, price.units, price.nanos = "USD", 2 * ("GPU" in text), 31_611_000


def resident_mib(kind: str) -> float:
    """Memory of this process: ``VmRSS`` now, ``VmHWM`` at most."""
    with open("/proc/self/status", encoding="ascii") as status:  # noqa: PTH123
        return next(int(line.split()[1]) for line in status if line.startswith(kind)) / 1024


def source(port: int, always: frozenset[Want] = frozenset()) -> GcpPrices:
    """The source ``gcp`` at the catalogue at ``port``."""
    import grpc
    from google.auth.credentials import AnonymousCredentials
    from google.cloud.billing_v1 import CloudCatalogClient
    from google.cloud.billing_v1.services.cloud_catalog.transports import CloudCatalogGrpcTransport

    def client(key: str) -> CloudCatalogClient:  # noqa: ARG001
        transport = CloudCatalogGrpcTransport(
            host=f"127.0.0.1:{port}",
            credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
            ssl_channel_credentials=grpc.local_channel_credentials(),
        )
        return CloudCatalogClient(transport=transport)

    return GcpPrices(always, 86400.0, GcpCatalogue(NAME, make_client=client))


def wants() -> frozenset[Want]:
    """All types in five regions."""
    return frozenset(Want(NAME, region, name) for region in REGIONS[:5] for name in TYPES)


@dataclass(frozen=True)
class Reading:
    seconds: float
    cpu_seconds: float
    prices: int
    longest_wait: float


def read_once(gcp: GcpPrices, now: float) -> Reading:
    waits, done = [0.0], threading.Event()
    watcher = threading.Thread(target=_stalls, args=(waits, done))
    watcher.start()
    began, cpu = time.perf_counter(), time.process_time()
    catalogue = gcp.fetch(PriceRequests(wants()), now)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    done.set()
    watcher.join()
    assert not catalogue.problems, catalogue.problems[:3]
    priced = {(price.key.region, price.key.instance_type) for price in catalogue.prices}
    assert len(priced) == len(wants()), f"{len(priced)} of {len(wants())} types have a price"
    return Reading(seconds, cpu, len(catalogue.prices), waits[0])


def read(port: int) -> bool:
    """Fetch from the catalogue at ``port`` and print the figures; whether every goal was met."""
    before = resident_mib("VmRSS")
    gcp = source(port)
    readings = [read_once(gcp, now) for now in (0.0, 1e6)]  # the second: what a poller that runs for days does
    began = time.perf_counter()
    gcp.fetch(PriceRequests(wants()), 1e6 + 1)
    again = time.perf_counter() - began
    peak, after = resident_mib("VmHWM"), resident_mib("VmRSS")
    for name, it in zip(("first reading", "second reading"), readings, strict=True):
        print(
            f"{name:34}{it.seconds:9.2f} s, {it.cpu_seconds:.2f} s of CPU, {it.prices} prices (goal {GOAL_SECONDS:g} s)"
        )
        print(f"{'  longest that a thread waited':34}{it.longest_wait * 1e3:9.1f} ms")
    print(f"{'other types requested soon after':34}{again * 1e3:9.2f} ms")
    print(f"{'memory of the process before':34}{before:9.1f} MiB (Python, the client library)")
    print(f"{'at most':34}{peak:9.1f} MiB (goal {GOAL_MIB:g} MiB)")
    print(f"{'afterwards':34}{after:9.1f} MiB")
    gcp.catalogue.forget()
    return max(it.seconds for it in readings) <= GOAL_SECONDS and peak <= GOAL_MIB


def _stalls(longest: list[float], done: threading.Event) -> None:
    """How much later than it should a thread wakes up: what a scrape would feel."""
    while not done.is_set():
        began = time.perf_counter()
        time.sleep(0.001)
        longest[0] = max(longest[0], time.perf_counter() - began - 0.001)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=["serve"], help=argparse.SUPPRESS)
    if parser.parse_args().what:
        serve()
        return 0
    cores = os.cpu_count()
    print(
        f"Python {platform.python_version()}, {cores} CPUs; {SKUS} synthetic SKUs over gRPC on loopback, not Google's"
    )
    with subprocess.Popen([sys.executable, __file__, "serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        met = read(int(server.stdout.readline()))
        server.stdin.close()
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
