"""A test of rules that is evaluated with fewer rules asserts what it did, and no evaluation may fail as before."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.prometheus.asserted_rules import RuleSet, is_compacted, split
from tests.prometheus.rule_files import ALERTS, RECORDINGS, RULE_TESTS, RULES, every_rule, parsed, series_used

needs_promtool = pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")
ALL = RuleSet([group for path in RULES for group in parsed(path)["groups"]])
GROUPS = """
groups:
  - name: g
    rules:
      - {record: "a:x:sum", expr: sum(x)}
      - {record: "b:x:max", expr: max(x) + a:x:sum}
      - {record: "c:x:ratio", expr: EXPR}
"""


def run_promtool(folder: Path, value: float, expr: str) -> subprocess.CompletedProcess[str]:
    """promtool's verdict on three rules of two series: the second rule is asserted, the third's expression given."""
    folder.mkdir()
    rules = folder / "g.yml"
    rules.write_text(GROUPS.replace("EXPR", expr))
    series = [{"series": f'x{{i="{i}"}}', "values": f"{i}+0x20"} for i in (1, 2)]
    check = {"expr": "b:x:max", "eval_time": "20m", "exp_samples": [{"labels": "b:x:max", "value": value}]}
    test = {"interval": "1m", "input_series": series, "promql_expr_test": [check]}
    document: dict[str, Any] = {"evaluation_interval": "1m", "group_eval_order": ["g"], "tests": [test]}
    command: list[str | Path] = ["promtool", "test", "rules", *split(document, [rules], "g", folder)]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)


def test_rules_that_an_asserted_one_reads_are_evaluated_with_it_through_every_layer() -> None:
    recorded = {rule.name for rule in RECORDINGS}
    read: dict[str, set[str]] = {}
    for rule in every_rule():
        read.setdefault(rule.name, set()).update(series_used(rule.body["expr"]) & recorded)
    for name in read:
        deciding = ALL.deciding([name])
        assert name in deciding
        assert {other for one in deciding for other in read[one]} <= deciding, name


def test_alerts_that_an_alert_looks_at_are_evaluated_with_it() -> None:
    looked_at = [(a, b) for a in ALERTS for b in ALERTS if f'alertname="{b.name}"' in a.body["expr"]]
    assert looked_at
    for alert, other in looked_at:
        assert other.name in ALL.deciding([alert.name])


def test_what_counts_all_alerts_needs_all_of_them() -> None:
    every = {alert.name for alert in ALERTS}
    for text in ("count(ALERTS)", 'ALERTS{alertstate="firing"}', 'ALERTS{severity="x", alertname=~"Epochcost.*"} > 0'):
        assert ALL.names_in(text) == every
    assert ALL.names_in('ALERTS{alertstate="firing", alertname="EpochcostAgentDown"}') == {"EpochcostAgentDown"}


def test_names_are_found_by_a_pattern_too() -> None:
    names = ALL.names_in('{__name__=~"run:epochcost_cost_usd:(sum|projected)", run="x"}')
    assert names == {"run:epochcost_cost_usd:sum", "run:epochcost_cost_usd:projected"}


def test_every_test_asserts_something_of_the_rules() -> None:
    assert [test["name"] for path in RULE_TESTS for test in parsed(path)["tests"] if not ALL.asserted(test)] == []


@needs_promtool
def test_a_value_is_asserted(tmp_path: Path) -> None:
    assert run_promtool(tmp_path / "right", 5, "min(x)").returncode == 0
    wrong = run_promtool(tmp_path / "wrong", 6, "min(x)")
    assert wrong.returncode != 0
    assert "b:x:max" in wrong.stdout


@needs_promtool
def test_a_failing_rule_that_no_assertion_reads_fails_the_test(tmp_path: Path) -> None:
    completed = run_promtool(tmp_path / "g", 5, "x / on () group_left () x")
    assert completed.returncode != 0
    assert "c:x:ratio" in completed.stdout


def test_only_what_runs_into_compaction_is_tried_again() -> None:
    tried_again = {path.stem for path in RULE_TESTS if is_compacted(parsed(path))}
    assert tried_again == {"budget-calendar", "spend-usual"}
