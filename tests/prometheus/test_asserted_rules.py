"""A test of rules that is evaluated with fewer rules asserts what it did, and no evaluation may fail as before."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.prometheus.asserted_rules import PromtoolFiles, RuleSet, promtool_test, split
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
    command: list[str | Path] = ["promtool", "test", "rules", *split(document, [rules], "g", folder).short]
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


def test_only_tests_that_run_into_compaction_have_several_attempts(tmp_path: Path) -> None:
    compacted = {
        path.name: (len(files.compacted), len(files.short))
        for path in RULE_TESTS
        if (files := split(parsed(path), RULES, path.stem, tmp_path)).compacted
    }
    assert compacted == {"budget-calendar.yml": (2, 0), "spend-usual.yml": (2, 0)}


def test_a_short_test_is_written_with_its_rules_beside_a_long_one_with_all(tmp_path: Path) -> None:
    check = {"expr": "run:epochcost_cost_usd:sum", "exp_samples": []}
    tests = [{"promql_expr_test": [{**check, "eval_time": eval_time}]} for eval_time in ("36h", "36h1s")]
    files = split({"evaluation_interval": "1m", "tests": tests}, RULES, "both", tmp_path)
    assert [path.name for path in files.short] == ["both-1.yml", "both-all.yml"]
    (long,) = files.compacted
    assert parsed(long)["rule_files"] == [str(path) for path in RULES]
    assert (parsed(long)["evaluation_interval"], parsed(long)["tests"]) == ("1m", tests[1:])
    assert len(parsed(files.short[-1])["tests"]) == 1


@pytest.mark.parametrize(
    ("failures", "returncode", "runs"),
    [
        ({}, 0, ["s1 s2", "c1", "c2"]),
        ({"c1": 2}, 0, ["s1 s2", "c1", "c1", "c1", "c2"]),
        ({"c1": 3}, 1, ["s1 s2", "c1", "c1", "c1"]),
        ({"s1 s2": 1}, 1, ["s1 s2"]),
    ],
)
def test_a_failed_attempt_is_printed_and_repeated_only_if_its_test_is_long(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], failures: dict[str, int], returncode: int, runs: list[str]
) -> None:
    ran, promtool = tmp_path / "runs", tmp_path / "promtool"
    ran.touch()
    failing = "\n".join(f'[ "$*" = "{which}" ] && [ "$n" -le {times} ] && fail' for which, times in failures.items())
    promtool.write_text(
        f'#!/bin/sh\nfail() {{ echo "wrong $*"; exit 1; }}\nshift 2\necho "$*" >> {ran}\n'
        f'n=$(grep -c -x -- "$*" {ran})\n{failing}\nexit 0\n'
    )
    promtool.chmod(0o755)
    files = PromtoolFiles([Path("s1"), Path("s2")], [Path("c1"), Path("c2")])
    assert promtool_test(files, str(promtool)).returncode == returncode
    assert ran.read_text().splitlines() == runs
    assert capsys.readouterr().out.count("wrong") == sum(failures.values())
