"""What are this node's devices doing: one file a source, one line in `SOURCES` each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from epochcost.gpus.gpu_source import DriverAwayError, GpuError, GpuSource, NoDriverError
from epochcost.gpus.nvml.nvml_source import NvmlSource
from epochcost.gpus.pci import PCI, nvidia_devices


def _amd() -> GpuSource:
    from epochcost.gpus.amd import AmdSource

    return AmdSource()


def _tpu() -> GpuSource:
    from epochcost.gpus.tpu.tpu_source import TpuSource

    return TpuSource()


SOURCES: Mapping[str, Callable[[], GpuSource]] = {
    "nvml": NvmlSource,
    "amd": _amd,
    "tpu": _tpu,
}
"""Device sources by name, in the order in which ``auto`` tries them. A factory does not touch the driver.

A ``dcgm`` exporter is used only if it is named. What a node does not have is not imported.
"""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The device source of this node, None for a node without GPUs, and why, as a sentence for people.

    ``error``: why it cannot be read yet; empty when it can.
    """

    source: GpuSource | None
    reason: str
    error: str = ""


def choose_source(name: str, pci: Path = PCI, dcgm_url: str = "") -> Chosen:
    """The device source called ``name``: one of `SOURCES`, ``dcgm``, ``none``, or ``auto`` for the first with devices.

    A driver that is there but fails is chosen all the same: its GPUs are unknown, not absent. With ``auto`` so is one
    that is not loaded (yet), where the kernel's list of devices in ``pci`` has a GPU for it.

    Raises:
        NoDriverError: when a source that was requested by name finds nothing of its kind.
        ValueError: for an unknown name.
    """
    if name == "none":
        return Chosen(None, "GPUs are not read, as configured")
    if name == "auto":
        return _first_found(nvidia_devices(pci))
    if name == "dcgm":
        from epochcost.gpus.dcgm.dcgm_source import DcgmSource

        return _waited_for(DcgmSource(dcgm_url) if dcgm_url else DcgmSource())
    if name not in SOURCES:
        raise ValueError(f"gpus.source: no source {name!r}; allowed: auto, none, dcgm, {', '.join(SOURCES)}")
    source = SOURCES[name]()
    try:
        return Chosen(source, _describe(source))
    except NoDriverError:
        source.close()
        raise
    except GpuError as err:
        return _failing(source, err)


def _first_found(plugged_in: Sequence[str]) -> Chosen:
    reasons = []
    for factory in SOURCES.values():
        source = factory()
        try:
            return Chosen(source, _describe(source))
        except NoDriverError as err:
            if plugged_in and isinstance(err, DriverAwayError):
                where = ", ".join(plugged_in)
                return Chosen(source, f"a GPU is on the PCI bus ({where}) and is waited for: {err}", str(err))
            source.close()
            reasons.append(str(err))
        except GpuError as err:
            return _failing(source, err)
    return Chosen(None, "; ".join(["no GPU found", *reasons, *_unused_hardware(plugged_in)]))


def _failing(source: GpuSource, err: GpuError) -> Chosen:
    """Ending the program would not help: it would end again after each restart."""
    return Chosen(source, f"the {source.name} driver is there but fails: {err}", str(err))


def _waited_for(source: GpuSource) -> Chosen:
    """An exporter that does not respond may be started after the agent: its GPUs are unknown until then."""
    try:
        return Chosen(source, _describe(source))
    except GpuError as err:
        return Chosen(source, f"the {source.name} exporter does not respond yet: {err}", str(err))


def _describe(source: GpuSource) -> str:
    """Read once, so that a source that cannot work is known before it is used."""
    reading = source.read(0.0)
    models = sorted({gpu.model for gpu in reading.gpus if gpu.model})
    return f"{len(reading.gpus)} GPUs by {source.name}, driver {reading.driver_version}: {', '.join(models)}"


def _unused_hardware(plugged_in: Sequence[str]) -> list[str]:
    where = ", ".join(plugged_in)
    return [f"an NVIDIA device is on the PCI bus ({where}), so its driver is missing here"] if plugged_in else []
