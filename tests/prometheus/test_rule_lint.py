"""What pint, mixtool and dashboard-linter look for without a server, over the expressions of rules and dashboards.

Each check names its counterpart there. An exception is listed in a table, with its reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from operator import itemgetter
from typing import Any

import promql_parser as promql
from tests.each import each
from tests.grafana.boards import queries
from tests.prometheus.rule_files import ALERTS, Rule, every_rule, every_test, walk

SCRAPE = timedelta(seconds=15)
RULES = [(f"{rule.name} {rule.severity}".strip(), rule.body["expr"]) for rule in every_rule()]
PANELS = [(str(query), query.filled()) for query in queries()]
EVERY = each("where, expr", RULES + PANELS, name_of=itemgetter(0))
IN_RULES = each("where, expr", RULES, name_of=itemgetter(0))
OVER_COUNTERS = {"rate", "irate", "increase", "resets"}
OVER_GAUGES = {"delta", "idelta", "deriv", "predict_linear", "holt_winters"}
COMPARISONS = {"==", "!=", ">", "<", ">=", "<="}
OFFER = {"cheapest_zone", "provider", "region", "zone", "instance_type", "purchase_option", "gpu_model", "source"}
"""The labels that make an offer of the poller's one thing. A rule may aggregate by them alone: the poller's series are
joined by what is offered, whichever poller says so and whatever labels its target has."""
KEEP = {"cluster"}
"""The labels that the committed rules are built to keep."""
OF_AGENTS = ("epochcost_node_", "epochcost_gpu_", "epochcost_run_", "epochcost_collector_", "epochcost_sample_")
OF_OTHER_VERSIONS = ("EpochcostAgentVersion",)
ABOUT_TARGETS = (
    "target:", "machine:epochcost_limit", "run:epochcost_limit", "EpochcostAgentDown", "EpochcostPricesDown",
    "EpochcostAgentVersion",
)  # fmt: skip
"""A target that does not answer has no other name. A limit may be for a node, by the name that its agent says."""
BARE_ON = re.compile(r"epochcost:(threshold|link):|vector\(|time\(\)|days_in_month|utc:|hour\(|month\(|count\(|sum\(")
"""What a match ``on ()`` may be with: something that has one value for everybody."""


def calls(expr: str, functions: set[str]) -> Iterator[Any]:
    return (n for n in walk(promql.parse(expr)) if isinstance(n, promql.Call) and n.func.name in functions)


def is_counter(name: str) -> bool:
    return name.endswith(("_total", "_sum", "_count"))


@EVERY
def test_rates_are_of_counters_over_four_scrapes_or_more(where, expr):
    """pint promql/rate, dashboard-linter target-counter-agg-rule."""
    for call in calls(expr, OVER_COUNTERS):
        (over,) = call.args
        assert isinstance(over, promql.MatrixSelector), f"{where}: {call.func.name} of what is no plain selector"
        assert is_counter(over.vector_selector.name), f"{where}: {call.func.name} of a gauge"  # type: ignore[arg-type]
        assert over.range >= 4 * SCRAPE, f"{where}: {over.range} may hold a single sample"


@EVERY
def test_functions_for_gauges_are_not_applied_to_counters(where, expr):
    """pint promql/counter."""
    for call in calls(expr, OVER_GAUGES):
        assert not any(isinstance(n, promql.VectorSelector) and is_counter(n.name or "") for n in walk(call)), where


@EVERY
def test_every_selector_has_a_name_and_no_regular_expression_without_need(where, expr):
    """pint promql/selector and promql/regexp."""
    for node in walk(promql.parse(expr)):
        if not isinstance(node, promql.VectorSelector):
            continue
        assert node.name, f"{where}: a selector without a metric reads all of Prometheus"
        for matcher in node.matchers.matchers:
            if matcher.op in (promql.MatchOp.Re, promql.MatchOp.NotRe) and where in dict(RULES):
                assert re.search(r"[.*+?|\[(]", matcher.value), f"{where}: {matcher.name} needs no regular expression"


@IN_RULES
def test_an_aggregation_keeps_the_labels_that_split_the_bill(where, expr):
    """pint promql/aggregate: without them two clusters would be one. ``without`` would keep those of a target."""
    for node in walk(promql.parse(expr)):
        if not isinstance(node, promql.AggregateExpr) or (node.modifier is None and "on ()" in expr):
            continue
        assert node.modifier is not None, f"{where}: {node.prettify()}"
        labels = set(node.modifier.labels)
        if node.modifier.type == promql.AggModifierType.Without:
            assert labels <= {"state", "zone", "purchase_option"}, f"{where}: {node.prettify()}"
        else:
            assert labels >= KEEP or labels <= OFFER, f"{where}: {node.prettify()}"


@IN_RULES
def test_selectors_of_agent_series_require_the_machine_label(where, expr):
    """Series of older agents have none, and would merge into one machine."""
    for node in walk(promql.parse(expr)):
        if isinstance(node, promql.VectorSelector) and node.name and node.name.startswith(OF_AGENTS):
            assert 'epochcost_machine!=""' in node.prettify() or where.startswith(OF_OTHER_VERSIONS), (
                f"{where}: {node.name}"
            )


@IN_RULES
def test_no_figure_needs_a_label_of_a_target(where, expr):
    """pint promql/vector_matching: job, instance, pod, node and so on are the scrape configuration's."""
    if where.startswith(ABOUT_TARGETS):
        return
    for node in walk(promql.parse(expr)):
        matching = node.modifier.matching if isinstance(node, promql.BinaryExpr) and node.modifier else None
        text = str(matching or "")
        assert not re.search(r"\b(job|instance|pod|namespace|container|endpoint|service|node)\b", text), (
            f"{where}: {text}"
        )
        assert not text.startswith("ignoring"), f"{where}: {text}"


@IN_RULES
def test_only_single_valued_series_are_matched_on_no_labels(where, expr):
    """pint promql/vector_matching."""
    for node in walk(promql.parse(expr)):
        matching = node.modifier.matching if isinstance(node, promql.BinaryExpr) and node.modifier else None
        if matching is not None and str(matching) == "on ()":
            sides = f"{node.lhs.prettify()} {node.rhs.prettify()}"
            assert BARE_ON.search(sides), f"{where}: {sides}"


@each("rule", ALERTS, name_of=lambda rule: f"{rule.name} {rule.severity}")
def test_an_alert_has_a_comparison_or_checks_for_absence(rule: Rule):
    """pint alerts/comparison: one without would fire for every series that there is."""
    nodes = list(walk(promql.parse(rule.body["expr"])))
    operators = {str(node.op) for node in nodes if isinstance(node, promql.BinaryExpr)}
    notice = any(isinstance(n, promql.VectorSelector) and "notice" in (n.name or "") for n in nodes)
    assert operators & (COMPARISONS | {"unless"}) or notice, "a notice is its own condition: absent until there is one"


@each("rule", ALERTS, name_of=lambda rule: f"{rule.name} {rule.severity}")
def test_a_label_in_the_text_is_on_the_alert(rule: Rule):
    """pint alerts/template: a label that the expression drops would leave a hole in the sentence."""
    text = " ".join(str(value) for value in rule.body["annotations"].values())
    labels_in_text = set(re.findall(r"\$labels\.(\w+)", text))
    expected = [
        alert["exp_labels"]
        for test in every_test()
        for check in test.get("alert_rule_test", ())
        if check["alertname"] == rule.name
        for alert in check["exp_alerts"]
    ]
    assert expected
    missing = {label for label in labels_in_text if not any(label in labels for labels in expected)}
    assert missing == set()
