"""Checks of every dashboard, panel and expression."""

from __future__ import annotations

import itertools
import re
from functools import cache
from pathlib import Path

import promql_parser
import pytest
import yaml
from tests.each import each
from tests.grafana.boards import DASHBOARDS, ROOT, panels, queries
from tests.grafana.scenarios import FLEETS
from tests.prometheus.rule_files import series_used

from epochcost import __version__
from epochcost.demo.rules_for_replay import every_rule
from epochcost.model import State
from epochcost.palette import PALETTE

BOARDS = each("board", DASHBOARDS.values(), name_of=lambda board: board["title"])
PANELS = each("panel", [p for b in DASHBOARDS.values() for p in panels(b)], name_of=lambda p: p["title"])
QUERIES = each("query", queries())
CORE = {"stat", "timeseries", "table", "bargauge", "gauge", "state-timeline", "xychart", "heatmap", "text", "alertlist"}
UNITS = {
    "currencyUSD", "suffix:$/h", "suffix:$/GPU-hour", "percentunit", "s", "m", "dtdhms", "short", "none",
    "suffix:steps/s", "suffix:events/s", "suffix:epochs", "suffix:x", "watt", "celsius", "Bps",
    "kwatth", "suffix:GPUs",
}  # fmt: skip
NAMES = {
    "state", "run", "phase", "gpu", "purchase_option", "zone", "instance_type", "offer", "setup", "source", "group",
    "collector", "result", "experiment", "sm", "reason", "xid", "type", "call", "form", "credit", "metric", "owner",
    "short",
}  # fmt: skip
"""Labels whose values are words that a reader of the project knows."""
NOT_OURS = {
    "up", "scrape_duration_seconds", "scrape_samples_scraped", "prometheus_rule_group_last_duration_seconds",
}  # fmt: skip
"""Series of Prometheus itself that the dashboards may ask for."""
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
RUNBOOK = f"https://github.com/epochcost/epochcost/blob/v{__version__}/docs/runbooks/${{__value.raw}}.md"
# A deprecation warning of the SDK on its first import: Grafana 13 rejects the suggested replacement.
pytestmark = pytest.mark.filterwarnings("ignore:Prefer using dashboardv2:DeprecationWarning")
COUNTERS = re.compile(r"(rate|increase)\(\s*([a-zA-Z_:]+)")


def test_the_files_are_what_the_code_builds():
    from every_board import BUILT

    assert set(BUILT) == set(DASHBOARDS)
    for name, build in BUILT.items():
        committed = (ROOT / f"grafana/dashboards/{name}.json").read_text()
        assert build() == committed, f"{name}.json is stale: PYTHONPATH=exporter python grafana/build"


def test_uids_never_change():
    assert {name: board["uid"] for name, board in DASHBOARDS.items()} == {
        "compare": "epochcost-compare",
        "finance": "epochcost-finance",
        "fleet": "epochcost-fleet",
        "health": "epochcost-health",
        "market": "epochcost-market",
        "node": "epochcost-node",
        "run": "epochcost-run",
    }


@BOARDS
def test_a_dashboard_is_classic_json(board):
    assert board["schemaVersion"] <= 42
    assert board["editable"] is False
    assert board["id"] is None
    assert "__inputs" not in board
    assert "apiVersion" not in board
    assert "${DS_" not in str(board)
    assert "inControlsMenu" not in str(board)


@BOARDS
def test_panels_have_ids_of_their_own_and_fill_the_grid_without_overlap(board):
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    occupied: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        g = panel["gridPos"]
        cells = set(itertools.product(range(g["x"], g["x"] + g["w"]), range(g["y"], g["y"] + g["h"])))
        assert not occupied & cells, f"{panel['title']} lies on another panel"
        assert g["x"] + g["w"] <= 24
        occupied |= cells
    height = max(y for _, y in occupied) + 1
    assert len(occupied) == 24 * height, "the grid has a hole"


@BOARDS
def test_the_one_data_source_variable_is_used_everywhere(board):
    variables = board["templating"]["list"]
    assert [v["name"] for v in variables if v["type"] == "datasource"] == ["datasource"]
    assert all(v["datasource"] == SOURCE for v in variables if v["type"] == "query")


