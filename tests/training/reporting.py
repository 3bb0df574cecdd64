"""An events directory of the test's own, for training runs within the test's process."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.training.programs import LAUNCHER_NAMES, LAUNCHER_VARIABLES, events_by_file

import epochcost


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name in list(os.environ):
        if name.startswith(LAUNCHER_VARIABLES) or name in LAUNCHER_NAMES:
            monkeypatch.delenv(name)
    monkeypatch.setenv("EPOCHCOST_DIR", str(tmp_path))
    yield tmp_path
    while epochcost.current():
        epochcost.end()


def attempts(directory: Path) -> list[list[dict[str, Any]]]:
    """The events of every file, in the order of their starts."""
    return sorted(events_by_file(directory).values(), key=lambda lines: float(str(lines[0]["mono"])))


def of(lines: list[dict[str, Any]], kind: str, *names: str) -> list[tuple[object, ...]]:
    """The values of ``names`` in each event of ``kind``."""
    return [tuple(line.get(name) for name in names) for line in lines if line["ev"] == kind]


def write_cost(directory: Path, run: str, **figures: Any) -> None:
    """As the agent writes it."""
    (directory / f"{run}.cost.json").write_text(json.dumps({"v": 1, "run": run, **figures}))
