"""The project's rules load with equal results in Prometheus 2, in Prometheus 3 and in VictoriaMetrics with vmalert."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from pathlib import Path

import pytest
from tests.engines.conftest import OFF_THE_GRID, Engine, Series, replay
from tests.prometheus.rule_files import ALERTS, PROMETHEUS_DIR, RECORDINGS, RULE_TESTS, RULES
from tests.waiting import wait_for

from epochcost.demo.rules_for_replay import passes

INSTANTS = [t + OFF_THE_GRID for t in (7020, 15_000, 20_400)]
"""Off every scrape and evaluation, and not within an hour of a machine that appears or a state that lasts for a moment:
VictoriaMetrics counts the first value of a counter that begins inside a range, Prometheus extrapolates."""
EVERY = [(rule.name, rule.body["expr"]) for rule in [*RECORDINGS, *ALERTS]]
OWN_WAY = 0.03
"""VictoriaMetrics counts from the last sample before a range and never extrapolates."""


def same(a: Series, b: Series, rel: float) -> None:
    assert a.keys() == b.keys()
    for labels, value in a.items():
        assert b[labels] == pytest.approx(value, rel=rel, abs=1e-9, nan_ok=True), dict(labels)


class TestPrometheus3:
    def test_its_promtool_accepts_configuration_and_rules(self, newer: Path):
        for check in (["config", PROMETHEUS_DIR / "prometheus.yml"], ["rules", "--lint=all", "--lint-fatal", *RULES]):
            command = [str(newer / "promtool"), "check", *map(str, check)]
            completed = subprocess.run(command, capture_output=True, text=True, check=False)
            assert completed.returncode == 0, completed.stderr

    @pytest.mark.parametrize("path", RULE_TESTS, ids=lambda path: path.stem)
    def test_its_promtool_passes_the_tests_of_the_rules(self, newer: Path, path: Path):
        completed = subprocess.run(
            [newer / "promtool", "test", "rules", path], capture_output=True, text=True, check=False
        )
        assert completed.returncode == 0, completed.stderr[-3000:]

    def test_every_rule_evaluates_without_an_error(self, prometheus3: Engine):
        with urllib.request.urlopen(f"{prometheus3.url}/api/v1/rules") as reply:
            groups = json.load(reply)["data"]["groups"]
        assert sum(len(group["rules"]) for group in groups) == len(RECORDINGS) + len(ALERTS)
        assert [r["lastError"] for group in groups for r in group["rules"] if r["health"] == "err"] == []

    @pytest.mark.parametrize("t", INSTANTS)
    @pytest.mark.parametrize(("name", "expr"), EVERY, ids=[name for name, _ in EVERY])
    def test_a_rule_gives_the_same_result(self, installed: Engine, prometheus3: Engine, name, expr, t):
        same(installed.vector(expr, t), prometheus3.vector(expr, t), 1e-9)


class TestVictoriaMetrics:
    @pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
    def test_vmalert_accepts_the_rules(self, path: Path):
        completed = subprocess.run(["vmalert", f"-rule={path}", "-dryRun"], capture_output=True, text=True, check=False)
        assert completed.returncode == 0, completed.stderr[-2000:]

    @pytest.mark.parametrize("t", INSTANTS)
    @pytest.mark.parametrize(("name", "expr"), EVERY, ids=[name for name, _ in EVERY])
    def test_a_rule_gives_the_same_result(self, installed: Engine, victoria: Engine, name, expr, t):
        same(installed.vector(expr, t), victoria.vector(expr, t), OWN_WAY)

    def test_vmalert_records_what_its_engine_evaluates(self, tmp_path: Path, victoria: Engine):
        rules = next(passes([rule.body for rule in RECORDINGS]))
        nonempty = [rule for rule in rules if victoria.vector(rule["expr"], INSTANTS[1])]
        assert len(nonempty) > len(rules) / 2  # the demo has no configured credit, for example
        replay(tmp_path / "first.yml", rules, victoria)
        for rule in nonempty:
            wait_for(
                lambda rule=rule: victoria.vector(f'{rule["record"]}{{by="vmalert"}}', INSTANTS[1]),  # type: ignore[misc]
                30,
                rule["record"],  # type: ignore[misc]
            )
