"""The machine whose agent a test drives."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.agent.driven_agent import SimulatedMachine


@pytest.fixture
def machine(tmp_path: Path) -> SimulatedMachine:
    return SimulatedMachine(tmp_path)
