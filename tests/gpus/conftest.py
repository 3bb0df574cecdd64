"""One fake NVIDIA driver for all tests of this process, put right before each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fake_nvml import CONTROL_VARIABLE, FakeDriver, build

from epochcost.gpus.nvml.nvml_source import NvmlSource


@pytest.fixture(scope="session")
def fake_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def driver(fake_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    """Eight GPUs under the real pynvml in this process."""
    fake = FakeDriver(fake_library, tmp_path / "nvml.control")
    monkeypatch.setenv(CONTROL_VARIABLE, str(fake.control))
    fake.load()
    return fake


@pytest.fixture
def source(driver: FakeDriver) -> Iterator[NvmlSource]:
    nvml = NvmlSource()
    yield nvml
    driver.heal()
    nvml.close()
