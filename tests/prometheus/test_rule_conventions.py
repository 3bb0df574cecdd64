"""What every recording rule and alert of the project must have."""

from __future__ import annotations

import re
from typing import Any

from tests.each import each
from tests.prometheus.rule_files import (
    ALERTS,
    RECORDINGS,
    ROOT,
    RULE_TESTS,
    RULES,
    RUNBOOKS_DIR,
    Rule,
    every_rule,
    every_test,
    exported_names,
    parsed,
    seconds,
    series_used,
)

from epochcost._version import __version__

BY_NAME: dict[str, Any] = {"name_of": lambda rule: f"{rule.name}-{rule.severity}".rstrip("-")}
EXPR_TESTS = [check for test in every_test() for check in test.get("promql_expr_test", ())]
ALERT_NAMES = sorted({rule.name for rule in ALERTS})
RUNBOOK_SECTIONS = ["## Meaning", "## Impact", "## Diagnosis", "## Mitigation"]


def alert_checks(name: str) -> list[list[tuple[int, list[dict]]]]:
    """For each promtool test that looks at alert ``name``: when it looks and what it expects, in order of time."""
    expectations = []
    for test in every_test():
        checks = [check for check in test.get("alert_rule_test", ()) if check["alertname"] == name]
        if checks:
            expectations.append(sorted((seconds(check["eval_time"]), check["exp_alerts"]) for check in checks))
    return expectations


@each("rule", RECORDINGS, **BY_NAME)
def test_a_recording_rule_is_named_by_level_metric_and_operation(rule: Rule) -> None:
    assert re.fullmatch(r"[a-z_]+:(epochcost_)?[a-z_]+:[a-z0-9_]+", rule.name)
    assert "_total" not in rule.name


@each("rule", RECORDINGS, **BY_NAME)
def test_a_recording_rule_has_a_test_that_expects_a_value_of_it(rule: Rule) -> None:
    tested = any(rule.name in series_used(check["expr"]) and check["exp_samples"] for check in EXPR_TESTS)
    assert tested, f"{rule.name}: no test in prometheus/rules/tests expects a value of it"


@each("rule", RECORDINGS, **BY_NAME)
def test_a_recording_rule_is_explained_in_the_documentation(rule: Rule) -> None:
    explained = f"`{rule.name}`" in (ROOT / "docs" / "rules.md").read_text()
    assert explained, f"{rule.name} has no row in docs/rules.md"


def test_every_documented_rule_exists() -> None:
    explained = set(re.findall(r"^\| `([a-z_]+:[a-z_:0-9]+)`", (ROOT / "docs" / "rules.md").read_text(), re.MULTILINE))
    assert explained == {rule.name for rule in RECORDINGS}


def test_no_two_recording_rules_share_a_name() -> None:
    names = [rule.name for rule in RECORDINGS]
    assert sorted(names) == sorted(set(names))


@each("rule", every_rule(), **BY_NAME)
def test_a_rule_reads_only_series_that_are_exported_or_recorded(rule: Rule) -> None:
    known_names = exported_names() | {recording.name for recording in RECORDINGS} | {"up", "ALERTS"}
    users = {name for name in series_used(rule.body["expr"]) if name.startswith("epochcost:limit:")}
    unknown = sorted(series_used(rule.body["expr"]) - users - known_names)
    assert unknown == [], "neither exported nor recorded; what LIMIT_... reads is in prometheus/build/limit_rules.py"


def test_promtool_tests_feed_only_series_that_are_exported() -> None:
    fed = {line["series"].split("{")[0] for test in every_test() for line in test.get("input_series", ())}
    rows = {name for name in fed if name.startswith("epochcost:limit:")} | {"epochcost:threshold:budget_usd_per_month"}
    assert fed <= exported_names() | {"up"} | rows  # which users add


@each("path", RULES, name_of=lambda path: path.name)
def test_a_group_has_at_most_twenty_rules(path) -> None:
    assert all(len(group["rules"]) <= 20 for group in parsed(path)["groups"])


def test_group_names_are_unique() -> None:
    names = [group["name"] for path in RULES for group in parsed(path)["groups"]]
    assert sorted(names) == sorted(set(names))


