"""The committed dashboards as the tests read them: panels, queries, and the values of variables."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DASHBOARDS = {path.stem: json.loads(path.read_text()) for path in sorted((ROOT / "grafana/dashboards").glob("*.json"))}


ALL = {
    "cluster": ".*", "node": ".*", "machine": ".*", "experiment": ".*", "run": "",
    "team": ".*", "owner": ".*", "provider": ".*", "instance_type": "", "here": "", "epochs": "25",
}  # fmt: skip
"""The values of variables that a test does not set."""


@dataclass(frozen=True, slots=True)
class PanelQuery:
    """One query of one panel."""

    board: str
    panel: str
    kind: str
    ref: str
    expr: str
    legend: str
    instant: bool
    key: str = ""
    """The label by which a table joins its queries; empty if there is nothing to join."""

    def __str__(self) -> str:
        return f"{self.board}/{self.panel}/{self.ref}"

    def filled(self, **variables: str) -> str:
        """The expression with Grafana's macros and ``variables`` in place."""
        values = {"__rate_interval": "2m", "__range": "6h", **ALL, **variables}
        return re.sub(r"\$\{?([a-z_]\w*)\}?", lambda m: values[m[1]], self.expr)


def panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    """Every panel, those in collapsed rows included; without the rows themselves."""
    every = [one for panel in board["panels"] for one in (panel, *panel.get("panels", ()))]
    return [panel for panel in every if panel["type"] != "row"]


def queries() -> Iterator[PanelQuery]:
    """Every query of every dashboard."""
    for name, board in DASHBOARDS.items():
        for panel in panels(board):
            shape = (name, panel["title"], panel["type"])
            for t in panel["targets"]:
                yield PanelQuery(*shape, t["refId"], t["expr"], t["legendFormat"], bool(t["instant"]), _key(panel))


def _key(panel: dict[str, Any]) -> str:
    joins = [step["options"] for step in panel.get("transformations", ()) if step["id"] == "joinByField"]
    return next((join["byField"] for join in joins if join["byField"] != "Time"), "")
