"""Every reader of external data, as a function of bytes: it may reject them with its own error, and nothing else."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.fuzz.guard_readers import GUARD_READERS
from tests.fuzz.machine_readers import MACHINE_READERS
from tests.fuzz.price_readers import PRICE_READERS
from tests.fuzz.reader import Reader

from epochcost.agent.agent_state_file import StateFile
from epochcost.gpus.dcgm.dcgm_rows import ExpositionError, parse_exposition
from epochcost.http_client import Bounds, ExchangeError
from epochcost.http_client.bounded_reads import BoundedReads
from epochcost.http_client.http_exchange import HTTPResponse, Stream, _faults  # type: ignore[attr-defined]
from epochcost.http_client.http_request import InvalidRequestError, target_of  # type: ignore[attr-defined]
from epochcost.model import Node, PurchaseOption
from epochcost.owners.cgroup import workload_of
from epochcost.owners.slurm import SlurmAllocations
from epochcost.prices import remote
from epochcost.prices.price_state_file import StateFileError
from epochcost.prices.price_state_file import read as read_prices
from epochcost.progress.event_files import EventFiles, without_content
from epochcost.progress.line_splitter import cut
from epochcost.progress.parse import Rejected, parse_line
from epochcost.progress.reading_settings import EventDirectories
from epochcost.progress.run_owners import RunOwners
from epochcost.serve.addressed import is_ours, urlsplit_host
from epochcost.serve.credentials import _parse
from epochcost.serve.messages import BadRequestError, accepts_gzip, parse_head
from epochcost.shown_text import clean_name, csv_text, is_name
from epochcost.store.promql_client import Prometheus
from epochcost.store.store_error import StoreError
from epochcost.training import bounded_post
from epochcost.training.cost import _amounts

FOLDER = Path(tempfile.mkdtemp(prefix="epochcost-fuzz-"))
NODE = Node("n", "aws", "r", "z", "p4d", PurchaseOption.SPOT)


class Wire:
    """A socket that has received these bytes, and then the end."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)

    def settimeout(self, _: float) -> None:
        """Timeouts do not matter: there is no waiting."""

    def recv_into(self, buffer: Any) -> int:
        """The next bytes."""
        count = min(len(buffer), len(self._data))
        buffer[:count], self._data = self._data[:count], self._data[count:]
        return count

    def recv(self, count: int) -> bytes:
        """The next bytes."""
        piece, self._data = bytes(self._data[:count]), self._data[count:]
        return piece


def _line(data: bytes) -> None:
    line = parse_line(data)
    if isinstance(line, Rejected):
        assert without_content(line.reason).isprintable()
    else:
        assert line.run.isprintable()
        assert "/" not in line.run
        assert "~" not in line.run


def _split(data: bytes) -> None:
    piece = cut(data, skipping=bool(len(data) % 2))
    assert 0 <= piece.consumed <= len(data)


def _ingest_response(data: bytes) -> None:
    with _faults():
        reads = BoundedReads(Wire(data), Bounds.within(60.0, 4096))  # type: ignore[arg-type]
        response = HTTPResponse(reads)  # type: ignore[arg-type]
        try:
            response.begin()
            reads.begin_body()
            assert len(Stream(response, reads, 4096).body()) <= 4096
        finally:
            response.close()


def _post(data: bytes) -> None:
    status, body = bounded_post._answer(Wire(data), 1e18)  # type: ignore[arg-type]
    assert 200 <= status < 600
    assert len(body) <= bounded_post.MAX_BODY_BYTES


def _prices(data: bytes) -> None:
    path = FOLDER / "prices.json"
    path.write_bytes(data)
    read_prices(path)


def _slurm(data: bytes) -> None:
    for line in data.decode("utf-8", "replace").splitlines():
        owner = SlurmAllocations(FOLDER)._job("GPU-a", "0", 1, line)
        assert owner is None or f"{owner.owner}{owner.user}".isprintable()


def _state(data: bytes) -> None:
    EventFiles(EventDirectories(FOLDER)).restore(json.loads(data))


def _owners(data: bytes) -> None:
    document = json.loads(data)
    if isinstance(document, dict):
        RunOwners().restore(document)


def _agent_state(data: bytes) -> None:
    state_file = StateFile(FOLDER / "state")
    try:
        state_file.path.write_bytes(data)
        state_file.load()
        for aside in state_file.path.parent.glob("*.bad-*"):
            aside.unlink()
    finally:
        state_file.close()


def _remote(data: bytes) -> None:
    price = remote._parse(json.loads(data), NODE, PurchaseOption.SPOT).price
    assert price is None or all(map(is_name, (price.source, price.key.region, price.key.zone, price.key.reservation)))


def _store(data: bytes) -> None:
    store = Prometheus("http://store")
    for series in store._result(data, "up"):
        from epochcost.store import promql_client

        parsed = promql_client._series(series, "http://store")
        assert all(map(is_name, (*parsed.labels, *parsed.labels.values())))


def _figures(data: bytes) -> None:
    document = json.loads(data)
    if isinstance(document, dict):
        assert all(0 <= value < 1e15 for value in _amounts(document).values())


