"""Each dashboard by the rules of Grafana's classic importer, which grafana.com uses as well.

Values missing in a file are prompted for on import (``__inputs``); none are: the data source is a variable.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from tests.grafana.boards import DASHBOARDS, ROOT, panels

BOARDS = pytest.mark.parametrize("name", DASHBOARDS)
PLACEHOLDER = re.compile(r"\$\{((?:DS|VAR)_[A-Z0-9_]+)\}")
BUILT_IN = {"-- Grafana --", "-- Mixed --", "-- Dashboard --", "grafana"}
CORE_PANELS = {
    "stat",
    "timeseries",
    "table",
    "bargauge",
    "gauge",
    "state-timeline",
    "xychart",
    "heatmap",
    "text",
    "alertlist",
}


def sources(node: Any) -> Iterator[Any]:
    """Every data source that is named anywhere."""
    if isinstance(node, dict):
        yield from ([node["datasource"]] if node.get("datasource") else [])
        for value in node.values():
            yield from sources(value)
    elif isinstance(node, list):
        for value in node:
            yield from sources(value)


@BOARDS
def test_the_import_prompts_only_for_listed_inputs(name: str) -> None:
    board = DASHBOARDS[name]
    listed = {each["name"] for each in board.get("__inputs", ())}
    assert set(PLACEHOLDER.findall(json.dumps(board))) == listed
    variables = {each["name"] for each in board["templating"]["list"] if each["type"] == "datasource"}
    for source in sources(board):
        assert isinstance(source, dict), f"{source}: by name, which another Grafana does not have"
        uid = source["uid"]
        assert uid in BUILT_IN or uid.strip("${}") in variables | listed


@BOARDS
def test_it_has_no_id_of_another_instance(name: str) -> None:
    board = DASHBOARDS[name]
    assert board.get("id") is None, "the number of a dashboard of the Grafana that it was made in"
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,40}", board["uid"])
    assert board["title"].strip()
    assert board["description"].strip(), "what grafana.com shows in its list"
    assert board["tags"]
    assert not {"meta", "dashboard", "spec", "apiVersion", "folderId", "iteration"} & board.keys()
    assert "libraryPanel" not in json.dumps(board)
    assert isinstance(board["schemaVersion"], int)


@BOARDS
def test_its_requirements_are_part_of_every_grafana(name: str) -> None:
    board = DASHBOARDS[name]
    kinds = {panel["type"] for panel in panels(board)}
    assert kinds <= CORE_PANELS
    required = {each["id"] for each in board.get("__requires", ()) if each["type"] == "panel"}
    assert not required or required == kinds
    assert (ROOT / f"grafana/dashboards/{name}.json").stat().st_size < 1_000_000, "what importers take"
