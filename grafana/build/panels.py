"""The kinds of panels our dashboards use, each with what every panel must have: title, description, unit, legend."""

# ruff: noqa: FBT003 - the setters of the SDK take a lone boolean
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

from board import SOURCE
from grafana_foundation_sdk.builders import bargauge, common, gauge, stat, timeseries
from grafana_foundation_sdk.builders import dashboard as sdk
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.models import common as shapes
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

P = TypeVar("P")
USD, USD_PER_HOUR, RATIO, PLAIN = "currencyUSD", "suffix:$/h", "percentunit", "short"
SECONDS, MINUTES, CLOCK = "s", "m", "dtdhms"
BLUE, GREEN, AMBER, RED, VIOLET, GREY = "#5285e1", "#06a87a", "#c18717", "#d44e4b", "#763cf2", "#7d8289"
"""For what is no state; a colour serves both themes, and tests/grafana/test_colours.py measures how it stands out."""
ALONE, TOGETHER = 26, 16
"""Size of a figure that has its tile to itself, and of several in one, in pixels: else every tile chooses its own."""
NOTHING = "–"  # noqa: RUF001 - a dash, not a minus
"""What a panel shows where nothing is known: never a zero."""


@dataclass(frozen=True, slots=True)
class Query:
    """One expression, and how its series are named (a legend format such as ``{{run}}``)."""

    expr: str
    legend: str
    ref: str = ""

    def target(self, ref: str, *, instant: bool, as_table: bool = False) -> Dataquery:
        """The query of a panel; an instant one is asked at the end of the time range."""
        query = Dataquery().expr(self.expr).legend_format(self.legend).ref_id(self.ref or ref).datasource(SOURCE)
        query = query.instant() if instant else query.range()
        return query.format(PromQueryFormat.TABLE if as_table else PromQueryFormat.TIME_SERIES)


@dataclass(frozen=True, slots=True)
class About:
    """Title and description of a panel, and what it shows in place of content where nothing is known."""

    title: str
    description: str
    unit: str
    decimals: int | None = None
    empty: str = NOTHING


Colours = Mapping[str, str]
"""A fixed colour by series name."""


class Legend(Enum):
    """Where a legend is and how much it shows."""

    BELOW = "a table with last value and mean"
    BESIDE = "the same table on the right"
    LINE = "names only, in a line"


def steps(*pairs: tuple[float | None, str]) -> sdk.ThresholdsConfig:
    """Absolute thresholds; the first begins at None, minus infinity."""
    return (
        sdk.ThresholdsConfig()
        .mode(models.ThresholdsMode.ABSOLUTE)
        .steps([models.Threshold(value=value, color=colour) for value, colour in pairs])
    )


def figures(
    about: About,
    *queries: Query,
    colour: str | sdk.ThresholdsConfig = BLUE,
    named: bool = False,
    filled: bool = False,
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
) -> stat.Panel:
    """One or a few big figures, of one colour or by thresholds; several are named. ``filled`` colours the ground."""
    panel = common_to_all(stat.Panel(), about, queries, instant=True)
    panel = (
        panel.thresholds(steps((None, colour)) if isinstance(colour, str) else colour)
        .color_mode(shapes.BigValueColorMode.BACKGROUND_SOLID if filled else shapes.BigValueColorMode.VALUE)
        .graph_mode(shapes.BigValueGraphMode.NONE)
        .text_mode(
            shapes.BigValueTextMode.VALUE_AND_NAME if named or len(queries) > 1 else shapes.BigValueTextMode.VALUE
        )
        .justify_mode(shapes.BigValueJustifyMode.AUTO)
        .text(common.VizTextDisplayOptions().value_size(TOGETHER if len(queries) > 1 else ALONE).title_size(13))
        .wide_layout(False)
        .reduce_options(_last())
    )
    return overridden(panel, overrides or {})


