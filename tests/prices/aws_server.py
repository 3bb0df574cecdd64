"""A local HTTP server that behaves like the AWS Price List API and EC2, for the real boto3.

(moto has no pricing service, and its spot history is a constant.) Everything it serves is simulated.
Point boto3 at it with ``AWS_ENDPOINT_URL_PRICING`` and ``AWS_ENDPOINT_URL_EC2``::

    server = AwsPriceServer([product("p2.xlarge", "us-east-1", 0.90)], [spot("p2.xlarge", "us-east-1a", 0.28, ts)])
    url = server.start()
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

NAMESPACE = "http://ec2.amazonaws.com/doc/2016-11-15/"
Row = dict[str, Any]


def product(
    instance_type: str, region: str, usd: float | str, unit: str = "Hrs", currency: str = "USD", **attributes: str
) -> Row:
    """One row of the price list; ``attributes`` replace those of a Linux on-demand row."""
    sku = f"SKU{abs(hash((instance_type, region, str(usd), currency, tuple(sorted(attributes.items())))))}"
    common = {
        "instanceType": instance_type,
        "regionCode": region,
        "locationType": "AWS Region",
        "operatingSystem": "Linux",
        "tenancy": "Shared",
        "preInstalledSw": "NA",
        "licenseModel": "No License required",
        "capacitystatus": "Used",
        "marketoption": "OnDemand",
        "operation": "RunInstances",
        "usagetype": f"BoxUsage:{instance_type}",
    }
    term = f"{sku}.JRTCKXETXF"
    dimension = {"unit": unit, "beginRange": "0", "endRange": "Inf", "pricePerUnit": {currency: f"{usd}"}}
    return {
        "product": {"productFamily": "Compute Instance", "sku": sku, "attributes": {**common, **attributes}},
        "serviceCode": "AmazonEC2",
        "terms": {"OnDemand": {term: {"sku": sku, "priceDimensions": {f"{term}.6YS6EN2CT7": dimension}}}},
    }


def capacity_block_twin(instance_type: str, region: str) -> Row:
    """The $0.00 row that AWS has beside the on-demand row of a GPU type."""
    return product(instance_type, region, "0.0000000000", marketoption="CapacityBlock", operation="RunInstances:CB")


def windows_twin(instance_type: str, region: str, usd: float) -> Row:
    return product(instance_type, region, usd, operatingSystem="Windows", operation="RunInstances:0002")


def spot(instance_type: str, zone: str, usd: float | str, ts: float, description: str = "Linux/UNIX") -> Row:
    return {"instanceType": instance_type, "zone": zone, "usd": usd, "ts": ts, "description": description}


def zone_id(zone: str) -> str:
    """Of this simulated account: us-east-1a is use1-az2, and so on."""
    return f"{zone[:2]}{zone[3]}{zone[-2]}-az{'abcdef'.index(zone[-1]) + 2}"


@dataclass(frozen=True)
class TypeFacts:
    """One entry of DescribeInstanceTypes."""

    instance_type: str
    vcpus: int
    memory_mib: int
    gpu_name: str = ""
    gpus: int = 0
    gpu_memory_mib: int = 0
    partition: float | None = None
    neuron: bool = False
    """Its accelerators are Trainium or Inferentia chips."""


@dataclass(frozen=True)
class Fault:
    """The response to ``operation`` instead of the true one; with ``times`` None, forever."""

    operation: str
    status: int
    body: str
    content_type: str = "application/x-amz-json-1.1"
    times: int | None = 1
    truncated: bool = False
    """Promise a longer body and close the connection."""


def pricing_error(code: str, message: str, status: int = 400, times: int | None = 1) -> Fault:
    return Fault("GetProducts", status, json.dumps({"__type": code, "message": message}), times=times)


def ec2_error(operation: str, code: str, message: str, status: int = 400, times: int | None = 1) -> Fault:
    error = f"<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
    body = f"<?xml version='1.0'?><Response><Errors>{error}</Errors><RequestID>r</RequestID></Response>"
    return Fault(operation, status, body, "text/xml", times)


@dataclass
class ReceivedRequest:
    """A request of boto3 as it arrived."""

    operation: str
    region: str
    arguments: Mapping[str, object]
    headers: Mapping[str, str]


@dataclass
class AwsPriceServer:
    """Serves ``products``, ``spot_history`` and ``types``; all may be replaced while it runs.

    ``page_size`` rows a page; ``filters`` False answers with every product and type, whatever was asked; ``faults``
    come first. ``hold`` blocks every answer while it is cleared.
    """

    products: Sequence[Row] = ()
    spot_history: Sequence[Row] = ()
    types: Sequence[TypeFacts] = ()
    page_size: int = 100
    filters: bool = True
    faults: list[Fault] = field(default_factory=list)
    requests: list[ReceivedRequest] = field(default_factory=list)
    hold: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.hold.set()
        self._lock = threading.Lock()

    def start(self) -> str:
        """Start to serve on a port of 127.0.0.1; the URL for both endpoint variables."""
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = False
        self._http.block_on_close = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def stop(self) -> None:
        self.hold.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def environment(self, url: str) -> dict[str, str]:
        """Variables that direct a process's boto3 to this server; the credentials are made up."""
        return {
            "AWS_ENDPOINT_URL_PRICING": url,
            "AWS_ENDPOINT_URL_EC2": url,
            "AWS_ACCESS_KEY_ID": "AKIATESTTESTTESTTEST",
            "AWS_SECRET_ACCESS_KEY": "secret-key-of-the-test",
            "AWS_SESSION_TOKEN": "session-token-of-the-test",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        }

    def count(self, operation: str) -> int:
        return sum(request.operation == operation for request in self.requests)

    def respond(self, request: ReceivedRequest) -> Fault:
        """The response to write; records the request."""
        self.requests.append(request)
        fault = self._fault(request.operation)
        if fault is not None:
            return fault
        if request.operation == "GetProducts":
            return Fault("", 200, json.dumps(self._get_products(request.arguments)))
        if request.operation == "DescribeSpotPriceHistory":
            return Fault("", 200, self._describe_spot(request), "text/xml;charset=UTF-8")
        if request.operation == "DescribeInstanceTypes":
            return Fault("", 200, self._describe_types(request.arguments), "text/xml;charset=UTF-8")
        return Fault("", 400, f"unknown operation {request.operation}", "text/plain")

    def _fault(self, operation: str) -> Fault | None:
        with self._lock:
            for index, fault in enumerate(self.faults):
                if fault.operation == operation:
                    if fault.times is not None:
                        remaining = replace(fault, times=fault.times - 1)
                        self.faults[index : index + 1] = [remaining] if remaining.times else []
                    return fault
        return None

    def _get_products(self, arguments: Mapping[str, object]) -> dict[str, Any]:
        filters = {each["Field"]: each["Value"] for each in arguments["Filters"]}  # type: ignore[attr-defined, index]
        rows = [row for row in self.products if not self.filters or _matches(row, filters)]
        page, token = self._page(rows, arguments.get("NextToken"))
        response: dict[str, Any] = {"FormatVersion": "aws_v1", "PriceList": [json.dumps(row) for row in page]}
        return {**response, "NextToken": token} if token else response

    def _describe_spot(self, request: ReceivedRequest) -> str:
        arguments = request.arguments
        start, end = (_moment(str(arguments[name])) for name in ("StartTime", "EndTime"))
        rows = [
            row
            for row in self.spot_history
            if str(row["zone"]).startswith(request.region)
            and (not self.filters or row["instanceType"] in arguments["Filter"])  # type: ignore[operator]
            and float(row["ts"]) <= end  # type: ignore[arg-type]
            and float(row["ts"]) >= self._in_effect_at(row, start)  # type: ignore[arg-type]
        ]
        page, token = self._page(rows, arguments.get("NextToken"))
        items = "".join(
            f"<item><instanceType>{row['instanceType']}</instanceType>"
            f"<productDescription>{row['description']}</productDescription><spotPrice>{row['usd']}</spotPrice>"
            f"<timestamp>{_iso(float(row['ts']))}</timestamp>"  # type: ignore[arg-type]
            f"<availabilityZone>{row['zone']}</availabilityZone>"
            f"<availabilityZoneId>{zone_id(str(row['zone']))}</availabilityZoneId></item>"
            for row in page
        )
        return _document("DescribeSpotPriceHistory", f"<spotPriceHistorySet>{items}</spotPriceHistorySet>", token)

    def _in_effect_at(self, row: Row, start: float) -> float:
        """EC2 returns the last change before the start too, per type, zone and description."""
        pool = ("instanceType", "zone", "description")
        same = [r for r in self.spot_history if all(r[name] == row[name] for name in pool)]
        before = [float(r["ts"]) for r in same if float(r["ts"]) <= start]  # type: ignore[arg-type]
        return max(before, default=start)

    def _describe_types(self, arguments: Mapping[str, object]) -> str:
        rows = [facts for facts in self.types if facts.instance_type in arguments["Filter"]]  # type: ignore[operator]
        page, token = self._page(rows, arguments.get("NextToken"))
        items = "".join(f"<item>{_facts_xml(facts)}</item>" for facts in page)
        return _document("DescribeInstanceTypes", f"<instanceTypeSet>{items}</instanceTypeSet>", token)

    def _page(self, rows: Sequence, token: object) -> tuple[Sequence, str]:
        first = int(str(token or 0))
        last = first + self.page_size
        return rows[first:last], str(last) if last < len(rows) else ""