@each("path", RULE_TESTS, name_of=lambda path: path.name)
def test_a_promtool_test_is_marked_simulated_and_orders_its_groups(path) -> None:
    text = path.read_text()
    assert "simulated" in text.splitlines()[0]
    assert "group_eval_order" in text  # else promtool evaluates groups in random order


@each("rule", ALERTS, **BY_NAME)
def test_an_alert_has_a_short_name_a_severity_and_a_wait(rule: Rule) -> None:
    assert re.fullmatch(r"Epochcost([A-Z][a-z]+)+", rule.name)
    assert len(rule.name) <= 40
    assert rule.severity in {"critical", "warning", "info"}
    assert rule.body["for"]


@each("rule", ALERTS, **BY_NAME)
def test_an_alert_names_the_problem_the_place_the_cost_and_the_next_step(rule: Rule) -> None:
    notes = rule.body["annotations"]
    assert set(notes) == {"summary", "description", "runbook_url", "dashboard_url"}
    assert re.fullmatch(r"[A-Z][^{}]*\.", notes["summary"])
    assert "$labels." in notes["description"]
    assert re.search(r"\d (minutes|hours)| last hour| ago\.", notes["description"])
    assert "Likely cause: " in notes["description"]
    last = notes["description"].rindex("What to do: ")  # one thing to do ends the text
    assert "Likely" not in notes["description"][last:]
    assert "$value" in notes["description"] or rule.name == "EpochcostPriceUnknown"
    assert notes["runbook_url"].endswith(f"/blob/v{__version__}/docs/runbooks/{rule.name}.md")
    assert 'query "epochcost:link:grafana"' in notes["dashboard_url"]
    assert re.search(r"/d/epochcost-(fleet|run|node|market)", notes["dashboard_url"])


@each("name", ALERT_NAMES)
def test_an_alert_has_a_runbook_of_four_parts(name: str) -> None:
    runbook = RUNBOOKS_DIR / f"{name}.md"
    assert runbook.is_file(), f"{name} has no runbook: write docs/runbooks/{name}.md"
    text = runbook.read_text()
    assert text.startswith(f"# {name}\n")
    assert re.findall(r"^## .*", text, re.MULTILINE) == RUNBOOK_SECTIONS


def test_every_runbook_belongs_to_an_alert() -> None:
    assert sorted(path.stem for path in RUNBOOKS_DIR.glob("Epochcost*.md")) == ALERT_NAMES


def test_the_index_of_runbooks_names_every_alert_with_its_summary() -> None:
    text = (RUNBOOKS_DIR / "README.md").read_text()
    rows = re.findall(r"^\| \[(\w+)\]\(\1\.md\) \| [a-z, ]+ \| (.*) \|$", text, re.MULTILINE)
    assert sorted(name for name, _ in rows) == ALERT_NAMES, "each alert has one row in docs/runbooks/README.md"
    assert set(rows) <= {(rule.name, rule.body["annotations"]["summary"]) for rule in ALERTS}


@each("name", ALERT_NAMES)
def test_an_alert_is_tested_silent_then_firing_then_resolved(name: str) -> None:
    histories = [[len(expected) for _, expected in checks] for checks in alert_checks(name)]
    good = [h for h in histories if h[0] == 0 and max(h) > 0 and h[-1] < max(h)]
    assert good, f"{name}: no test in prometheus/rules/tests expects it silent, then firing, then resolved"


@each("rule", ALERTS, **BY_NAME)
def test_every_severity_of_an_alert_is_tested_firing(rule: Rule) -> None:
    fired = [alert for checks in alert_checks(rule.name) for _, expected in checks for alert in expected]
    assert rule.severity in {alert["exp_labels"]["severity"] for alert in fired}


def test_limits_are_constants_in_one_file_and_every_one_is_used() -> None:
    limits = {rule.name for rule in RECORDINGS if rule.name.startswith("epochcost:")}
    used_series = {name for rule in every_rule() for name in series_used(rule.body["expr"])}
    texts = " ".join(text for rule in ALERTS for text in rule.body["annotations"].values())
    in_texts = {name for name in limits if re.search(rf"\b{re.escape(name)}\b", texts)}
    assert {rule.file.name for rule in RECORDINGS if rule.name in limits} == {"epochcost-thresholds.yml"}
    assert limits <= used_series | in_texts
