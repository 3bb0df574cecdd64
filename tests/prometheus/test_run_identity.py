"""A run's figures are the sums over everything it ran on: machines, attempts, ledgers, clusters and label sets."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.prometheus.asserted_rules import promtool_test, split
from tests.prometheus.run_scenarios import Scenario, document, together

pytestmark = pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")


@pytest.mark.parametrize("scenarios", together(9), ids=lambda batch: f"{batch[0].name} and {len(batch) - 1} others")
def test_ten_figures_are_those_of_the_ledgers(tmp_path: Path, scenarios: Sequence[Scenario]) -> None:
    rule_test = document(scenarios)
    files = [Path(file) for file in rule_test["rule_files"]]
    completed = promtool_test(split(rule_test, files, "scenarios", tmp_path))
    assert completed.returncode == 0, completed.stderr