def _matches(row: Row, filters: Mapping[str, str]) -> bool:
    attributes = row["product"]["attributes"]  # type: ignore[index]
    return all(attributes.get(name) == value for name, value in filters.items())


def _facts_xml(facts: TypeFacts) -> str:
    text = (
        f"<instanceType>{facts.instance_type}</instanceType>"
        f"<vCpuInfo><defaultVCpus>{facts.vcpus}</defaultVCpus></vCpuInfo>"
        f"<memoryInfo><sizeInMiB>{facts.memory_mib}</sizeInMiB></memoryInfo>"
    )
    if not facts.gpus:
        return text
    if facts.neuron:
        return (
            f"{text}<neuronInfo><neuronDevices><item><count>{facts.gpus}</count><name>{facts.gpu_name}</name>"
            f"<memoryInfo><sizeInMiB>{facts.gpu_memory_mib}</sizeInMiB></memoryInfo></item></neuronDevices></neuronInfo>"
        )
    partition = "" if facts.partition is None else f"<gpuPartitionSize>{facts.partition}</gpuPartitionSize>"
    return (
        f"{text}<gpuInfo><gpus><item><name>{facts.gpu_name}</name><manufacturer>NVIDIA</manufacturer>"
        f"<count>{facts.gpus}</count>{partition}<memoryInfo><sizeInMiB>{facts.gpu_memory_mib}</sizeInMiB></memoryInfo>"
        "</item></gpus></gpuInfo>"
    )


