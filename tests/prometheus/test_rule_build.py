"""The committed rules are what their code builds, and other labels to keep go through all of it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tests.prometheus.rule_files import PROMETHEUS_DIR, RULES

BY_HAND = {"epochcost-thresholds"}


def build(*args: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, PROMETHEUS_DIR / "build", *args]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_the_committed_files_are_what_the_code_builds() -> None:
    completed = build("--check")
    assert completed.returncode == 0, completed.stdout + completed.stderr


def test_a_file_that_was_edited_by_hand_is_named(tmp_path: Path) -> None:
    assert build("--to", tmp_path).returncode == 0
    (tmp_path / "epochcost-run.yml").write_text("groups: []\n")
    completed = build("--check", "--to", tmp_path)
    assert completed.returncode == 1
    assert "not what the code builds: epochcost-run.yml; run: " in completed.stdout


def test_every_file_but_the_limits_is_built(tmp_path: Path) -> None:
    build("--to", tmp_path)
    assert {path.stem for path in RULES} == {path.stem for path in tmp_path.glob("*.yml")} | BY_HAND


@pytest.mark.parametrize("keep", ["", "cluster,team", "site"])
def test_other_labels_to_keep_give_rules_that_load(tmp_path: Path, keep: str) -> None:
    assert build("--keep", keep, "--to", tmp_path).returncode == 0
    files = sorted(tmp_path.glob("*.yml"))
    if shutil.which("promtool"):
        completed = subprocess.run(["promtool", "check", "rules", *files], capture_output=True, text=True, check=False)
        assert completed.returncode == 0, completed.stderr
    text = "".join(path.read_text() for path in files)
    labels = ", ".join([*filter(None, keep.split(",")), "run"]).replace(",", ", ").replace("  ", " ")
    assert f"by ({labels}) (part:epochcost_epochs:kept)" in text
    assert "KEEP" not in text
    assert all(yaml.safe_load(path.read_text())["groups"] for path in files)


def test_with_a_team_to_keep_two_teams_are_two_sums(tmp_path: Path) -> None:
    """Both have a run of the same name."""
    build("--keep", "cluster,team", "--to", tmp_path)
    lines = []
    for team, usd in (("red", 1), ("blue", 2)):
        labels = f'epochcost_machine="{team}-1",part="p",run="r",team="{team}"'
        lines.append({"series": f"epochcost_run_seconds_total{{{labels}}}", "values": "60x10"})
        lines.append({"series": f'epochcost_run_state_cost_usd_total{{{labels},state="idle"}}', "values": f"{usd}x10"})
    check = {
        "expr": "run:epochcost_cost_usd:sum",
        "eval_time": "5m",
        "exp_samples": [
            {"labels": f'run:epochcost_cost_usd:sum{{run="r",team="{team}"}}', "value": usd}
            for team, usd in (("blue", 2), ("red", 1))
        ],
    }
    document = {
        "rule_files": [str(tmp_path / "epochcost-run.yml")],
        "evaluation_interval": "1m",
        "group_eval_order": ["epochcost-parts", "epochcost-run", "epochcost-epoch", "epochcost-archive"],
        "tests": [{"interval": "1m", "input_series": lines, "promql_expr_test": [check]}],
    }
    path = tmp_path / "teams.test"
    path.write_text(yaml.safe_dump(document))
    if not shutil.which("promtool"):
        pytest.skip("promtool is not installed")
    completed = subprocess.run(["promtool", "test", "rules", path], capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stderr
