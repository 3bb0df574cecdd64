"""Panels of a single board each: states over time, points in a plane, a word instead of a figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from board import SOURCE
from grafana_foundation_sdk.builders import common, stat, statetimeline, xychart
from grafana_foundation_sdk.builders import dashboard as sdk
from grafana_foundation_sdk.models import common as shapes
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import xychart as points
from panels import About, Query, figures, fixed
from states import STATE_COLOURS

CODES = {state: code for code, state in enumerate(STATE_COLOURS)}
"""Prometheus has no words as values: every state is drawn from a number."""


def word(about: About, query: Query) -> stat.Panel:
    """The name of the one series instead of its value, as large as its tile allows."""
    return figures(about, query).text_mode(shapes.BigValueTextMode.NAME).text(common.VizTextDisplayOptions())


def most_of(seconds: str, by: str = "") -> str:
    """For each value of ``by`` the number of the state that most of ``seconds``, a rate by state, went to."""
    keys = f"{by}, " if by else ""
    codes = "\n  or ".join(
        f'label_replace(vector({code}), "state", "{state}", "", "")' for state, code in CODES.items()
    )
    return f"""max by ({by}) (
  (topk by ({by}) (1, sum by ({keys}state) ({seconds}) > 0) > bool 0)
  * on (state) group_left () (
  {codes}
  )
)"""


def state_lanes(about: About, *queries: Query) -> statetimeline.Panel:
    """A lane for each series whose values are ``CODES``."""
    words = {
        str(CODES[state]): models.ValueMappingResult(text=state, color=colour, index=CODES[state])
        for state, colour in STATE_COLOURS.items()
    }
    panel = (
        statetimeline.Panel()
        .title(about.title)
        .description(about.description)
        .unit(about.unit)
        .no_value(about.empty)
        .datasource(SOURCE)
        .max_data_points(240)
        .merge_values(True)  # noqa: FBT003 - the setters of the SDK take a lone boolean
        .show_value(shapes.VisibilityMode.NEVER)
        .row_height(0.8)
        .line_width(0)
        .fill_opacity(100)
        .mappings([models.ValueMap(options=words)])
        .color_scheme(sdk.FieldColor().mode(models.FieldColorModeId.FIXED))
        .legend(_names())
        .tooltip(common.VizTooltipOptions().mode(shapes.TooltipDisplayMode.SINGLE))
    )
    for index, query in enumerate(queries):
        panel = panel.with_target(query.target(chr(ord("A") + index), instant=False))
    return panel


@dataclass(frozen=True, slots=True)
class Points:
    """A cloud of points: their name in the legend, what their height is, and their colour; a line may join them."""

    name: str
    query: str
    colour: str
    joined: bool = False


@dataclass(frozen=True, slots=True)
class Axis:
    """What a horizontal axis shows, its name (the query's legend) and its unit."""

    query: Query
    unit: str


def plane(about: About, key: str, x: Axis, height: str, clouds: Sequence[Points]) -> xychart.Panel:
    """Clouds over ``x``: every expression has one series for each value of label ``key``, by which they are joined.

    ``height`` is the label of the other axis, ``about.unit`` its unit; the tooltip of a point shows the key.
    """
    refs = [chr(ord("B") + i) for i in range(len(clouds))]
    fields = {key: "Setup", "Value #A": x.query.legend} | {
        f"Value #{ref}": cloud.name for ref, cloud in zip(refs, clouds, strict=True)
    }
    panel = (
        xychart.Panel()
        .title(about.title)
        .description(about.description)
        .unit(about.unit)
        .no_value(about.empty)
        .datasource(SOURCE)
        .mapping(points.SeriesMapping.MANUAL)
        .series([_cloud(x.query.legend, cloud) for cloud in clouds])
        .show(points.XYShowMode.POINTS)
        .point_size(xychart.XychartFieldConfigPointSize().fixed(14))
        .fill_opacity(70)
        .min(0)
        .legend(_names())
        .with_target(x.query.target("A", instant=True, as_table=True))
    )
    for ref, cloud in zip(refs, clouds, strict=True):
        panel = panel.with_target(Query(cloud.query, cloud.name).target(ref, instant=True, as_table=True))
    for step in _one_frame(key, fields, x.query.legend):
        panel = panel.with_transformation(step)
    _set(panel, x.query.legend, {"unit": x.unit, "decimals": 1, "custom.axisLabel": x.query.legend})
    for cloud in clouds:
        line = {"custom.show": "points+lines", "custom.lineWidth": 2} if cloud.joined else {}
        _set(panel, cloud.name, {"color": fixed(cloud.colour), "custom.axisLabel": height, **line})
    return panel


def _cloud(x: str, cloud: Points) -> xychart.XYSeriesConfig:
    def by_name(field: str) -> xychart.MatcherConfig:
        return xychart.MatcherConfig().id("byName").options(field)

    return (
        xychart.XYSeriesConfig()
        .name(xychart.XychartXYSeriesConfigName().fixed(cloud.name))
        .x(xychart.XychartXYSeriesConfigX().matcher(by_name(x)))
        .y(xychart.XychartXYSeriesConfigY().matcher(by_name(cloud.name)))
        .color(xychart.XychartXYSeriesConfigColor().matcher(by_name(cloud.name)))
    )


def _one_frame(key: str, fields: dict[str, str], x: str) -> list[models.DataTransformerConfig]:
    order = {
        "indexByName": {field: i for i, field in enumerate(fields)},
        "renameByName": fields,
        "excludeByName": {},
    }
    return [
        models.DataTransformerConfig(id_val="joinByField", options={"byField": key, "mode": "outer"}),
        models.DataTransformerConfig(id_val="filterFieldsByName", options={"include": {"names": list(fields)}}),
        models.DataTransformerConfig(id_val="organize", options=order),
        models.DataTransformerConfig(id_val="sortBy", options={"fields": {}, "sort": [{"field": x}]}),
    ]


def _names() -> common.VizLegendOptions:
    return (
        common.VizLegendOptions()
        .show_legend(True)  # noqa: FBT003 - the setters of the SDK take a lone boolean
        .display_mode(shapes.LegendDisplayMode.LIST)
        .placement(shapes.LegendPlacement.BOTTOM)
        .calcs([])
    )


def _set(panel: xychart.Panel, field: str, properties: dict[str, Any]) -> None:
    panel.override_by_name(field, [models.DynamicConfigValue(name, value) for name, value in properties.items()])
