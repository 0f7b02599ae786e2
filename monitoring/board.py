"""Dashboards in one style: the same variables, colours, legends and sizes everywhere, on a grid of 24 columns."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, table, text, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as styles
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
    FieldColorModeId,
    Threshold,
    ThresholdsMode,
    VariableHide,
    VariableOption,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from monitoring.queries import for_dashboard, quantile

SOURCE: Final = DataSourceRef(type_val="prometheus", uid="${datasource}")
TAG: Final = "longvideo"

GOOD, BAD, WARN, PLAIN = "green", "red", "orange", "text"
COLOURED: Final = ("{{ending}}", "{{outcome}}")
COLOURS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("answered", "ok"), GOOD),
    **dict.fromkeys(("error", "time_exhausted"), BAD),
    **dict.fromkeys(("invalid", "invalid_output", "timeout"), WARN),
    "cancelled": PLAIN,
}
"""Of what went well, went wrong, or neither, where a legend has it."""
HEIGHT: Final = 8
STAT_HEIGHT: Final = 4

Query = tuple[str, str]
"""A query, and what each of its series is called."""


def quantiles(histogram: str, scope: str = "", *, by: str = "", legend: str) -> list[Query]:
    """Returns queries of how much half and 95 % of what a histogram counted stay below."""
    return [
        (quantile(each, histogram, scope, by=by), f"{legend}, {word}") for each, word in ((0.5, "half"), (0.95, "95 %"))
    ]


def _target(query: Query, number: int, *, instant: bool) -> prometheus.Dataquery:
    target = prometheus.Dataquery().expr(for_dashboard(query[0])).legend_format(query[1]).ref_id(chr(ord("A") + number))
    return target.instant() if instant else target.range().exemplar("_bucket" in query[0])


def stat_panel(
    title: str,
    unit: str,
    query: str,
    description: str,
    *,
    legend: str = "",
    steps: Sequence[tuple[float, str]] = (),
    width: int = 4,
) -> stat.Panel:
    """Returns a number, or several with `legend`. From each of the `steps` on it has that colour."""
    thresholds = [Threshold(value=None, color=GOOD if steps else PLAIN), *(Threshold(*step) for step in steps)]
    return (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .with_target(_target((query, legend), 0, instant=True))
        .thresholds(dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(thresholds))
        .color_scheme(dashboard.FieldColor().mode(FieldColorModeId.THRESHOLDS))
        .graph_mode(styles.BigValueGraphMode.NONE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .no_value("–")
        .span(width)
        .height(STAT_HEIGHT)
    )


def lines(
    title: str,
    unit: str,
    queries: Sequence[Query],
    description: str,
    *,
    stacked: bool = False,
    top: float | None = None,
    width: int = 8,
) -> timeseries.Panel:
    """Returns series over time, as lines or as stacked areas. `top` is the highest value there can be."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .min(0)
        .line_width(1)
        .fill_opacity(40 if stacked else 8)
        .show_points(styles.VisibilityMode.NEVER)
        .legend(
            common.VizLegendOptions()
            .display_mode(styles.LegendDisplayMode.LIST)
            .placement(styles.LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(common.VizTooltipOptions().mode(styles.TooltipDisplayMode.MULTI).sort(styles.SortOrder.DESCENDING))
        .span(width)
        .height(HEIGHT)
    )
    if stacked:
        panel = panel.stacking(common.StackingConfig().mode(styles.StackingMode.NORMAL))
    if top is not None:
        panel = panel.max(top)
    for name, colour in COLOURS.items() if any(legend in COLOURED for _, legend in queries) else ():
        panel = panel.override_by_name(name, [DynamicConfigValue("color", {"mode": "fixed", "fixedColor": colour})])
    for number, query in enumerate(queries):
        panel = panel.with_target(_target(query, number, instant=False))
    return panel


def table_panel(
    title: str, unit: str, query: str, columns: Mapping[str, str], description: str, *, width: int = 12
) -> table.Panel:
    """Returns a table of a query's series: `columns` are the labels that it shows and what they are called."""
    order = {label: number for number, label in enumerate((*columns, "Value"))}
    return (
        table.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .with_target(_target((query, ""), 0, instant=True).format(PromQueryFormat.TABLE))
        .with_transformation(
            DataTransformerConfig(
                id_val="organize",
                options={"excludeByName": {"Time": True}, "indexByName": order, "renameByName": dict(columns)},
            )
        )
        .span(width)
        .height(HEIGHT)
    )


def words(title: str, content: str, description: str, *, width: int = 24, height: int = STAT_HEIGHT) -> text.Panel:
    """Returns a text in Markdown."""
    return text.Panel().title(title).description(description).content(content).span(width).height(height)


Panel = stat.Panel | timeseries.Panel | table.Panel | text.Panel
Rows = Sequence[tuple[str, Sequence[Panel]]]


def board(name: str, description: str, rows: Rows, *, since: str = "now-6h", by_model: bool = False) -> str:
    """Returns a dashboard as JSON: rows of panels; above them, with `by_model`, pools and models to choose from."""
    made = (
        dashboard.Dashboard(f"longvideo / {name}")
        .uid(f"longvideo-{name.lower()}")
        .description(description)
        .tags([TAG])
        .timezone("browser")
        .time(since, "now")
        .refresh("1m")
        .readonly()
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .link(
            dashboard.DashboardLink("longvideo")
            .type(DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .include_vars(True)
            .keep_time(True)
        )
        .with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
        .with_variable(_variable("namespace", "longvideo_info"))
    )
    if by_model:
        made = made.with_variable(_all(_variable("pool", for_dashboard("longvideo_model_calls_total{}"))))
        made = made.with_variable(_all(_variable("model", for_dashboard("longvideo_model_calls_total{pools}"))))
    for title, panels in rows:
        made = made.with_row(dashboard.Row(title))
        for panel in panels:
            made = made.with_panel(panel)
    found: dict[str, Any] = json.loads(json.dumps(made.build(), cls=JSONEncoder))
    for number, each in enumerate(found["panels"], 1):
        each["id"] = number
    return json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _variable(name: str, series: str) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(name)
        .label(name.capitalize())
        .query(f"label_values({series}, {name})")
        .datasource(SOURCE)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .hide(VariableHide.DONT_HIDE)
    )


def _all(variable: dashboard.QueryVariable) -> dashboard.QueryVariable:
    return variable.multi(True).include_all(True).all_value(".*").current(VariableOption(text="All", value="$__all"))
