"""TPU slices: v2 to v4 by eight cores in a service of their own, v5e to v7x by the chip in Compute Engine."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from epochcost.model import InstanceFacts
from epochcost.prices.gcp.gcp_components import GIB, PROVIDER, Line, Machine, UnknownMachineError
from epochcost.prices.gcp.gcp_skus import CLOUD_TPU, COMPUTE, HOURLY, Part, Reading

CORES_PER_CHIP = 2
CORES_PER_SKU = 8
_SINGLE = 8
"""Cores of the one slice of v2 and v3 that is a device and not a piece of a pod."""
_SMALL_SIZES = (1, 4, 8, 16, 32, 64, 128, 256)


@dataclass(frozen=True, slots=True)
class Generation:
    """One kind of TPU; ``chip_memory_gib`` of one chip; ``size_allowed`` by the number in the name of a slice."""

    name: str
    chip_memory_gib: float
    counts_cores: bool
    size_allowed: Callable[[int], bool]


def _multiples_of_8(most: int) -> Callable[[int], bool]:
    return lambda size: 0 < size <= most and size % 8 == 0


GENERATIONS: Mapping[str, Generation] = {
    "v2": Generation("v2", 16, counts_cores=True, size_allowed=(8, 32, 128, 256, 512).__contains__),
    "v3": Generation("v3", 32, counts_cores=True, size_allowed=(8, 32, 64, 128, 256, 512, 1024, 2048).__contains__),
    "v4": Generation("v4", 32, counts_cores=True, size_allowed=_multiples_of_8(8192)),
    "v5litepod": Generation("v5e", 16, counts_cores=False, size_allowed=_SMALL_SIZES.__contains__),
    "v5p": Generation("v5p", 95, counts_cores=True, size_allowed=_multiples_of_8(12288)),
    "v6e": Generation("v6e", 32, counts_cores=False, size_allowed=_SMALL_SIZES.__contains__),
    "tpu7x": Generation("v7x", 192, counts_cores=True, size_allowed=_multiples_of_8(18432)),
}
_HOSTS: Mapping[str, str] = {
    "ct5lp-hightpu": "v5litepod",
    "ct5p-hightpu": "v5p",
    "ct6e-standard": "v6e",
    "tpu7x-standard": "tpu7x",
}
"""Machine types of the same TPUs on Kubernetes; their number counts chips."""
_HOST_CHIPS = (1, 2, 4, 8)
_BY_CORES = ("v2", "v3", "v4")
_NAME = re.compile(r"(?P<kind>v2|v3|v4|v5litepod|v5p|v6e|tpu7x)-(?P<size>\d{1,5})")
_HOST_NAME = re.compile(r"(?P<host>ct5lp-hightpu|ct5p-hightpu|ct6e-standard|tpu7x-standard)-(?P<chips>\d)t")
_CHIP_SKU = re.compile(
    r"Tpu(?P<kind>V5e|V5p|V6e|7x)(?P<spot> attached to (?:Spot )?Preemptible VMs)? running in .+", re.IGNORECASE
)
_DEVICE_SKU = re.compile(
    r"(?P<before>(?:Spot )?Preemptible )?Tpu-(?P<kind>v[234])(?P<pod> Pod)?(?: Accelerator)?(?P<after>\b.*)",
    re.IGNORECASE,
)


def chip(name: str) -> Part:
    """A chip of v5e, v5p, v6e or v7x."""
    return Part(COMPUTE, f"TPU {name} chip")


def eight_cores(name: str, *, pod: bool) -> Part:
    """Eight cores, which are four chips, of v2, v3 or v4: a device of its own or a piece of a pod."""
    return Part(CLOUD_TPU, f"8 cores of TPU {name}{' pod' if pod else ''}")


def read_chip(text: str) -> Reading | None:
    """The chip that a SKU of Compute Engine prices. Other SKUs contain the same words: the whole text must match."""
    match = _CHIP_SKU.fullmatch(text)
    if match is None:
        return None
    return Reading(chip(f"v{match['kind'].lower().removeprefix('v')}"), HOURLY, spot=bool(match["spot"]))


def read_device(text: str) -> Reading | None:
    """The eight cores that a SKU of Cloud TPU prices; that they are preemptible is only in the text."""
    match = _DEVICE_SKU.fullmatch(text)
    if match is None:
        return None
    spot = bool(match["before"]) or "preemptible" in match["after"].lower()
    pod = bool(match["pod"]) or bool(re.search(r"\bpod\b", match["after"], re.IGNORECASE))
    return Reading(eight_cores(match["kind"].lower(), pod=pod), HOURLY, spot=spot)


def is_slice(instance_type: str) -> bool:
    """Whether the name is one of a TPU."""
    return bool(_NAME.fullmatch(instance_type) or _HOST_NAME.fullmatch(instance_type))


def machine(instance_type: str) -> Machine:
    """What ``v6e-8``, ``v5p-16`` (a number of cores) or ``ct6e-standard-4t`` is billed for.

    Raises:
        UnknownMachineError: for a size that is not sold.
    """
    kind, size, chips = _sized(instance_type)
    generation = GENERATIONS[kind]
    part, quantity = chip(generation.name), float(chips)
    if kind in _BY_CORES:
        part, quantity = eight_cores(kind, pod=kind == "v4" or size > _SINGLE), size / CORES_PER_SKU
    facts = InstanceFacts(
        provider=PROVIDER,
        instance_type=instance_type,
        gpu_model=f"TPU {generation.name}",
        gpus=float(chips),
        gpu_memory_bytes=round(generation.chip_memory_gib * GIB),
    )
    return Machine((Line(part, quantity),), (Line(part, quantity, spot=True),), facts)


def _sized(instance_type: str) -> tuple[str, int, int]:
    """Generation, the number in its name and how many chips that are."""
    if host := _HOST_NAME.fullmatch(instance_type):
        kind, chips = _HOSTS[host["host"]], int(host["chips"])
        if chips in _HOST_CHIPS:
            return kind, chips, chips
    elif match := _NAME.fullmatch(instance_type):
        kind, size = match["kind"], int(match["size"])
        if GENERATIONS[kind].size_allowed(size):
            return kind, size, size // CORES_PER_CHIP if GENERATIONS[kind].counts_cores else size
    raise UnknownMachineError(f"{instance_type!r} is not a size in which that TPU is sold")