def dial(about: About, query: Query, *, top: float = 1, thresholds: sdk.ThresholdsConfig | None = None) -> gauge.Panel:
    """A gauge from 0 to ``top``."""
    return (
        common_to_all(gauge.Panel(), about, [query], instant=True)
        .min(0)
        .max(top)
        .thresholds(thresholds or steps((None, BLUE)))
        .show_threshold_markers(False)
        .reduce_options(_last())
    )


CUT = ("run", "experiment", "team", "owner", "cluster")
"""Labels whose values people choose, however long."""


def bars(about: About, label: str, expr: str, *, colours: Colours | None = None) -> bargauge.Panel:
    """One horizontal bar for each value of ``label``, from the largest to the smallest, its name above it.

    Beside the bar Grafana would give the name a fifth of the panel and cut what is longer. Colours are matched by name
    before a display name is made, so a panel has either; without a display name a bar that is alone has no name, hence
    `always`.
    """
    name = "short" if label in CUT else label
    query = Query(f"sort_desc({middle_cut(expr, label) if label in CUT else expr})", f"{{{{{name}}}}}")
    panel = (
        common_to_all(bargauge.Panel(), about, [query], instant=True)
        .orientation(shapes.VizOrientation.HORIZONTAL)
        .display_mode(shapes.BarGaugeDisplayMode.BASIC)
        .value_mode(shapes.BarGaugeValueMode.TEXT)
        .name_placement(shapes.BarGaugeNamePlacement.TOP)
        .show_unfilled(False)
        .min_viz_height(20)
        .max_viz_height(32)
        .text(common.VizTextDisplayOptions().value_size(14).title_size(12))
        .sizing(shapes.BarGaugeSizing.MANUAL)
        .min(0)
        .thresholds(steps((None, BLUE)))
        .reduce_options(_last())
    )
    return overridden(panel, _fixed(colours)) if colours else panel.display_name(f"${{__field.labels.{name}}}")


def first_set(expr: str, name: str, *labels: str) -> str:
    """Adds label ``name``: the first of ``labels`` that a series has."""
    for label in reversed(labels):
        expr = f'label_replace(\n  {expr},\n  "{name}", "$1", "{label}", "(.+)"\n)'
    return expr


def middle_cut(expr: str, label: str, head: int = 12, tail: int = 10, name: str = "short") -> str:
    """Adds label ``name``: ``label``, cut in its middle where it is long, for names often differ at their ends."""
    whole = f'label_replace(\n  {expr},\n  "{name}", "$1", "{label}", "(.*)"\n)'
    return f'label_replace(\n  {whole},\n  "{name}", "$1…$2", "{label}", "(.{{{head}}}).{{3,}}(.{{{tail}}})"\n)'


def always(expr: str, whole: str) -> str:
    """Adds useful and idle at 0 to the states of ``expr`` wherever ``whole``, their sum, is known: a true zero."""
    zeros = (f'label_replace(0 * {whole}, "state", "{state}", "", "")' for state in ("useful", "idle"))
    return "\nor\n".join([expr, *zeros])


@dataclass(frozen=True, slots=True)
class LineStyle:
    """How series are drawn.

    Attributes:
        areas: stacked areas instead of lines.
        fill: opacity below a line, in per cent.
        stepped: a value is valid until the next one.
        top: end of the vertical axis; None: by the values.
        points: maximum number of instants, for queries over every node; 0 for no limit.
    """

    areas: bool = False
    fill: int = 8
    stepped: bool = False
    top: float | None = None
    points: int = 0