@BOARDS
def test_links_carry_the_time_range_and_the_variables(board):
    assert board["links"]
    for link in board["links"]:
        assert link["keepTime"] is True
        assert link["includeVars"] is True
    for url in re.findall(r"'url': '([^']*)'", str(board)):
        if url == RUNBOOK:
            continue
        assert "${__url_time_range}" in url
        assert "${datasource:queryparam}" in url


@PANELS
def test_a_panel_has_a_description(panel):
    assert panel["type"] in CORE
    assert panel["title"].strip()
    assert len(panel["description"]) > 25
    assert panel["description"].endswith(".")
    assert panel["datasource"] == SOURCE
    assert all(target["datasource"] == SOURCE for target in panel["targets"])


TABLES = each("panel", [p for b in DASHBOARDS.values() for p in panels(b) if p["type"] == "table"],
              name_of=lambda p: p["title"])  # fmt: skip
NARROW = 1100
"""Width of a page in pixels, at which every table has to show whole columns."""
NAMED = {
    "Run", "Node", "Machine", "Experiment", "Setup", "Owner", "Team", "User", "Type", "Zone, region", "Zone", "Region",
    "Cluster", "Policy", "Where", "Part", "Source", "GPU", "Namespace", "By", "Why",
}  # fmt: skip
"""Headings of columns of names, which may be of any length."""


def columns_of(panel) -> dict[str, dict]:
    return {
        o["matcher"]["options"]: {p["id"]: p["value"] for p in o["properties"]}
        for o in panel["fieldConfig"]["overrides"]
    }


@TABLES
def test_a_table_is_as_wide_as_its_panel_on_a_narrow_page(panel):
    visible = [c for c in columns_of(panel).values() if not c.get("custom.hidden")]
    inside = panel["gridPos"]["w"] / 24 * (NARROW - 24) - 10
    assert sum(c.get("custom.width") or c["custom.minWidth"] for c in visible) <= inside


@TABLES
def test_names_wrap_and_are_not_truncated(panel):
    for heading, column in columns_of(panel).items():
        if heading in NAMED and column["unit"] == "string" and not column.get("custom.hidden"):
            assert column.get("custom.wrapText") or heading == "GPU", heading


class TestNamesThatCannotWrap:
    """As Grafana does it: `value.replace(regex, text)`, in JavaScript's syntax."""

    def displayed(self, name: str) -> str:
        from tables import unbreakable

        pattern = re.fullmatch("/(.*)/g", unbreakable(19))
        assert pattern
        return re.sub(pattern[1], r"\1…\2", name)

    def test_a_name_that_can_wrap_is_unchanged(self):
        for name in ("sim-pretraining-of-a-long-name-196", "2 x p4d.24xlarge, spot, batch 96", "sweep_lr_0.01_12"):
            assert self.displayed(name) == name

    def test_a_name_that_cannot_wrap_is_shortened_in_the_middle_and_stays_distinct(self):
        assert self.displayed("sweep_lr_0.001_bs_256_seed_41") == "sweep_lr_…_seed_41"
        assert self.displayed("sweep_lr_0.001_bs_256_seed_42") == "sweep_lr_…_seed_42"

    def test_every_long_word_of_a_name_is_shortened(self):
        assert self.displayed("a" * 30 + "-" + "b" * 30) == "aaaaaaaaa…aaaaaaaa-bbbbbbbbb…bbbbbbbb"


def test_every_alert_has_advice_and_all_advice_has_an_alert():
    from advice import WHAT_TO_DO

    alerts = {rule["alert"].removeprefix("Epochcost") for rule in every_rule(ROOT / "prometheus" / "rules", "alert")}
    assert set(WHAT_TO_DO) ^ alerts == set(), "each alert has one line in grafana/build/advice.py"
    assert all((ROOT / f"docs/runbooks/Epochcost{alert}.md").is_file() for alert in alerts)
    assert max(len(text) for text in WHAT_TO_DO.values()) <= 38


