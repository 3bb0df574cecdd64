"""Google TPUs: which chips are plugged in, and what libtpu's metrics service on this machine reports of them.

The service is a part of libtpu, so it responds only while a process uses the TPU. What it does not report is left out.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from epochcost.gpus.gpu_plausibility import checked
from epochcost.gpus.gpu_source import GpuError, NoDriverError
from epochcost.gpus.label import printable
from epochcost.gpus.pci import PCI, attribute
from epochcost.gpus.tpu.tpu_wire import message_class
from epochcost.model import GpuReading, GpuSample

log = logging.getLogger(__name__)

ADDRESS = "localhost:8431"
METHOD = "/tpu.monitoring.runtime.RuntimeMetricService/GetRuntimeMetric"
PATIENCE_SECONDS = 2.0
MEMORY_USED = "tpu.runtime.hbm.memory.usage.bytes"
MEMORY_TOTAL = "tpu.runtime.hbm.memory.total.bytes"
DUTY_CYCLE = "tpu.runtime.tensorcore.dutycycle.percent"
GOOGLE = "0x1ae0"
MOST_BYTES = 1e15


@dataclass(frozen=True, slots=True)
class Chip:
    """A kind of TPU chip: its name, and how many devices libtpu makes of one."""

    name: str
    devices: int


CHIPS: Mapping[tuple[str, str], Chip] = {
    ("0x0027", "0x004e"): Chip("TPU v2", 2),
    ("0x0027", "0x004f"): Chip("TPU v3", 2),
    ("0x005e", ""): Chip("TPU v4", 1),
    ("0x0063", ""): Chip("TPU v5e", 1),
    ("0x0062", ""): Chip("TPU v5p", 1),
    ("0x006f", ""): Chip("TPU v6e", 1),
    ("0x0076", ""): Chip("TPU7x", 2),
}
"""By PCI device and, where two kinds share it, subsystem."""


class TpuSource:
    """The TPU chips of this machine. Touches nothing before the first `read`; used by one thread at a time."""

    name = "tpu"

    def __init__(self, address: str = ADDRESS, pci: Path = PCI, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._address = address
        self._pci = pci
        self._patience = patience_seconds
        self._channel: Any = None
        self._seen = False
        self._served = True

    def read(self, t: float) -> GpuReading:
        """All chips now; see `GpuSource.read`. While no process uses them they are there, without figures."""
        chips = plugged_in(self._pci)
        if not chips:
            raise (GpuError if self._seen else NoDriverError)("no TPU chip of a known kind is on the PCI bus")
        by_metric = self._all_metrics()
        self._seen = True
        return GpuReading(t, tuple(_samples(chips, by_metric)))

    def close(self) -> None:
        """Close the connection; a later read opens another."""
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    def _all_metrics(self) -> Mapping[str, Mapping[int, float]]:
        """Values by metric and libtpu's device number; empty while no process serves them.

        Raises:
            GpuError: when one does and they cannot be read.
        """
        try:
            import grpc
            from google.protobuf import message  # noqa: F401 - that it is there
        except ImportError as err:
            raise NoDriverError(f"the Python package {err.name} is missing: pip install 'epochcost[tpu]'") from None
        try:
            by_metric = {name: self._metric(name) for name in (DUTY_CYCLE, MEMORY_USED, MEMORY_TOTAL)}
        except grpc.RpcError as err:
            self.close()
            code, details = err.code(), printable(" ".join(str(err.details()).split())[:200])
            if code is not grpc.StatusCode.UNAVAILABLE:
                raise GpuError(f"libtpu at {self._address}: {METHOD}: {code.name}: {details}") from None
            if self._served:
                log.info("no process serves the TPU metrics at %s: %s", self._address, details)
            self._served = False
            return {}
        self._served = True
        return by_metric

    def _metric(self, metric: str) -> Mapping[int, float]:
        """One metric by device number; nothing where this libtpu does not have it."""
        import grpc

        unknown = (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT)
        try:
            response = self._service()(message_class("MetricRequest")(metric_name=metric), timeout=self._patience)
        except grpc.RpcError as err:
            if err.code() in unknown:
                return {}
            raise
        figures = {}
        for each in response.metric.metrics:
            kind = each.gauge.WhichOneof("value")
            if kind is not None:
                figures[each.attribute.value.int_attr] = float(getattr(each.gauge, kind))
        return figures

    def _service(self) -> Any:  # noqa: ANN401 - grpc has no types
        import grpc

        if self._channel is None:
            # No proxy, and no long pause before a service that was away is tried again.
            options = [("grpc.enable_http_proxy", 0), ("grpc.max_reconnect_backoff_ms", 1000)]
            credentials = grpc.local_channel_credentials()
            self._channel = grpc.secure_channel(self._address, credentials, options=options)
        request, response = message_class("MetricRequest"), message_class("MetricResponse")
        return self._channel.unary_unary(
            METHOD, request_serializer=request.SerializeToString, response_deserializer=response.FromString
        )


def plugged_in(pci: Path = PCI) -> list[Chip]:
    """The TPU chips on the PCI bus, by address; the functions of one chip count once."""
    chips: dict[str, Chip] = {}
    for device in sorted(pci.iterdir()) if pci.is_dir() else ():
        if attribute(device, "vendor") == GOOGLE:
            kind, subsystem = attribute(device, "device"), attribute(device, "subsystem_device")
            chip = CHIPS.get((kind, subsystem)) or CHIPS.get((kind, ""))
            if chip is not None:
                chips[device.name.partition(".")[0]] = chip
    return list(chips.values())


def _samples(chips: Sequence[Chip], by_metric: Mapping[str, Mapping[int, float]]) -> Iterator[GpuSample]:
    duty = _by_chip(chips, by_metric.get(DUTY_CYCLE, {}))
    used, total = (_by_chip(chips, by_metric.get(name, {})) for name in (MEMORY_USED, MEMORY_TOTAL))
    for number, chip in enumerate(chips):
        percents = [percent for percent in duty[number] if 0 <= percent <= 100]  # noqa: PLR2004
        figures = {
            "utilization_ratio": sum(percents) / len(percents) / 100 if percents else None,
            "memory_used_bytes": _sum_of(used[number], chip.devices),
            "memory_total_bytes": _sum_of(total[number], chip.devices) or None,
        }
        yield GpuSample(str(number), f"tpu-{number}", chip.name, **checked(figures, {}))


def _by_chip(chips: Sequence[Chip], figures: Mapping[int, float]) -> list[list[float]]:
    """The figures of each chip's devices. In a slice over many machines the numbers continue from one to the next.

    A metric may have one figure a chip or one a device. Where a process uses a part of the chips, only low numbers can
    be placed.
    """
    devices = sum(chip.devices for chip in chips)
    each = 1 if len(figures) == len(chips) else chips[0].devices
    if len(figures) in (len(chips), devices):
        placed = dict(enumerate(figures[number] for number in sorted(figures)))
    else:
        placed = {number: figure for number, figure in figures.items() if max(figures) < devices}
    groups: list[list[float]] = [[] for _ in chips]
    for number, figure in placed.items():
        groups[number // each].append(figure)
    return groups


def _sum_of(figures: Sequence[float], devices: int) -> int | None:
    """Bytes of all devices of a chip; None unless each of them reports it."""
    known = [figure for figure in figures if 0 <= figure < MOST_BYTES]
    return int(sum(known)) if known and len(known) in (1, devices) else None
