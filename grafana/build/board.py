"""How a dashboard of ours is put together: grid, panels, links, and the JSON that Grafana provisions.

Classic (v1) JSON only: Grafana 13 refuses bare v2 files, and older ones know nothing else.
"""

# ruff: noqa: FBT003 - the setters of the SDK take a lone boolean
from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from grafana_foundation_sdk.builders import dashboard as sdk
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.common import DataSourceRef
from selection import MACHINE, in_clusters, once

COLUMNS = 24
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
"""Every query goes through the one data source variable."""
TAG = "epochcost"
Band: TypeAlias = tuple[int, Sequence[tuple[int, Builder[models.Panel]]]]
"""A height, and panels with their widths."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Vertical lines in every graph: where ``expr`` is more than 0, or at the time (ms) that is its value."""

    name: str
    expr: str
    title: str
    colour: str
    its_value_is_the_time: bool = False
    enabled: bool = True

    def annotation(self) -> dict[str, Any]:
        """As Grafana's file has it."""
        return {
            "name": self.name,
            "datasource": {"type": SOURCE.type_val, "uid": SOURCE.uid},
            "enable": self.enabled,
            "hide": False,
            "iconColor": self.colour,
            "expr": in_clusters(self.expr),
            "step": "60s",
            "useValueForTime": self.its_value_is_the_time,
            "titleFormat": self.title,
        }


def preemptions(of: str = "") -> Mark:
    """When a provider's preemption notice was first seen, of the machines in ``of`` alone if it is given."""
    notice = once(MACHINE, '1000 * epochcost_node_preemption_notice_timestamp_seconds{kind="interruption"}')
    return Mark(
        "Preemptions",
        f"{notice} and on ({MACHINE}) {of}" if of else notice,
        "{{epochcost_machine}} is preempted by its provider",
        "orange",
        its_value_is_the_time=True,
    )


def _moved(price: str) -> str:
    return f"abs({price} / ({price} offset 1m) - 1) > 0.01"


OF_A_NODE = 'node:epochcost_node_info:max{epochcost_machine="$machine"}'
OF_A_RUN = 'epochcost_run_node_share_ratio{run="$run"} > 0'
PRICE_CHANGES_OF_A_NODE = Mark(
    "Price changes",
    _moved('node:epochcost_price_usd_per_hour:unified{epochcost_machine="$machine"}'),
    "The price of {{node}} moved by more than 1 %",
    "purple",
)
PRICE_CHANGES_OF_A_RUN = Mark(
    "Price changes",
    _moved("node:epochcost_price_usd_per_hour:unified") + f" and on ({MACHINE}) {OF_A_RUN}",
    "The price of {{node}} moved by more than 1 %",
    "purple",
)
EPOCHS_OF_A_RUN = Mark(
    "Epochs",
    'changes(max by (run) (epochcost_run_epoch_seconds_count{run="$run"})[1m:30s]) > 0',
    "An epoch of {{run}} ended",
    "green",
    enabled=False,
)
"""Off until it is switched on at the top of the page: short epochs would hide the graph."""


@dataclass(slots=True)
class Grid:
    """Places panels left to right, a band at a time, so that they can neither overlap nor leave a hole."""

    y: int = 0
    _id: int = 0
    panels: list[models.Panel | models.RowPanel] = field(default_factory=list)

    def heading(self, title: str) -> models.RowPanel:
        """A row that names what follows."""
        row = sdk.Row(title).build()
        row.id_val, row.grid_pos = self._next_id(), models.GridPos(h=1, w=COLUMNS, x=0, y=self.y)
        self.panels.append(row)
        self.y += 1
        return row

    def band(self, height: int, *panels: tuple[int, Builder[models.Panel]]) -> None:
        """A band of ``(width, panel)`` that together are as wide as the grid.

        Raises:
            ValueError: when the widths do not add up to 24 columns.
        """
        if sum(width for width, _ in panels) != COLUMNS:
            raise ValueError(f"a band is {COLUMNS} columns wide, not {[width for width, _ in panels]}")
        x = 0
        for width, builder in panels:
            panel = builder.build()
            panel.id_val, panel.grid_pos = self._next_id(), models.GridPos(h=height, w=width, x=x, y=self.y)
            self.panels.append(panel)
            x += width
        self.y += height

    def folded(self, title: str, *bands: Band) -> None:
        """A heading that shows its panels when it is opened, for what few have; the last thing on a dashboard."""
        row = self.heading(title)
        inside = Grid(self.y, self._id)
        for height, panels in bands:
            inside.band(height, *panels)
        row.collapsed, row.panels, self._id = (
            True,
            [p for p in inside.panels if isinstance(p, models.Panel)],
            inside._id,
        )

    def _next_id(self) -> int:
        self._id += 1
        return self._id


