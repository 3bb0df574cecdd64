"""A local Cloud Billing catalogue for the real client: gRPC, or REST, on a port of the system's choice.

Rows have the form in which the REST API gives them. The format is the recorded one, rates are published ones where a
test says so; everything else is simulated.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import grpc
from google.api_core.client_options import ClientOptions
from google.auth import api_key as api_keys
from google.auth.credentials import AnonymousCredentials
from google.cloud.billing_v1 import CloudCatalogClient, ListSkusRequest, ListSkusResponse, Sku
from google.cloud.billing_v1.services.cloud_catalog.transports import CloudCatalogGrpcTransport
from google.protobuf import json_format

COMPUTE, CLOUD_TPU, VERTEX = "6F81-5844-456A", "E000-3F24-B8AA", "C7E2-9256-1C43"
FIXTURES = Path(__file__).parent / "fixtures"
Row = dict[str, Any]


def fixture(name: str) -> list[Row]:
    """The SKUs of one recorded page."""
    return json.loads((FIXTURES / name).read_text(encoding="utf-8"))["skus"]


def recorded() -> dict[str, list[Row]]:
    """Every service's recorded SKUs."""
    return {
        COMPUTE: fixture("gcp_compute_engine.json"),
        CLOUD_TPU: fixture("gcp_cloud_tpu.json"),
        VERTEX: fixture("gcp_vertex_ai.json"),
    }


def money(usd: float, currency: str = "USD") -> Row:
    """As the API writes it: whole units as text, and left out where there are none."""
    units = int(usd)
    amount = {"units": str(units)} if units else {}
    return {"currencyCode": currency, **amount, "nanos": round((usd - units) * 1e9)}


def sku(
    description: str,
    usd: float | Sequence[float],
    *regions: str,
    usage: str = "OnDemand",
    unit: str = "",
    currency: str = "USD",
    sku_id: str = "",
) -> Row:
    """One SKU; several ``usd`` are its tiers, the unit follows from the text where it is not given."""
    text = description.lower()
    guessed = "GiBy.h" if " ram " in f"{text} " else "GiBy.mo" if "storage" in text else "h"
    rates = [usd] if isinstance(usd, (int, float)) else usd
    tiers = [{"startUsageAmount": i * 720, "unitPrice": money(rate, currency)} for i, rate in enumerate(rates)]
    identity = sku_id or f"{abs(hash((description, usage, regions))) % 16**12:012X}"
    return {
        "name": f"services/x/skus/{identity}",
        "skuId": identity,
        "description": description,
        "category": {"serviceDisplayName": "x", "resourceFamily": "Compute", "usageType": usage},
        "serviceRegions": list(regions or ("us-central1",)),
        "pricingInfo": [{"pricingExpression": {"usageUnit": unit or guessed, "tieredRates": tiers}}],
        "serviceProviderName": "Google",
    }


@dataclass(frozen=True)
class Fault:
    """The response instead of a page; with ``times`` None, forever; from ``page`` (0 is the first) on."""

    code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE
    message: str = "try again"
    times: int | None = 1
    service: str = ""
    page: int = 0
    hang_seconds: float = 0.0
    garbage: bool = False


@dataclass
class GcpServer:
    """Serves ``skus`` by service id; everything may be replaced while it runs."""

    skus: Mapping[str, Sequence[Row]] = field(default_factory=recorded)
    page_size: int = 7
    faults: list[Fault] = field(default_factory=list)
    circle: bool = False
    requests: list[ListSkusRequest] = field(default_factory=list)
    api_keys: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stopping: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        self._server = grpc.server(ThreadPoolExecutor(4), options=(("grpc.so_reuseport", 0),))
        method = grpc.unary_unary_rpc_method_handler(self._list_skus, ListSkusRequest.deserialize, bytes)
        service = "google.cloud.billing.v1.CloudCatalog"
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"ListSkus": method}),))
        port = self._server.add_secure_port("127.0.0.1:0", grpc.local_server_credentials())
        self.address = f"127.0.0.1:{port}"
        self._server.start()

    def stop(self) -> None:
        self._stopping.set()
        self._server.stop(None).wait()

    def client(self, key: str) -> CloudCatalogClient:
        """The real client over a local channel that carries credentials, as TLS would."""
        transport = CloudCatalogGrpcTransport(
            host=self.address,
            credentials=api_keys.Credentials(key) if key else AnonymousCredentials(),
            ssl_channel_credentials=grpc.local_channel_credentials(),
        )
        return CloudCatalogClient(transport=transport)

    def requested_services(self) -> list[str]:
        """Which services were read, in order, each first page once."""
        return [request.parent.removeprefix("services/") for request in self.requests if not request.page_token]

    def _list_skus(self, request: ListSkusRequest, context: grpc.ServicerContext) -> bytes:
        self.requests.append(request)
        self.api_keys += [str(value) for name, value in context.invocation_metadata() if name == "x-goog-api-key"]
        service = request.parent.removeprefix("services/")
        fault = self._fault(service, int(request.page_token or 0) // self.page_size)
        if fault is not None:
            self._stopping.wait(fault.hang_seconds)
            if fault.garbage:
                return b"\xff\xff\xff\xff\xff"
            context.abort(fault.code, fault.message)
        return ListSkusResponse.serialize(self._page(service, int(request.page_token or 0)))

    def _fault(self, service: str, page: int) -> Fault | None:
        with self._lock:
            for index, fault in enumerate(self.faults):
                if fault.service in ("", service) and page >= fault.page:
                    if fault.times is not None:
                        remaining = replace(fault, times=fault.times - 1)
                        self.faults[index : index + 1] = [remaining] if remaining.times else []
                    return fault
        return None

    def _page(self, service: str, first: int) -> ListSkusResponse:
        rows = self.skus.get(service, ())
        last = first + self.page_size
        response = ListSkusResponse(skus=[parsed(row) for row in rows[first:last]])
        response.next_page_token = str(last) if last < len(rows) else "0" if self.circle else ""
        return response


def parsed(row: Row) -> Sku:
    """A row as the message that the client gets."""
    return Sku.wrap(json_format.ParseDict(row, Sku.pb(Sku()), ignore_unknown_fields=True))


class GcpRestServer:
    """The same catalogue over HTTP and JSON, byte for byte as rows are written."""

    def __init__(self, skus: Mapping[str, Sequence[Row]]) -> None:
        self.api_keys: list[str] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.api_keys.append(self.headers.get("x-goog-api-key", ""))
                url = urlsplit(self.path)
                rows = skus[url.path.split("/")[3]]
                first = int(parse_qs(url.query).get("pageToken", ["0"])[0] or 0)
                more = {"nextPageToken": str(first + 5)} if first + 5 < len(rows) else {}
                body = json.dumps({"skus": rows[first : first + 5], "newField": time.time(), **more}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json; charset=UTF-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
                """Print nothing."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Its URL."""
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def client(self, key: str) -> CloudCatalogClient:
        """The real client over REST."""
        credentials = None if key else AnonymousCredentials()
        options = ClientOptions(api_key=key or None, api_endpoint=self.url)
        return CloudCatalogClient(transport="rest", credentials=credentials, client_options=options)

    def stop(self) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()