def lines(
    about: About,
    *queries: Query,
    colours: Colours | None = None,
    style: LineStyle = LineStyle(),
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
    legend: Legend = Legend.BELOW,
) -> timeseries.Panel:
    """Series over time, drawn from zero."""
    panel = (
        common_to_all(timeseries.Panel(), about, queries, instant=False)
        .legend(_legend(legend))
        .tooltip(common.VizTooltipOptions().mode(shapes.TooltipDisplayMode.MULTI).sort(shapes.SortOrder.DESCENDING))
        .draw_style(shapes.GraphDrawStyle.LINE)
        .line_interpolation(shapes.LineInterpolation.STEP_AFTER if style.stepped else shapes.LineInterpolation.LINEAR)
        .line_width(0 if style.areas else 2)
        .fill_opacity(85 if style.areas else style.fill)
        .show_points(shapes.VisibilityMode.NEVER)
        .min(0)
        .stacking(
            common.StackingConfig()
            .mode(shapes.StackingMode.NORMAL if style.areas else shapes.StackingMode.NONE)
            .group("A")
        )
    )
    if style.top is not None:
        panel = panel.max(style.top)
    if style.points:
        panel = panel.max_data_points(style.points)
    both = _fixed(colours or {})
    for name, properties in (overrides or {}).items():
        both[name] = {**both.get(name, {}), **properties}
    return overridden(panel, both)


def stacked(about: About, query: Query, colours: Colours) -> timeseries.Panel:
    """Areas on top of each other in the order of ``colours``, the legend a table beside them."""
    panel = lines(about, query, colours=colours, style=LineStyle(areas=True), legend=Legend.BESIDE)
    order = {
        "indexByName": {name: i for i, name in enumerate(["Time", *colours])},
        "renameByName": {},
        "excludeByName": {},
    }
    return panel.with_transformation(
        models.DataTransformerConfig(id_val="joinByField", options={"byField": "Time", "mode": "outer"})
    ).with_transformation(models.DataTransformerConfig(id_val="organize", options=order))


def _legend(legend: Legend) -> common.VizLegendOptions:
    made = common.VizLegendOptions().show_legend(True)
    if legend is Legend.LINE:
        return made.display_mode(shapes.LegendDisplayMode.LIST).placement(shapes.LegendPlacement.BOTTOM).calcs([])
    beside = legend is Legend.BESIDE
    return (
        made.display_mode(shapes.LegendDisplayMode.TABLE)
        .placement(shapes.LegendPlacement.RIGHT if beside else shapes.LegendPlacement.BOTTOM)
        .calcs(["lastNotNull", "mean"])
    )


def common_to_all(panel: P, about: About, queries: Sequence[Query], *, instant: bool, as_table: bool = False) -> P:
    """What every panel has."""
    made: Any = panel  # the SDK's builders share these setters but no base class; each returns the builder itself
    made.title(about.title).description(about.description).unit(about.unit).no_value(about.empty).datasource(SOURCE)
    if about.decimals is not None:
        made.decimals(about.decimals)
    for index, query in enumerate(queries):
        made.with_target(query.target(chr(ord("A") + index), instant=instant, as_table=as_table))
    return panel


def _last() -> common.ReduceDataOptions:
    return common.ReduceDataOptions().calcs(["lastNotNull"]).values(False).fields("")


def fixed(colour: str) -> dict[str, Any]:
    """The field setting of a fixed colour."""
    return {"mode": models.FieldColorModeId.FIXED, "fixedColor": colour}


def _fixed(colours: Colours) -> dict[str, dict[str, Any]]:
    return {name: {"color": fixed(colour)} for name, colour in colours.items()}


def overridden(panel: P, settings: Mapping[str, Mapping[str, Any]]) -> P:
    made: Any = panel
    for name, properties in settings.items():
        if properties:
            made.override_by_name(name, [models.DynamicConfigValue(key, value) for key, value in properties.items()])
    return panel


def share_of_budget() -> dict[str, Any]:
    """Settings of a figure that is a share of a budget: amber from 80 % on, red where it is all spent."""
    return worse_when_higher(RATIO, 0, amber=0.8, red=1)


def worse_when_higher(unit: str, decimals: int, *, amber: float, red: float) -> dict[str, Any]:
    """Settings of a figure that is green below ``amber``, and red from ``red`` on."""
    steps = [{"value": None, "color": GREEN}, {"value": amber, "color": AMBER}, {"value": red, "color": RED}]
    return {"unit": unit, "decimals": decimals, "thresholds": {"mode": "absolute", "steps": steps}}
