"""Tables: columns of labels and of expressions that are joined by a key, and what their cells can do."""

# ruff: noqa: FBT003 - the setters of the SDK take a lone boolean
from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import common, table
from grafana_foundation_sdk.models import common as shapes
from grafana_foundation_sdk.models import dashboard as models
from panels import NOTHING, About, Query, common_to_all, fixed, overridden


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: a label (``query`` empty) or the value of an expression.

    Attributes:
        name: its heading.
        source: the label's name, or the reference (a capital letter) of the expression whose value it shows.
        query: the expression, grouped by the table's key; it may bring further labels.
        ref: the expression's reference where the column shows a label of it and not its value.
        unit: of the value.
        width: in pixels; a column without one shares what is left.
        properties: further Grafana field settings by id.
    """

    name: str
    source: str
    query: str = ""
    unit: str = ""
    width: int = 0
    properties: tuple[tuple[str, Any], ...] = ()
    ref: str = ""

    @property
    def field(self) -> str:
        """The name of the column's field before it is renamed."""
        return f"Value #{self.source}" if self.query and not self.ref else self.source


AT_LEAST = 90
"""Least width of a column, in pixels; names have their own."""


def unbreakable(whole: int) -> str:
    """A pattern of more than ``whole`` characters without a hyphen or a blank, where a line could break."""
    tail = (whole - 2) // 2
    return rf"/([^-\s]{{{whole - 2 - tail}}})[^-\s]{{3,}}([^-\s]{{{tail}}})/g"


def name(*properties: tuple[str, Any], whole: int = 19) -> tuple[tuple[str, Any], ...]:
    """Field settings of a column of names, however long: they wrap, for names often differ at their ends.

    Grafana breaks lines at hyphens and blanks only. A stretch without either is cut in its middle if it has more than
    ``whole`` characters, which take 8 pixels each.
    """
    cut = {"type": "regex", "options": {"pattern": unbreakable(whole), "result": {"text": "$1…$2", "index": 0}}}
    return (
        ("custom.wrapText", True),
        ("custom.cellOptions", {"type": "auto", "wrapText": True}),  # where Grafana before 12.2 looks
        ("custom.minWidth", 8 * whole - 2),
        ("mappings", [cut]),
        *properties,
    )


CLUSTER = Column("Cluster", "cluster", width=110, properties=name())


def rows(
    about: About, key: str, columns: Sequence[Column], *, sort_by: str | Sequence[str], rising: str = ""
) -> table.Panel:
    """A table of one row per value of label ``key``: the columns' expressions, joined.

    The largest first, in the column ``rising`` the smallest; of several columns the later ones settle what is equal.
    """
    order = [sort_by] if isinstance(sort_by, str) else list(sort_by)
    queries = [Query(c.query, c.name, c.ref or c.source) for c in columns if c.query]
    panel = (
        common_to_all(table.Panel(), about, queries, instant=True, as_table=True)
        .cell_height(shapes.TableCellHeight.SM)
        .sort_by([common.TableSortByFieldState().display_name(name).desc(name != rising) for name in order])
        .align(shapes.FieldTextAlignment.AUTO)
        .filterable(False)
    )
    for transformation in _joined(key, columns, several=len(queries) > 1):
        panel = panel.with_transformation(transformation)
    return overridden(panel, {c.name: _column_settings(c) for c in columns})


def _joined(key: str, columns: Sequence[Column], *, several: bool) -> list[models.DataTransformerConfig]:
    """One table out of several: join by the key, keep the named columns only, in this order.

    A query without a result leaves its column out and disturbs no other.
    """
    fields = {(c.field if several else re.sub("^Value #.*", "Value", c.field)): c.name for c in columns}
    join = [models.DataTransformerConfig(id_val="joinByField", options={"byField": key, "mode": "outer"})]
    order = {
        "indexByName": {field: i for i, field in enumerate(fields)},
        "renameByName": {field: name for field, name in fields.items() if field != name},
        "excludeByName": {},
    }
    return [
        *(join if several else []),
        models.DataTransformerConfig(id_val="filterFieldsByName", options={"include": {"names": list(fields)}}),
        models.DataTransformerConfig(id_val="organize", options=order),
    ]


def _column_settings(column: Column) -> dict[str, Any]:
    settings: dict[str, Any] = {"noValue": NOTHING, **dict(column.properties)}
    # Words stay words: a blank or a number in a label would else be shown as a figure in the unit of the panel.
    is_label = column.field == column.source
    if unit := "string" if is_label else column.unit:
        settings["unit"] = unit
    if column.width:
        settings["custom.width"] = column.width
    else:
        settings.setdefault("custom.minWidth", AT_LEAST)
    return settings


def gauge_cell(colour: str) -> tuple[tuple[str, Any], ...]:
    """Field settings of a column of ratios drawn as bars from 0 to 1."""
    return (
        ("custom.cellOptions", {"type": "gauge", "mode": "basic", "valueDisplayMode": "text"}),
        ("min", 0),
        ("max", 1),
        ("decimals", 0),
        ("color", fixed(colour)),
    )


def without_prefix(prefix: str) -> tuple[str, Any]:
    """Shows the words of a column without what they all begin with."""
    return (
        "mappings",
        [{"type": "regex", "options": {"pattern": f"^{prefix}(.*)$", "result": {"text": "$1", "index": 0}}}],
    )


def link_to_run() -> tuple[str, Any]:
    """Cells lead to the dashboard of the run that they name, in the same time range and data source."""
    return _link_to("run", "${__value.raw:percentencode}")


def link_to_experiment() -> tuple[str, Any]:
    """Cells lead to the comparison of the setups of the experiment that they name."""
    return _link_to("experiment", "${__value.raw:percentencode}", "compare")


def link_to_node() -> tuple[str, Any]:
    """Cells lead to the dashboard of the node, whose machine the hidden column of `which_machine` names."""
    return _link_to("machine", "${__data.fields.Machine:percentencode}", "node", "node")


def which_machine() -> Column:
    """The machine's own name, which links of nodes need; two nodes may have the same name."""
    return Column("Machine", "epochcost_machine", properties=(("custom.hidden", True),))


def _link_to(variable: str, value: str, board: str = "", what: str = "") -> tuple[str, Any]:
    url = (
        f"/d/epochcost-{board or variable}?var-{variable}={value}"
        "&${datasource:queryparam}&${cluster:queryparam}&${__url_time_range}"
    )
    return ("links", [{"title": f"Open the {what or variable}", "url": url}])
