"""GPUs that are plugged in are seen without a driver."""

from __future__ import annotations

from pathlib import Path

from epochcost.gpus.pci import nvidia_devices


def plug(root: Path, address: str, vendor: str, device_class: str) -> None:
    (root / address).mkdir(parents=True)
    (root / address / "vendor").write_text(f"{vendor}\n")
    (root / address / "class").write_text(f"{device_class}\n")


def test_only_nvidia_graphics_devices_count(tmp_path: Path):
    plug(tmp_path, "0000:02:00.0", "0x10de", "0x030200")
    plug(tmp_path, "0000:01:00.0", "0x10de", "0x030000")
    plug(tmp_path, "0000:01:00.1", "0x10de", "0x040300")  # the sound device of the card
    plug(tmp_path, "0000:03:00.0", "0x1002", "0x030000")
    (tmp_path / "0000:04:00.0").mkdir()
    assert nvidia_devices(tmp_path) == ("0000:01:00.0", "0000:02:00.0")


def test_a_machine_without_a_pci_bus_has_none(tmp_path: Path):
    assert nvidia_devices(tmp_path / "nothing") == ()
