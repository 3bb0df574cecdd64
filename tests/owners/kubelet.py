"""A kubelet's pod-resources service: a real gRPC server on a real Unix socket, with the published field numbers."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import grpc

from epochcost.owners.pod_resources import METHOD

CLAIMS = "claims"
"""Among a container's resources: ``DRIVER/DEVICE`` of each claim."""
Pod = tuple[str, str, dict[str, dict[str, list[str]]]]
"""Name, namespace, and for each container its device ids by resource name."""


def field(number: int, content: bytes | str) -> bytes:
    """A length-delimited field of the protobuf wire format, written here by hand so that it checks the reader's."""
    data = content.encode() if isinstance(content, str) else content
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def response_bytes(pods: list[Pod]) -> bytes:
    return b"".join(field(1, _pod(*pod)) for pod in pods)


def _pod(name: str, namespace: str, containers: dict[str, dict[str, list[str]]]) -> bytes:
    inside = b"".join(
        field(
            3,
            field(1, container)
            + b"".join(_devices(*d) for d in devices.items() if d[0] != CLAIMS)
            + field(4, b"\x08\x02")
            + b"".join(claimed(tuple(c.split("/"))) for c in devices.get(CLAIMS, [])),  # type: ignore[arg-type]
        )
        for container, devices in containers.items()
    )
    return field(1, name) + field(2, namespace) + inside


def claimed(*devices: tuple[str, str]) -> bytes:
    """A claim of dynamic resource allocation: its devices by driver and name, in a pool, with a CDI device."""
    resources = b"".join(
        field(
            4, field(1, field(1, f"k8s.{driver}/claim=u-{name}")) + field(2, driver) + field(3, "n1") + field(4, name)
        )
        for driver, name in devices
    )
    return field(5, field(2, "claim") + field(3, "team-a") + resources)


def _devices(resource: str, ids: list[str]) -> bytes:
    topology = field(3, field(1, b"\x08\x01"))  # a field that the reader does not know
    return field(2, field(1, resource) + b"".join(field(2, device) for device in ids) + topology)


class Kubelet(grpc.GenericRpcHandler):
    """The service's response; ``hang`` makes it never respond, ``raw`` makes it respond with nonsense."""

    def __init__(self) -> None:
        self.pods: list[Pod] = []
        self.raw: bytes | None = None
        self.denied = False
        self.hang = False
        self.done = Event()
        self.requests = 0

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        return grpc.unary_unary_rpc_method_handler(self._list) if details.method == METHOD else None

    def _list(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self.requests += 1
        assert request == b""
        if self.hang:
            self.done.wait(30)
        if self.denied:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "rejected by rate limit")
        return response_bytes(self.pods) if self.raw is None else self.raw

    @contextmanager
    def serving(self, socket: Path) -> Iterator[Path]:
        pool = ThreadPoolExecutor(2)
        server = grpc.server(pool, handlers=[self])
        assert server.add_insecure_port(f"unix:{socket}")
        server.start()
        try:
            yield socket
        finally:
            self.done.set()
            server.stop(None).wait(5)
            pool.shutdown()
