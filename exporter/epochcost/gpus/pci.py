"""Which GPUs are plugged in, whether or not a driver works for them: the kernel's list of the PCI bus."""

from __future__ import annotations

from pathlib import Path

PCI = Path("/sys/bus/pci/devices")
NVIDIA = "0x10de"
DISPLAY_CLASS = "0x03"
"""VGA and 3D controllers; a graphics card's sound device is of another class."""


def nvidia_devices(root: Path = PCI) -> tuple[str, ...]:
    """Bus addresses of NVIDIA GPUs, sorted; empty if there are none or the bus cannot be seen."""
    if not root.is_dir():
        return ()
    return tuple(sorted(device.name for device in root.iterdir() if _is_nvidia_gpu(device)))


def _is_nvidia_gpu(device: Path) -> bool:
    return attribute(device, "vendor") == NVIDIA and attribute(device, "class").startswith(DISPLAY_CLASS)


def attribute(device: Path, name: str) -> str:
    """What the kernel reports of ``device``; empty if nothing."""
    try:
        return (device / name).read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""  # a device may leave the bus while it is looked at; then it is not there
