"""A real agent, at a dollar a second, beside the training runs."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.agent.agent_process import AgentProcess
from tests.training.programs import PACKAGE


@pytest.fixture
def agent_flags() -> list[str]:
    """Further flags of the agent."""
    return []


@pytest.fixture
def agent(tmp_path: Path, agent_flags: list[str]) -> Iterator[AgentProcess]:
    flags = ["--gpus.source=none", "--price.usd-per-hour=3600", *agent_flags]
    it = AgentProcess(tmp_path, *flags, env={"PYTHONPATH": str(PACKAGE)}).up()
    yield it
    it.end(signal.SIGKILL)