def most_first(name: str, label: str, query: str, by: str) -> sdk.QueryVariable:
    """A variable whose options are the values of label ``by`` in the order of ``query``: the first is chosen.

    ``query`` has no other label: Grafana writes values as they are, so one may contain quotes.
    """
    variable = query_variable(name, label, f"query_result(sort_desc({in_clusters(query)}))", all_values=False)
    return variable.sort(models.VariableSort.DISABLED).regex(f'/^{{{by}="(?<value>.*)"}}/')


def query_variable(name: str, label: str, query: str, *, all_values: bool) -> sdk.QueryVariable:
    """A variable whose options are label values of the chosen time range."""
    variable = (
        sdk.QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query({"query": query, "refId": f"{name}-options"})
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .allow_custom_value(False)
    )
    return variable.include_all(True).multi(True).all_value(".*") if all_values else variable


def cluster_variable() -> sdk.QueryVariable:
    """The clusters of the store; All by default, and where series have no such label."""
    variable = query_variable(
        "cluster", "Cluster", "label_values(machine:epochcost_node_info:max, cluster)", all_values=True
    )
    return variable.current(models.VariableOption(selected=True, text=["All"], value=["$__all"]))


def cluster_of_variable(series: str) -> sdk.QueryVariable:
    """The cluster of ``series``: two clusters may have a run of the same name, and their figures are never mixed."""
    return query_variable("cluster", "Cluster", f"label_values({series}, cluster)", all_values=False)


def machine_variable(label: str) -> sdk.QueryVariable:
    """A machine by its own name, shown by the name of its node: the first is the one that wastes most."""
    known = "0 * max by (epochcost_machine, node) (node:epochcost_node_info:max)"
    wasted = "max by (epochcost_machine) (node:epochcost_waste_usd_per_hour:rate5m)"
    query = in_clusters(f"{known} + on (epochcost_machine) group_left () {wasted}\nor {known}")
    variable = query_variable("machine", label, f"query_result(sort_desc({query}))", all_values=False)
    named = '/epochcost_machine="(?<value>[^"]+)".*node="(?<text>[^"]+)"/'
    return variable.sort(models.VariableSort.DISABLED).regex(named)


@dataclass(frozen=True, slots=True)
class Heading:
    """What a board is called, and the time range with which it opens."""

    uid: str
    title: str
    description: str
    since: str = "now-6h"
    timezone: str = "browser"


def to_json(
    heading: Heading,
    grid: Grid,
    variables: Iterable[Builder[models.VariableModel]] = (),
    *,
    cluster_of: str = "",
    annotations: Sequence[Mark] = (preemptions(),),
) -> str:
    """The dashboard as the file that is committed: keys sorted, one newline at the end.

    With ``cluster_of``, what is shown is of one cluster of those that have these series: the first, or the chosen one.
    """
    board = (
        sdk.Dashboard(heading.title)
        .uid(heading.uid)
        .description(heading.description)
        .tags([TAG])
        .readonly()
        .refresh("30s")
        .time(heading.since, "now")
        .timezone(heading.timezone)
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .with_variable(sdk.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .link(_links())
    )
    for variable in (*variables, cluster_of_variable(cluster_of)) if cluster_of else (cluster_variable(), *variables):
        board.with_variable(variable)
    document = json.loads(JSONEncoder().encode(board.build()))
    document["annotations"] = {"list": [mark.annotation() for mark in annotations]}
    document["panels"] = json.loads(JSONEncoder().encode(list(grid.panels)))
    return json.dumps(_mend(document), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _links() -> sdk.DashboardLink:
    """The sister dashboards, keeping the time range and every variable."""
    return (
        sdk.DashboardLink("epochcost")
        .type(models.DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .keep_time(True)
        .include_vars(True)
        .as_dropdown(False)
    )


def _mend(document: dict[str, Any]) -> dict[str, Any]:
    """What the SDK adds that older Grafanas refuse or hide: links behind a menu, auto fields of plain variables."""
    for link in document["links"]:
        link.pop("placement", None)
    for panel in document["panels"]:
        for target in (t for each in (panel, *panel.get("panels", ())) for t in each.get("targets", ())):
            target["expr"] = in_clusters(target["expr"])
    for variable in document["templating"]["list"]:
        for key in ("auto", "auto_count", "auto_min"):
            variable.pop(key, None)
    document["id"] = None
    return document