@PANELS
def test_a_panel_has_a_unit_and_empty_state_text(panel):
    defaults = panel["fieldConfig"]["defaults"]
    # `none` is deliberate: positions and counts have no unit. A table's units are set on its columns.
    assert defaults["unit"] in UNITS
    assert defaults["noValue"]


@PANELS
def test_refs_are_unique_and_a_range_query_draws_a_graph(panel):
    refs = [target["refId"] for target in panel["targets"]]
    assert len(set(refs)) == len(refs)
    assert {target["range"] for target in panel["targets"]} == {panel["type"] in ("timeseries", "state-timeline")}


@QUERIES
def test_a_legend_is_a_name_and_never_a_raw_label_set(query):
    assert query.legend
    assert query.legend != "__auto"
    if query.kind != "table":
        labels = set(re.findall(r"\{\{(\w+)\}\}", query.legend))
        assert labels <= NAMES


@QUERIES
def test_an_expression_parses(query):
    promql_parser.parse(query.filled())


@QUERIES
def test_rates_are_taken_of_counters_over_grafanas_interval(query):
    for function, metric in COUNTERS.findall(query.expr):
        assert metric.endswith("_total"), f"{function} of {metric}"
    for window in re.findall(r"(?:rate|increase)\([^\[]*\[([^\]]+)\]", query.expr):
        assert window in ("$__rate_interval", "$__range")


@cache
def _known_metrics() -> set[str]:
    fleet = FLEETS["many"]
    simulated = {name for t in (600.0, 12_000.0, 20_000.0) for name, _, _ in fleet.samples(t)}
    recorded = {rule["record"] for rule in every_rule(ROOT / "prometheus" / "rules", "record")}
    return simulated | recorded | {"ALERTS", "ALERTS_FOR_STATE"} | NOT_OURS


@QUERIES
def test_queries_use_only_existing_metrics_and_recorded_series(query):
    names = series_used(query.filled())
    assert names
    assert names <= _known_metrics(), names - _known_metrics()


def test_a_state_has_one_colour_on_every_panel():
    for board in DASHBOARDS.values():
        for panel in panels(board):
            for override in panel["fieldConfig"]["overrides"]:
                name = override["matcher"]["options"]
                for setting in override["properties"]:
                    if setting["id"] == "color" and name in {s.value for s in State} - {"startup"}:
                        assert setting["value"]["fixedColor"] == PALETTE[State(name)]


def test_colours_by_name_are_not_lost_to_a_display_name():
    for board in DASHBOARDS.values():
        for panel in panels(board):
            config = panel["fieldConfig"]
            assert not (config["overrides"] and "displayName" in config["defaults"]), panel["title"]


def test_every_state_has_a_colour_wherever_states_are_shown():
    panels_of_states = [
        {o["matcher"]["options"] for o in panel["fieldConfig"]["overrides"]}
        for board in DASHBOARDS.values()
        for panel in panels(board)
        if any(t["legendFormat"] == "{{state}}" for t in panel["targets"])
    ]
    assert len(panels_of_states) == 7
    assert all({s.value for s in State} <= names for names in panels_of_states)


class TestProvisioning:
    folder = ROOT / "grafana/provisioning"

    def read(self, path: str):
        return yaml.safe_load((self.folder / path).read_text())

    def test_the_data_source_has_a_fixed_uid_and_prometheus_own_scrape_interval(self):
        (source,) = self.read("datasources/epochcost.yml")["datasources"]
        prometheus = yaml.safe_load((ROOT / "prometheus/prometheus.yml").read_text())
        assert source["uid"] == "epochcost-prometheus"
        assert source["type"] == "prometheus"
        assert source["jsonData"]["timeInterval"] == prometheus["global"]["scrape_interval"]

    def test_the_provider_gives_grafana_the_generated_files_unchangeably(self):
        (provider,) = self.read("dashboards/epochcost.yml")["providers"]
        assert provider["type"] == "file"
        assert provider["allowUiUpdates"] is False
        assert provider["options"]["path"] == "$DASHBOARDS_DIR"

    def test_no_file_contains_a_secret_or_a_path_of_this_machine(self):
        for path in Path(self.folder).rglob("*.yml"):
            assert not re.search(r"password|secureJsonData|/home/|/work/|/tmp/", path.read_text()), path
