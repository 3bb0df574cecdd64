"""A public EC2 price list as AWS publishes it, and a server for it. Everything in it is simulated."""

from __future__ import annotations

import csv
import io
import threading
from collections.abc import Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COLUMNS = (  # noqa: SIM905 - as AWS writes its header
    "SKU,OfferTermCode,RateCode,TermType,PriceDescription,EffectiveDate,StartingRange,EndingRange,Unit,"
    "PricePerUnit,Currency,RelatedTo,LeaseContractLength,PurchaseOption,OfferingClass,Product Family,"
    "serviceCode,Location,Location Type,Instance Type,Current Generation,Instance Family,vCPU,"
    "Physical Processor,Clock Speed,Memory,Storage,Tenancy,Operating System,License Model,usageType,operation,"
    "CapacityStatus,GPU,GPU Memory,MarketOption,Pre Installed S/W,Region Code,serviceName"
).split(",")
PREAMBLE = (
    '"FormatVersion","v1.0"\n"Disclaimer","simulated"\n"Publication Date","2026-11-20T00:00:00Z"\n'
    '"Version","20261120000000"\n"OfferCode","AmazonEC2"\n'
)
LINUX = {
    "TermType": "OnDemand",
    "EffectiveDate": "2026-11-01",
    "StartingRange": "0",
    "EndingRange": "Inf",
    "Unit": "Hrs",
    "Currency": "USD",
    "Product Family": "Compute Instance",
    "serviceCode": "AmazonEC2",
    "Location Type": "AWS Region",
    "Tenancy": "Shared",
    "Operating System": "Linux",
    "License Model": "No License required",
    "operation": "RunInstances",
    "CapacityStatus": "Used",
    "MarketOption": "OnDemand",
    "Pre Installed S/W": "NA",
    "Region Code": "us-east-1",
    "Instance Type": "p4d.24xlarge",
    "vCPU": "96",
    "Memory": "1152 GiB",
    "GPU": "8",
    "GPU Memory": "NA",
}


def line(usd: str, sku: str = "H7NG", *, columns: Iterable[str] = COLUMNS, **changes: str) -> str:
    """One row; ``changes`` replace values of a Linux on-demand row, by column."""
    values = {**LINUX, "SKU": sku, "PricePerUnit": usd, **changes}
    return _csv([values.get(column, "") for column in columns])


def header(columns: Iterable[str] = COLUMNS) -> str:
    return PREAMBLE + _csv(list(columns))


def _csv(cells: list[str]) -> str:
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n").writerow(cells)
    return out.getvalue()


def big(rows: int, instance_type: str, usd: str) -> Iterator[bytes]:
    """A list of ``rows`` rows of other machines and terms in blocks, with the wanted one in the middle."""
    yield header().encode()
    other = line("0.5", "OTHER", **{"Instance Type": "m7i.large", "PriceDescription": "x" * 200})
    reserved = line("0.5", "RES", **{"Instance Type": instance_type, "TermType": "Reserved"})
    block = (other * 3 + reserved).encode()
    for number in range(rows // 4):
        yield block
        if number == rows // 8:
            yield line(usd, "WANTED", **{"Instance Type": instance_type}).encode()


class PriceListServer:
    """Serves one list for every region; ``status``, ``truncated`` and ``paths`` as a test sets them."""

    def __init__(self, body: Callable[[], Iterable[bytes]]) -> None:
        self.body = body
        self.status = 200
        self.truncated = False
        self.length: int | None = None
        self.paths: list[str] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.paths.append(self.path)
                blocks = server.body() if server.length is not None else [b"".join(server.body())]
                if server.length is None:
                    blocks = list(blocks)
                length = server.length if server.length is not None else sum(map(len, blocks))
                self.send_response(server.status)
                self.send_header("Content-Length", str(length + (1000 if server.truncated else 0)))
                self.end_headers()
                for block in blocks:
                    self.wfile.write(block)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
                """Print nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
