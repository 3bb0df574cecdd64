"""Which GPU or slice the kubelet means by the devices of a container: from device plugins, and from claims."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from epochcost.model import GpuSample

GKE_DEVICE = re.compile(r"nvidia(\d+)(?:/gi(\d+))?(?:/vgpu\d+)?")
"""Google's device plugin numbers the devices, and the parts of one in MIG mode; NVIDIA's names them by UUID."""
DRA_DRIVER = "gpu.nvidia.com"
"""NVIDIA's driver for dynamic resource allocation; it names a whole GPU by the number of its device file, ``gpu-0``."""
DRA_SLICE = re.compile(r"(?P<gpu>gpu-\d+)-mig-(?P<profile>\d+)-(?P<start>\d+)-\d+")
"""``gpu-0-mig-9-4-4``: number of the profile, first memory slice, how many: releases until 2025."""
DRA_NAMED_SLICE = re.compile(r"(?P<gpu>gpu-\d+)-mig-(?P<name>\d+g[a-z0-9-]+)-(?P<profile>\d+)-(?P<start>\d+)")
"""``gpu-0-mig-3g40gb-9-4``: name of the profile, its number, first memory slice: releases since."""
REPLICA = re.compile(r"GPU-[0-9a-f-]{36}-\d+")
"""One of the parts that HAMi makes of a GPU. It assigns another GPU than the kubelet knows of."""
GPU_RESOURCE = re.compile(r"(?:nvidia|volcano)\.(?:com|sh)/(?:gpu|mig|vgpu)")
MINOR = re.compile(r"^Device Minor:\s*(\d+)", re.MULTILINE)
UUID = re.compile(r"^GPU UUID:\s*(\S+)", re.MULTILINE)
MAX_INFORMATION_BYTES = 4096


class GivenDevices:
    """Finds GPUs and slices by the names that device plugins and claims use.

    Args:
        gpus: of this node.
        proc: the ``/proc`` in which the driver lists the device file of each GPU.

    Attributes:
        not_understood: devices that are a GPU, in an unknown format, by how they were allocated.
    """

    def __init__(self, gpus: Sequence[GpuSample], proc: Path) -> None:
        self.not_understood: Counter[str] = Counter()
        self._slices = [gpu for gpu in gpus if gpu.parent_uuid]
        self._by_uuid = {gpu.uuid: gpu for gpu in gpus}
        self._by_index = {gpu.index: gpu.uuid for gpu in gpus if not gpu.parent_uuid}
        self._proc = proc
        self._minors: Mapping[int, str] | None = None

    def by_plugins(self, container: Any) -> Iterator[str]:  # noqa: ANN401 - the kubelet's message
        """UUIDs of what device plugins allocated to ``container``, without HAMi's parts (`hami_parts`)."""
        for devices in container.devices:
            for device in devices.device_ids:
                if uuid := self._of_plugin(device):
                    yield uuid
                elif GPU_RESOURCE.match(devices.resource_name) and not device.startswith(("GPU-", "MIG-")):
                    self.not_understood["device_plugin"] += 1

    @staticmethod
    def hami_parts(container: Any) -> int:  # noqa: ANN401
        """How many parts of GPUs HAMi allocated to ``container``."""
        return sum(bool(REPLICA.fullmatch(device)) for each in container.devices for device in each.device_ids)

    def by_claims(self, container: Any) -> Iterator[str]:  # noqa: ANN401
        """UUIDs of what claims of dynamic resource allocation allocated to ``container``."""
        for claim in container.claims:
            for resource in claim.resources:
                if resource.driver_name != DRA_DRIVER:
                    continue
                if uuid := self._of_claim(resource.device_name):
                    yield uuid
                else:
                    self.not_understood["dra"] += 1

    def _of_plugin(self, device: str) -> str:
        """``GPU-...::3`` is the fourth part of a GPU that is shared in time."""
        uuid = device.partition("::")[0]
        if uuid in self._by_uuid:
            return uuid
        named = GKE_DEVICE.fullmatch(uuid)
        gpu = self._by_index.get(named[1], "") if named else ""
        if not named or named[2] is None:
            return gpu
        return self._only([s for s in self._slices if s.parent_uuid == gpu and s.gpu_instance == int(named[2])])

    def _of_claim(self, name: str) -> str:
        match = DRA_SLICE.fullmatch(name) or DRA_NAMED_SLICE.fullmatch(name)
        gpu = self._of_minor(match["gpu"] if match else name)
        if not match:
            return gpu
        there = [s for s in self._slices if s.parent_uuid == gpu]
        place = int(match["profile"]), int(match["start"])
        placed = [s for s in there if (s.instance_profile, s.instance_start) == place]
        if placed or all(s.instance_profile is not None for s in there):
            return self._only(placed)
        called = match.groupdict().get("name")  # places of slices are not reported: a name that only one has is enough
        return self._only([s for s in there if _profile(s) == called])

    def _of_minor(self, name: str) -> str:
        number = re.fullmatch(r"gpu-(\d+)", name)
        if number is None:
            return ""
        if self._minors is None:
            self._minors = device_minors(self._proc)
        uuid = self._minors.get(int(number[1]), "")
        return uuid if uuid in self._by_uuid else ""

    @staticmethod
    def _only(devices: Sequence[GpuSample]) -> str:
        """Its UUID, where there is one and no other: an ambiguous one has no owner."""
        return devices[0].uuid if len(devices) == 1 else ""


def _profile(piece: GpuSample) -> str:
    """As NVIDIA's driver for claims writes it: ``MIG 1g.10gb+me`` is ``1g10gb-me``."""
    profile = piece.model.rpartition("MIG ")[2].lower().replace(".", "")
    return re.sub(r"[^a-z0-9-]", "-", profile).strip("-")


def device_minors(proc: Path) -> Mapping[int, str]:
    """UUIDs of NVIDIA's GPUs by the number of their device file, from the driver's list in ``/proc``."""
    by_number: dict[int, str] = {}
    for path in sorted((proc / "driver/nvidia/gpus").glob("*/information")):
        try:
            with path.open("rb") as file:
                text = file.read(MAX_INFORMATION_BYTES).decode("utf-8", "replace")
        except OSError:  # taken away meanwhile
            continue
        minor, uuid = MINOR.search(text), UUID.search(text)
        if minor and uuid:
            by_number[int(minor[1])] = uuid[1]
    return by_number
