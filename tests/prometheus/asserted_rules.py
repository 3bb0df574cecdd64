"""The tests of rules as promtool gets them: at each step what the assertions read, at every tenth all rules.

Three of four evaluations were those of rules that decide nothing of what a test asserts. So each test has a file with
the rules that do: those named in its assertions, those that these read, and so on. Their values are the ones they have
among all rules. A second file has all that the test loads, at steps ten times as long, where no evaluation may fail
(two series that match one, two with the same labels).

After 36 hours the storage within promtool 2.42 is compacted while rules are evaluated, and a month's sum then sometimes
lacks an hour: in 3 of 29 runs with few rules, in 1 of 57 with all, on a busy machine. So each test that lasts longer
has one file, with all rules at each step, and three attempts of its own; the output of one that failed is printed,
which pytest shows if the test fails. All others have one attempt.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.prometheus.rule_files import parsed, seconds

Document = dict[str, Any]
LONGER = 10
"""Steps of the evaluation of all rules, in those of the assertions."""
COMPACTED_SECONDS = 36 * 3600
ATTEMPTS = 3
"""Of a test that lasts so long: what is wrong by chance once in ten runs is so three times in one of a thousand."""
_WORD = re.compile(r"[A-Za-z_:][\w:]*")
_BY_PATTERN = re.compile(r'__name__\s*=~\s*"([^"]*)"')
_ANY_ALERT = re.compile(r"\bALERTS\w*\b(?!\{[^}]*\balertname=[^~])")


class PromtoolFiles(NamedTuple):
    """Files of rule tests: all that are evaluated in one attempt, and each with attempts of its own."""

    short: Sequence[Path] = ()
    compacted: Sequence[Path] = ()


class RuleSet:
    """Groups of rules, and which of them read which."""

    def __init__(self, groups: Sequence[Document]) -> None:
        self._groups = groups
        self._texts: dict[str, str] = {}
        self._alerts = {_name(rule) for group in groups for rule in group["rules"] if "alert" in rule}
        for group in groups:
            for rule in group["rules"]:
                texts = (rule["expr"], *rule.get("labels", {}).values(), *rule.get("annotations", {}).values())
                self._texts[_name(rule)] = "\n".join((self._texts.get(_name(rule), ""), *map(str, texts)))

    def names_in(self, text: str) -> set[str]:
        """Rules that ``text`` names: in a selector, as the label of an alert, in a query of an annotation."""
        patterns = [re.compile(pattern) for pattern in _BY_PATTERN.findall(text)]
        matched = {name for name in self._texts for pattern in patterns if pattern.fullmatch(name)}
        alerts = self._alerts if _ANY_ALERT.search(text) else set()
        return matched | alerts | {word for word in _WORD.findall(text) if word in self._texts}

    def deciding(self, names: Iterable[str]) -> set[str]:
        """The rules that decide the values of ``names``, these among them."""
        names_found: set[str] = set()
        pending = set(names)
        while pending:
            name = pending.pop()
            names_found.add(name)
            pending |= self.names_in(self._texts[name]) - names_found
        return names_found

    def asserted(self, test: Mapping[str, Any]) -> set[str]:
        """The rules that a test asserts."""
        alerts = {check["alertname"] for check in test.get("alert_rule_test", ())}
        return alerts.union(*(self.names_in(check["expr"]) for check in test.get("promql_expr_test", ())))

    def only(self, names: set[str]) -> list[Document]:
        """The groups with the rules of these names, in their order."""
        groups = ({**g, "rules": [rule for rule in g["rules"] if _name(rule) in names]} for g in self._groups)
        return [group for group in groups if group["rules"]]


def split(document: Document, files: Sequence[Path], name: str, folder: Path) -> PromtoolFiles:
    """Files for promtool, in ``folder``, that assert what ``document`` does of the rules in ``files``."""
    rules = RuleSet([group for path in files for group in parsed(path)["groups"]])
    common = {key: value for key, value in document.items() if key not in ("rule_files", "tests")}
    with_all = {**common, "rule_files": [str(path) for path in files]}
    short, compacted = [], []
    for number, test in enumerate(document["tests"], 1):
        path = folder / f"{name}-{number}.yml"
        if is_compacted(test):
            compacted.append(_write({**with_all, "tests": [_with_numbers(test)]}, path))
            continue
        groups = rules.only(rules.deciding(rules.asserted(test)))
        needed = _write({"groups": groups}, folder / f"{name}-{number}.rules")
        short.append(_write({**common, "rule_files": [str(needed)], "tests": [_with_numbers(test)]}, path))
    step = LONGER * seconds(document["evaluation_interval"])
    evaluated = [_evaluated(test, step) for test in document["tests"] if not is_compacted(test)]
    if evaluated:
        all_rules = {**with_all, "evaluation_interval": f"{step}s", "tests": evaluated}
        short.append(_write(all_rules, folder / f"{name}-all.yml"))
    return PromtoolFiles(short, compacted)


def is_compacted(test: Document) -> bool:
    """Whether ``test`` lasts so long that promtool's storage is compacted meanwhile."""
    return _lasts(test) > COMPACTED_SECONDS


def promtool_test(files: PromtoolFiles, promtool: str = "promtool") -> subprocess.CompletedProcess[str]:
    """``promtool test rules`` of ``files``: the first run that failed in its last attempt, else the last run."""
    runs = [(files.short, 1)] if files.short else []
    for paths, attempts in (*runs, *(([path], ATTEMPTS) for path in files.compacted)):
        for attempt in range(1, attempts + 1):
            completed = subprocess.run(
                [promtool, "test", "rules", *paths], capture_output=True, text=True, timeout=300, check=False
            )
            if completed.returncode == 0:
                break
            output = completed.stdout + completed.stderr
            print(f"promtool, attempt {attempt} of {attempts}:\n{output}")  # noqa: T201 - pytest shows it on failure
        if completed.returncode != 0:
            break
    return completed


def _name(rule: Mapping[str, Any]) -> str:
    return str(rule.get("record") or rule["alert"])


def _lasts(test: Document) -> int:
    """Until when rules are evaluated (s)."""
    checks = (*test.get("alert_rule_test", ()), *test.get("promql_expr_test", ()))
    return max(seconds(check["eval_time"]) for check in checks)


def _with_numbers(test: Document) -> Document:
    """PyYAML reads ``5e7`` as text, which promtool would not take for a number."""
    checks = [
        {**check, "exp_samples": [{**sample, "value": float(sample["value"])} for sample in check["exp_samples"] or ()]}
        for check in test.get("promql_expr_test", ())
    ]
    return {**test, "promql_expr_test": checks}


def _evaluated(test: Document, step: int) -> Document:
    """The same series, and to assert only that evaluations succeed: the first, and one more at the least."""
    end = f"{max(step, _lasts(test))}s"
    there = {"expr": "vector(1)", "eval_time": end, "exp_samples": [{"labels": "{}", "value": 1}]}
    return {**test, "alert_rule_test": [], "promql_expr_test": [there]}


def _write(document: Document, path: Path) -> Path:
    path.write_text(json.dumps(document, ensure_ascii=False))
    return path
