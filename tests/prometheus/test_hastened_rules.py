"""The transformation by which an end-to-end test waits seconds where the rules wait minutes."""

from __future__ import annotations

import pytest
import yaml
from tests.prometheus.rule_files import RULES
from tests.stack import hasten, shortened


@pytest.mark.parametrize(
    ("duration", "speed", "quick"),
    [
        ("5m", 60, "5000ms"),
        ("1h30m", 60, "90000ms"),
        ("1d", 100, "864000ms"),
        ("15s", 1, "15000ms"),
        ("1s", 1e6, "1ms"),
    ],
)
def test_a_duration_is_divided(duration: str, speed: float, quick: str) -> None:
    assert shortened(duration, speed) == quick


def test_ranges_and_waits_are_divided_and_nothing_else() -> None:
    rules = {
        "groups": [
            {
                "name": "g",
                "interval": "5m",
                "rules": [
                    {"record": "x:y:rate5m", "expr": 'rate(a{b="[5m]x"}[5m]) + max_over_time(c[1h:30s])'},
                    {"alert": "A", "expr": "a > 900", "for": "15m", "labels": {"severity": "info"}},
                ],
            }
        ]
    }
    record, alert = hasten(rules, 60, "1s")["groups"][0]["rules"]
    assert record["expr"].endswith("[5000ms]) + max_over_time(c[60000ms:30s])")
    assert record["record"] == "x:y:rate5m"
    assert alert == {"alert": "A", "expr": "a > 900", "for": "15000ms", "labels": {"severity": "info"}}
    assert hasten(rules, 60, "1s")["groups"][0]["interval"] == "1s"


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.name)
def test_the_projects_rules_keep_their_names_when_hastened(path) -> None:
    rules = yaml.safe_load(path.read_text())
    quick = hasten(rules, 150, "250ms")
    names = [[rule.get("record") or rule["alert"] for rule in group["rules"]] for group in rules["groups"]]
    assert names == [[rule.get("record") or rule["alert"] for rule in group["rules"]] for group in quick["groups"]]
