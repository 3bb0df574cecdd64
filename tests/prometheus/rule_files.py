"""The project's rules and their tests as data, and the names of the series that they may use."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import promql_parser
import yaml

from epochcost.agent.collectors import metric_names
from epochcost.poller.collector import PollerCollector
from epochcost.poller.snapshot import PollerSnapshot

ROOT = Path(__file__).resolve().parents[2]
PROMETHEUS_DIR = ROOT / "prometheus"
RULES = sorted((PROMETHEUS_DIR / "rules").glob("*.yml"))
RULE_TESTS = sorted((PROMETHEUS_DIR / "rules" / "tests").glob("*.yml"))
RUNBOOKS_DIR = ROOT / "docs" / "runbooks"
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Of libyaml where PyYAML has it: every process of the tests reads all of the rules."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule and its location."""

    file: Path
    group: str
    body: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.body.get("record") or self.body["alert"])

    @property
    def severity(self) -> str:
        return str(self.body.get("labels", {}).get("severity", ""))


@cache
def parsed(path: Path) -> Any:
    """A YAML file: each is read once, since hundreds of tests use the rules and their tests."""
    return yaml.load(path.read_text(), LOADER)


@cache
def every_rule() -> tuple[Rule, ...]:
    """All rules in the order of their files."""
    groups = [(path, group) for path in RULES for group in parsed(path)["groups"]]
    return tuple(Rule(path, group["name"], rule) for path, group in groups for rule in group["rules"])


RECORDINGS = [rule for rule in every_rule() if "record" in rule.body]
ALERTS = [rule for rule in every_rule() if "alert" in rule.body]


def seconds(duration: str) -> int:
    """``1h30m`` in seconds."""
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    return sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)([smhd])", duration))


def every_test() -> list[dict[str, Any]]:
    """All promtool tests."""
    return [test for path in RULE_TESTS for test in parsed(path)["tests"]]


@cache
def exported_names() -> frozenset[str]:
    """The series that the agent and the poller export, as Prometheus stores them."""
    poller = PollerCollector(lambda: PollerSnapshot(0.0)).collect()
    return frozenset(metric_names()) | {f"{m.name}_total" if m.type == "counter" else m.name for m in poller}


def walk(node: Any) -> Iterator[Any]:
    """A parsed expression and everything inside it."""
    yield node
    if isinstance(node, promql_parser.MatrixSelector):
        yield node.vector_selector
    elif isinstance(node, promql_parser.Call):
        for argument in node.args:
            yield from walk(argument)
    else:
        for part in ("lhs", "rhs", "expr", "param"):
            if getattr(node, part, None) is not None:
                yield from walk(getattr(node, part))


@cache
def series_used(expr: str) -> frozenset[str]:
    """The metric names of every selector in ``expr``."""
    nodes = walk(promql_parser.parse(expr))
    return frozenset(n.name for n in nodes if isinstance(n, promql_parser.VectorSelector) and n.name)
