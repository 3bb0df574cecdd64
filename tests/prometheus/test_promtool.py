"""The checks of the programs themselves: promtool on configuration, rules and rule tests; amtool for Alertmanager."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from tests.prometheus.asserted_rules import promtool_test, split
from tests.prometheus.rule_files import PROMETHEUS_DIR, RULE_TESTS, RULES, parsed

PROMTOOLS = [path for path in (shutil.which("promtool"), os.environ.get("PROMTOOL_3")) if path]
EXAMPLES = sorted((PROMETHEUS_DIR / "examples").glob("alertmanager-*.yml"))
ALERTMANAGER_FILES = [PROMETHEUS_DIR / "alertmanager.yml", *EXAMPLES]

needs_amtool = pytest.mark.skipif(not shutil.which("amtool"), reason="amtool is not installed")
each_promtool = pytest.mark.parametrize(
    "promtool",
    PROMTOOLS or [pytest.param("promtool", marks=pytest.mark.skip(reason="promtool is not installed"))],
)


def run(*command: str | Path) -> str:
    completed = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert completed.returncode == 0, completed.stdout + completed.stderr
    return completed.stdout


@each_promtool
def test_promtool_accepts_the_configuration(promtool: str) -> None:
    assert "SUCCESS" in run(promtool, "check", "config", PROMETHEUS_DIR / "prometheus.yml")


@each_promtool
def test_promtool_accepts_the_rules_and_finds_nothing_to_lint(promtool: str) -> None:
    assert run(promtool, "check", "rules", "--lint=all", "--lint-fatal", *RULES).count("SUCCESS") == len(RULES)


@each_promtool
@pytest.mark.parametrize("path", RULE_TESTS, ids=lambda path: path.name)
def test_the_rules_give_the_expected_values_and_alerts(promtool: str, path: Path, tmp_path: Path) -> None:
    files = [(path.parent / name).resolve() for name in parsed(path)["rule_files"]]
    completed = promtool_test(split(parsed(path), files, path.stem, tmp_path), promtool)
    assert completed.returncode == 0, completed.stdout + completed.stderr
    assert "SUCCESS" in completed.stdout


@needs_amtool
@pytest.mark.parametrize("path", ALERTMANAGER_FILES, ids=lambda path: path.name)
def test_amtool_accepts_the_configuration_and_the_examples(path: Path) -> None:
    assert "SUCCESS" in run("amtool", "check-config", path)


@pytest.mark.parametrize("path", ALERTMANAGER_FILES[1:], ids=lambda path: path.name)
def test_an_example_reads_its_secret_from_a_file(path: Path) -> None:
    assert "_file: /etc/alertmanager/secrets/" in path.read_text()


@needs_amtool
@pytest.mark.parametrize(
    ("labels", "grouped_by"),
    [
        (["alertname=EpochcostGpuIdle", "epochcost_machine=sim-a", "severity=warning"], "cluster, epochcost_machine"),
        (["alertname=EpochcostRunStalled", "run=llm", "severity=critical"], "cluster, run"),
    ],
)
def test_alerts_are_grouped_by_machine_or_else_by_run(labels: list[str], grouped_by: str) -> None:
    tree = run("amtool", "config", "routes", "test", f"--config.file={ALERTMANAGER_FILES[0]}", "--tree", *labels)
    assert "epochcost" in tree
    route = yaml.safe_load(ALERTMANAGER_FILES[0].read_text())["route"]
    chosen = route["routes"][0] if "run=llm" in labels else route
    assert ", ".join(chosen["group_by"]) == grouped_by
