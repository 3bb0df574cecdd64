"""A JAX loop's run: the peak of the fullest device, where its devices report one."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from tests.training.programs import events
from tests.training.reporting import directory, of

import epochcost
from epochcost.training.jax import peak_bytes

__all__ = ["directory"]


def with_devices(monkeypatch: pytest.MonkeyPatch, *stats: dict[str, Any] | None) -> None:
    """A fake JAX: the devices of this process, each with its memory statistics."""
    jax = ModuleType("jax")
    devices = [
        SimpleNamespace(memory_stats=lambda stats_of_device=stats_of_device: stats_of_device)
        for stats_of_device in stats
    ]
    monkeypatch.setattr(jax, "local_devices", lambda: devices, raising=False)
    monkeypatch.setitem(sys.modules, "jax", jax)


def test_the_fullest_devices_peak_is_reported_with_the_framework(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_devices(monkeypatch, {"peak_bytes_in_use": 1 << 30}, {"peak_bytes_in_use": 3 << 30}, {"bytes_in_use": 1}, None)
    with epochcost.jax_run("vit", epochs=1) as run:
        for _ in run.epochs():
            run.step()
    assert of(events(directory), "end", "framework", "memory_peak_bytes", "epoch") == [("jax", 3 << 30, 1)]


def test_arguments_of_the_user_take_precedence(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_devices(monkeypatch, {"peak_bytes_in_use": 1 << 30})
    with epochcost.jax_run("vit", framework="flax", memory_peak=lambda: 5):
        pass
    assert of(events(directory), "end", "framework", "memory_peak_bytes") == [("flax", 5)]


@pytest.mark.parametrize("stats", [(), (None,), ({},)], ids=["no devices", "a CPU", "no peak"])
def test_an_unknown_peak_is_absent(monkeypatch: pytest.MonkeyPatch, stats: tuple[Any, ...]) -> None:
    with_devices(monkeypatch, *stats)
    assert peak_bytes() is None


def test_without_jax_nothing_is_imported_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "jax", raising=False)
    assert peak_bytes() is None
    assert "jax" not in sys.modules