def _url(data: bytes) -> None:
    target = target_of(data.decode("latin-1"))
    assert target.scheme in ("http", "https")
    assert target.path.isascii()
    urlsplit(f"{target.scheme}://{target.authority}{target.path}")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _names(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    assert is_name(clean_name(text))
    out = csv_text(["a"], [{"a": text}])
    assert all(char.isprintable() or char == "\n" for char in out)
    is_ours(text)
    urlsplit_host(text)
    accepts_gzip(text)
    _parse(f"Basic {text}")


GOOD_EVENT = (
    b'{"v":1,"ev":"progress","ts":1700000000.1,"mono":81.2,"run":"my-run","epoch":3.25,"step":812,'
    b'"gpus":["0",1],"lock":true}'
)
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"
GOOD_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: b\r\n\r\n{}"
CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\n{}\r\n0\r\nT: u\r\n\r\n"
GOOD_STATE = (
    b'{"v":1,"files":[[1,"a.jsonl","a.jsonl",0,-1,0,0,false,"open","r",false,null,null,true,0.0,1001],'
    b'[2,"b.jsonl","b.jsonl",9,9,9,1,false,"ended","r",true,7,8,true,5.0,1002,"/run/users/ann"]],'
    b'"network":{"v":1,"files":[[3,"c.jsonl","c.jsonl",0,-1,0,0,false,"open","r",false,null,null,true,0.0,-1]]}}'
)
GOOD_DCGM = (
    b'DCGM_FI_DEV_GPU_UTIL{gpu="0",UUID="GPU-a",modelName="H100 \\n"} 55\n'
    b'DCGM_FI_DEV_POWER_USAGE{gpu="0",UUID="GPU-a"} 7.5e1\n'
)
GOOD_STORE = (
    b'{"status":"success","data":{"result":[{"metric":{"run":"a"},"values":[[1,"2"],[3,"NaN"]]}]},"warnings":["w"]}'
)
GOOD_PRICE = (
    b'{"v":1,"provider":"aws","region":"r","zone":"z","instance_type":"p4d","purchase_option":"spot","source":"aws",'
    b'"fetched_ts":1.0,"on_demand_usd_per_hour":32.7,"steps":[{"ts":null,"usd_per_hour":1.5}]}'
)
GOOD_TERMS = (
    b'{"v":1,"provider":"kaggle","region":"","zone":"","instance_type":"p4d","purchase_option":"spot","source":"free",'
    b'"fetched_ts":1.0,"usd_per_hour":null,"on_demand_usd_per_hour":null,"steps":[],"parts":[],'
    b'"extras":[{"name":"disk","usd_per_hour":0.1,"charged":true,"now":true}],'
    b'"limits":[{"name":"k","session_seconds":43200,"free_seconds":3600,"period":"week","since_ts":null}],'
    b'"credits":[{"name":"c","usd":10,"as_of_ts":1.0,"spend_usd_per_hour":2,"until_ts":null}]}'
)
GOOD_PRICES = b'{"v":1,"sources":{"aws":{"confirmed_ts":1.0,"prices":[],"facts":[],"rows":1,"zones":[]}}}'
WRONG = (ValueError, TypeError, KeyError, AttributeError, RecursionError)
"""What the callers of a parser of documents take for a document that is none."""

READERS: Mapping[str, Reader] = {
    "event line": Reader(_line, (), (GOOD_EVENT, b'{"v":2}', b"[]")),
    "event lines": Reader(_split, (), (GOOD_EVENT + b"\n" + GOOD_EVENT,)),
    "state of event files": Reader(_state, (*WRONG,), (GOOD_STATE,)),
    "users of runs": Reader(_owners, (*WRONG,), (b'{"r":1001}',)),
    "state of the agent": Reader(_agent_state, (), (b'{"version":1,"meter":{}}',)),
    "slurm file": Reader(_slurm, (), (b"4711 ann\n88_3\n",)),
    "control group": Reader(
        lambda data: workload_of(data.decode("utf-8", "replace")), (), (b"0::/slurm/uid_1/job_5/step_0\n",)
    ),
    "dcgm exposition": Reader(
        lambda data: parse_exposition(data.decode("utf-8", "replace")), (ExpositionError,), (GOOD_DCGM,)
    ),
    "http answer": Reader(
        _ingest_response, (ExchangeError,), (GOOD_ANSWER, CHUNKS, b"HTTP/1.1 100 Continue\r\n\r\n" + GOOD_ANSWER)
    ),
    "answer to a training": Reader(_post, (OSError, bounded_post.NotAnAgentError), (GOOD_ANSWER, CHUNKS)),
    "request": Reader(
        parse_head,
        (BadRequestError,),
        (
            b"GET /a?b=c HTTP/1.1\r\nHost: localhost\r\nX: y",
            b"POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: 3",
        ),
    ),
    "price of a poller": Reader(_remote, WRONG, (GOOD_PRICE, GOOD_TERMS)),
    "kept prices": Reader(_prices, (StateFileError,), (GOOD_PRICES,)),
    "answer of a store": Reader(_store, (StoreError,), (GOOD_STORE,)),
    "dollars for a training": Reader(_figures, WRONG, (b'{"v":1,"cost_usd":1.5,"states":{"useful":2}}',)),
    "address": Reader(_url, (InvalidRequestError,), (b"http://a.example:80/b?c=d", b"https://[::1]:1/%2F")),
    "name": Reader(_names, (), (b"=cmd", "a\u202eb".encode(), b"localhost:80")),
    **GUARD_READERS,
    **MACHINE_READERS,
    **PRICE_READERS,
}
