"""The machine whose agent a test drives."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.agent.driven_agent import SimulatedMachine


@pytest.fixture
def machine(tmp_path: Path) -> SimulatedMachine:
    return SimulatedMachine(tmp_path)


@pytest.fixture
def disk_path() -> Iterator[Path]:
    """A directory on a disk, where `tmp_path` may be in memory: the agent asks whether its ledger outlives a boot."""
    with tempfile.TemporaryDirectory(prefix="epochcost-test-", dir="/var/tmp") as path:
        yield Path(path)
