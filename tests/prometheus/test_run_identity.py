"""A run's figures are the sums over all that it was on: over machines, attempts, ledgers, clusters and label sets."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.prometheus.run_scenarios import SCENARIOS, Scenario, document

pytestmark = pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_ten_figures_are_those_of_the_ledgers(tmp_path: Path, scenario: Scenario) -> None:
    path = tmp_path / "scenario.yml"
    path.write_text(json.dumps(document(scenario)))
    done = subprocess.run(["promtool", "test", "rules", path], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
