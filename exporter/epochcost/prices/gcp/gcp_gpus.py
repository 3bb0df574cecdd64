"""GPUs of Google Cloud: their names as accelerators, in the texts of SKUs and to the driver, and which go with N1."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from epochcost.prices.gcp.gcp_skus import COMPUTE, HOURLY, Part, Reading


@dataclass(frozen=True, slots=True)
class Gpu:
    """One accelerator type.

    Attributes:
        accelerator: as instances name it, ``nvidia-tesla-p4``.
        model: as this project spells it.
        memory_gib: of one.
        texts: names in SKUs, lower case, without "Nvidia", "Tesla" and "GPU".
        attach: how many may be attached to one N1 machine; empty if it comes with a machine type.
        drivers: how NVML begins its name, lower case, where it may be attached.
        share: how much of a GPU one is: below 1 for a slice, of which ``memory_gib`` is that of the whole GPU.
    """

    accelerator: str
    model: str
    memory_gib: float
    texts: tuple[str, ...]
    attach: tuple[int, ...] = ()
    drivers: str = ""
    share: float = 1.0

    @property
    def part(self) -> Part:
        """What its SKUs price."""
        return Part(COMPUTE, f"{self.accelerator} GPU")


GPUS: Mapping[str, Gpu] = {
    gpu.accelerator: gpu
    for gpu in (
        Gpu("nvidia-tesla-k80", "K80", 12, ("k80",), (1, 2, 4, 8), "tesla k80"),
        Gpu("nvidia-tesla-p4", "P4", 8, ("p4",), (1, 2, 4), "tesla p4"),
        Gpu("nvidia-tesla-t4", "T4", 16, ("t4",), (1, 2, 4), "tesla t4"),
        Gpu("nvidia-tesla-p100", "P100", 16, ("p100",), (1, 2, 4), "tesla p100"),
        Gpu("nvidia-tesla-v100", "V100 16GB", 16, ("v100",), (1, 2, 4, 8), "tesla v100"),
        Gpu("nvidia-l4", "L4", 24, ("l4",)),
        Gpu("nvidia-tesla-a100", "A100 40GB", 40, ("a100",)),
        Gpu("nvidia-a100-80gb", "A100 80GB", 80, ("a100 80gb",)),
        Gpu("nvidia-h100-80gb", "H100", 80, ("h100 80gb",)),
        # Google's own texts name it in three ways, and its rate differs from the plain H100's.
        Gpu("nvidia-h100-mega-80gb", "H100", 80, ("h100 80gb mega", "h100 mega 80gb", "h100 80gb plus")),
        Gpu("nvidia-h200-141gb", "H200", 141, ("h200 141gb",)),
        Gpu("nvidia-b200", "B200", 180, ("b200 (1 gpu slice)",)),
        Gpu("nvidia-gb200", "GB200", 186, ("gb200 (1 gpu slice)",)),
        Gpu("nvidia-gb300", "GB300", 279, ("gb300 (1 gpu slice)",)),
        Gpu("nvidia-rtx-pro-6000", "RTX PRO 6000", 96, ("rtx 6000 96gb",)),
        # Its rate contains the cores and the memory of g4-standard-6; larger fractions are two and four of it.
        Gpu("nvidia-rtx-pro-6000-vgpu", "RTX PRO 6000", 96, ("1/8 vgpu no lssd",), share=0.125),
    )
}
_BY_TEXT = {text: gpu for gpu in GPUS.values() for text in gpu.texts}
_SKU = re.compile(
    r"(?P<before>(?:Spot )?Preemptible )?(?:A4(?:X(?: ?Max)?)? )?(?P<gpu>.+?)(?: GPU)?"
    r"(?P<attached> attached to (?:Spot )?Preemptible VMs)? running in .+",
    re.IGNORECASE,
)


def named(text: str) -> Gpu | None:
    """The GPU that a SKU calls ``Nvidia Tesla A100 80GB``; None for any other text, also one that holds such a name."""
    plain = text.lower().removesuffix(" gpu").removeprefix("nvidia ").removeprefix("tesla ")
    return _BY_TEXT.get(plain)


def read(text: str) -> Reading | None:
    """The GPU that a SKU of Compute Engine prices, by the hour."""
    match = _SKU.fullmatch(text)
    gpu = named(match["gpu"]) if match else None
    if match is None or gpu is None:
        return None
    return Reading(gpu.part, HOURLY, spot=bool(match["before"] or match["attached"]))


def with_accelerators(machine_type: str, drivers_models: Sequence[str]) -> str:
    """The name under which an N1 machine with these GPUs is priced, from sources that each know only one of the two.

    The metadata server returns ``n1-standard-16`` without the attached GPUs, which the driver knows.
    Any other machine type, and an N1 machine whose GPUs are not all of one attachable kind, keeps its name.

    Args:
        machine_type: from the metadata server.
        drivers_models: the model of each GPU as NVML names it (``Tesla P4``).
    """
    if not machine_type.startswith("n1-") or "+" in machine_type:
        return machine_type
    if not drivers_models:
        return f"{machine_type}+none"
    attachable = (gpu for gpu in GPUS.values() if gpu.attach)
    kinds = [gpu for gpu in attachable if all(re.match(rf"{gpu.drivers}\b", m.lower()) for m in drivers_models)]
    return f"{machine_type}+{kinds[0].accelerator}:{len(drivers_models)}" if kinds else machine_type
