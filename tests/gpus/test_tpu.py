"""TPU chips by a real gRPC server that implements libtpu's published metrics service (no TPU was available)."""

from __future__ import annotations

import json
import struct
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from tests.waiting import wait_for

from epochcost.gpus.gpu_source import GpuError, NoDriverError
from epochcost.gpus.tpu.tpu_source import DUTY_CYCLE, MEMORY_TOTAL, MEMORY_USED, METHOD, TpuSource, plugged_in

RECORDINGS = json.loads((Path(__file__).parent / "recordings" / "tpu.json").read_text())
V5E, V3, V7X = ("0x0063", "0x0000"), ("0x0027", "0x004f"), ("0x0076", "0x0000")


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field(number: int, content: bytes) -> bytes:
    """A length-delimited field of the protobuf wire format, written by hand so that it checks the reader's."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def response_bytes(name: str, figures: dict[str, float]) -> bytes:
    metrics = b""
    for device, value in figures.items():
        is_per_chip = name != DUTY_CYCLE
        gauge = b"\x10" + varint(int(value)) if is_per_chip else b"\x09" + struct.pack("<d", value)
        attribute = field(1, b"device-id") + field(2, b"\x18" + varint(int(device)))
        metrics += field(3, field(1, attribute) + field(2, b"\x08\x01") + field(3, gauge))
    return field(1, field(1, name.encode()) + field(2, b"in words") + metrics)


class Libtpu(grpc.GenericRpcHandler):
    """The service: figures by metric and device, or an error, silence or nonsense instead."""

    def __init__(self) -> None:
        self.figures: dict[str, dict[str, float]] = RECORDINGS["v5e_busy"]
        self.errors: dict[str, grpc.StatusCode] = {}
        self.raw: bytes | None = None
        self.hang = False
        self.done = threading.Event()
        self.port = 0
        self._server: grpc.Server | None = None

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        return grpc.unary_unary_rpc_method_handler(self._get) if details.method == METHOD else None

    def _get(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        assert request[:1] == b"\x0a"
        assert request[1] == len(request) - 2
        name = request[2:].decode()
        if self.hang:
            self.done.wait(30)
        if name in self.errors:
            context.abort(self.errors[name], f"{name}: as the test says")
        return response_bytes(name, self.figures.get(name, {})) if self.raw is None else self.raw

    def start(self) -> None:
        self._pool = ThreadPoolExecutor(2)
        self._server = grpc.server(self._pool, handlers=[self])
        where = f"127.0.0.1:{self.port}"
        self.port = self._server.add_secure_port(where, grpc.local_server_credentials())
        assert self.port
        self._server.start()

    def stop(self) -> None:
        self.done.set()
        if self._server is not None:
            self._server.stop(None).wait(5)
            self._pool.shutdown()
            self._server = None


@pytest.fixture
def libtpu() -> Iterator[Libtpu]:
    libtpu = Libtpu()
    libtpu.start()
    yield libtpu
    libtpu.stop()


def bus(root: Path, kind: tuple[str, str], *addresses: str) -> Path:
    pci = root / "pci"
    cards = [(address, "0x1ae0", *kind) for address in addresses]
    for address, vendor, device, subsystem in [*cards, ("0000:00:1f.0", "0x8086", "0x0063", "0x0000")]:
        (pci / address).mkdir(parents=True)
        for name, value in (("vendor", vendor), ("device", device), ("subsystem_device", subsystem)):
            (pci / address / name).write_text(f"{value}\n")
    return pci


@pytest.fixture
def four(tmp_path: Path) -> Path:
    return bus(tmp_path, V5E, *(f"0000:00:0{n}.0" for n in range(4, 8)))


@pytest.fixture
def source(libtpu: Libtpu, four: Path) -> Iterator[TpuSource]:
    source = TpuSource(f"127.0.0.1:{libtpu.port}", four, patience_seconds=1.0)
    yield source
    source.close()


def test_four_v5e_chips_give_duty_cycle_and_memory(source: TpuSource):
    reading = source.read(3.0)
    assert reading.t == 3.0
    assert [(g.index, g.uuid, g.model) for g in reading.gpus[:2]] == [
        ("0", "tpu-0", "TPU v5e"),
        ("1", "tpu-1", "TPU v5e"),
    ]
    assert [g.utilization_ratio for g in reading.gpus] == [0.875, 0.91, 0.0, 0.1225]
    assert [g.memory_used_bytes for g in reading.gpus] == [12 << 30, 12 << 30, 0, 1 << 30]
    assert {g.memory_total_bytes for g in reading.gpus} == {17_062_789_120}


def test_a_chip_of_two_devices_has_the_memory_of_both_and_one_duty_cycle(libtpu: Libtpu, tmp_path: Path):
    libtpu.figures = RECORDINGS["v3_busy"]
    source = TpuSource(f"127.0.0.1:{libtpu.port}", bus(tmp_path, V3, *(f"0000:00:0{n}.0" for n in range(4))))
    gpus = source.read(0.0).gpus
    source.close()
    assert [g.utilization_ratio for g in gpus] == [0.5, 0.6, 0.7, 0.8]
    assert [(g.memory_used_bytes, g.memory_total_bytes) for g in gpus] == [(3, 200), (7, 200), (11, 200), (15, 200)]


def test_a_duty_cycle_per_device_is_averaged_over_a_chips_devices(libtpu: Libtpu, tmp_path: Path):
    libtpu.figures = {DUTY_CYCLE: {"0": 100, "1": 50, "2": 0, "3": 0}}
    pci = bus(tmp_path, V7X, "0000:00:04.0", "0000:00:04.1", "0000:00:05.0", "0000:00:05.1")
    assert [chip.name for chip in plugged_in(pci)] == ["TPU7x", "TPU7x"]
    source = TpuSource(f"127.0.0.1:{libtpu.port}", pci)
    gpus = source.read(0.0).gpus
    source.close()
    assert [(g.utilization_ratio, g.memory_used_bytes) for g in gpus] == [(0.75, None), (0.0, None)]


def test_in_a_multi_host_slice_numbers_continue_and_this_machines_chips_are_placed_by_number(
    libtpu: Libtpu, source: TpuSource
):
    libtpu.figures = {DUTY_CYCLE: {"8": 10, "9": 20, "10": 30, "11": 40}}
    assert [g.utilization_ratio for g in source.read(0.0).gpus] == [0.1, 0.2, 0.3, 0.4]
    libtpu.figures = {DUTY_CYCLE: {"2": 30}}
    assert [g.utilization_ratio for g in source.read(1.0).gpus] == [None, None, 0.3, None]
    libtpu.figures = {DUTY_CYCLE: {"9": 30}}
    assert [g.utilization_ratio for g in source.read(2.0).gpus] == [None] * 4


def test_while_no_process_uses_the_tpu_its_chips_have_no_figures(libtpu: Libtpu, source: TpuSource):
    libtpu.stop()
    gpus = source.read(0.0).gpus
    assert [(g.readable, g.utilization_ratio, g.memory_total_bytes) for g in gpus] == [(True, None, None)] * 4
    libtpu.done.clear()
    libtpu.start()
    wait_for(lambda: source.read(1.0).gpus[0].utilization_ratio == 0.875, what="libtpu again")


@pytest.mark.parametrize("code", [grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.NOT_FOUND])
@pytest.mark.parametrize("metric", [DUTY_CYCLE, MEMORY_USED, MEMORY_TOTAL])
def test_only_the_metric_that_this_libtpu_lacks_is_left_out(
    libtpu: Libtpu, source: TpuSource, metric: str, code: grpc.StatusCode
):
    libtpu.errors[metric] = code
    gpu = source.read(0.0).gpus[0]
    fields = {DUTY_CYCLE: "utilization_ratio", MEMORY_USED: "memory_used_bytes", MEMORY_TOTAL: "memory_total_bytes"}
    assert [metric for metric, name in fields.items() if getattr(gpu, name) is None] == [metric]


def test_an_error_and_nonsense_fail_only_one_reading_with_a_reason(libtpu: Libtpu, source: TpuSource):
    libtpu.errors[MEMORY_USED] = grpc.StatusCode.INTERNAL
    with pytest.raises(GpuError, match=r"libtpu at 127.0.0.1:\d+: /tpu.monitoring.*INTERNAL: .*as the test says"):
        source.read(0.0)
    libtpu.errors.clear()
    libtpu.raw = b"\xff\xff nonsense"
    with pytest.raises(GpuError, match="libtpu at"):
        source.read(1.0)
    libtpu.raw = None
    assert source.read(2.0).gpus[0].utilization_ratio == 0.875


def test_a_service_that_hangs_times_out(libtpu: Libtpu, four: Path):
    libtpu.hang = True
    source = TpuSource(f"127.0.0.1:{libtpu.port}", four, patience_seconds=0.2)
    with pytest.raises(GpuError, match="DEADLINE_EXCEEDED"):
        source.read(0.0)


def test_impossible_figures_are_left_out(libtpu: Libtpu, source: TpuSource):
    libtpu.figures = {
        DUTY_CYCLE: {"0": 101, "1": -1, "2": float("nan"), "3": 100},
        MEMORY_USED: {"0": 2**62, "1": 5, "2": 0, "3": 0},
    }
    gpus = source.read(0.0).gpus
    assert [g.utilization_ratio for g in gpus] == [None, None, None, 1.0]
    assert [g.memory_used_bytes for g in gpus] == [None, 5, 0, 0]


def test_without_a_known_chip_there_is_no_tpu_and_no_request(tmp_path: Path):
    for pci in (tmp_path / "nowhere", bus(tmp_path, ("0xbeef", "0x0000"), "0000:00:04.0")):
        with pytest.raises(NoDriverError, match="no TPU chip of a known kind"):
            TpuSource("127.0.0.1:1", pci).read(0.0)


def test_chips_that_disappear_do_not_leave_a_node_without_chips(source: TpuSource, four: Path):
    source.read(0.0)
    for card in four.iterdir():
        (card / "vendor").unlink()
    with pytest.raises(GpuError, match="no TPU chip") as error:
        source.read(1.0)
    assert not isinstance(error.value, NoDriverError)