def _document(operation: str, content: str, token: str) -> str:
    """EC2 writes an empty token after the last page, rather than none."""
    name = f"{operation}Response"
    next_token = f"<nextToken>{token}</nextToken>"
    return f'<?xml version="1.0"?><{name} xmlns="{NAMESPACE}"><requestId>r</requestId>{content}{next_token}</{name}>'


def _moment(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def _iso(ts: float) -> str:
    return datetime.fromtimestamp(ts, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _handler(server: AwsPriceServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            server.hold.wait(30)
            response = server.respond(_received(dict(self.headers), body))
            raw = response.body.encode()
            length = len(raw) + (100 if response.truncated else 0)
            head = f"HTTP/1.0 {response.status} x\r\nContent-Type: {response.content_type}\r\nContent-Length: {length}"
            self.wfile.write(f"{head}\r\n\r\n".encode() + raw)

        def log_message(self, *_: object) -> None:
            return

    return Handler


def _received(headers: Mapping[str, str], body: str) -> ReceivedRequest:
    scope = re.search(r"Credential=[^/]+/\d+/([^/]+)/", headers.get("Authorization", ""))
    region = scope[1] if scope else ""
    target = headers.get("X-Amz-Target", "")
    if target:
        return ReceivedRequest(target.rpartition(".")[2], region, json.loads(body), headers)
    form = {name: values[0] for name, values in parse_qs(body).items()}
    filtered = [value for name, value in form.items() if name.startswith("Filter.1.Value.")]
    return ReceivedRequest(form["Action"], region, {**form, "Filter": filtered}, headers)
