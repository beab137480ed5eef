"""`python -m deploy.dashboards`: generate the Grafana dashboards from `deploy/panels.py`; the JSON is committed."""

import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from string import Template
from typing import Annotated

import typer
from grafana_foundation_sdk.builders import stat, timeseries
from grafana_foundation_sdk.builders.common import ReduceDataOptions, StackingConfig, VizLegendOptions
from grafana_foundation_sdk.builders.dashboard import (
    Dashboard,
    DatasourceVariable,
    QueryVariable,
    Row,
    ThresholdsConfig,
)
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    DataSourceRef,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import Threshold, ThresholdsMode, VariableOption, VariableRefresh

from deploy.panels import LEARNING, SERVING, Panel, Rows
from index.cli import command_line, run_cli

FOLDER = Path(__file__).parent / "grafana" / "dashboards"
BOARDS = {"serving": ("AnchorRec: serving", SERVING), "learning": ("AnchorRec: bundle, retraining, events", LEARNING)}
PROMETHEUS = DataSourceRef(type_val="prometheus", uid="${datasource}")
VARIABLES = {"in": 'namespace=~"$namespace"', "rate": "$__rate_interval"}
COLUMNS, HIGH = 24, 7

app = command_line()


@app.command()
def dashboards(
    folder: Annotated[Path, typer.Option(help="Where the JSON files are written.")] = FOLDER,
) -> None:
    """Write the dashboards as JSON; Grafana loads them through deploy/grafana/provisioning."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in BOARDS:
        (folder / f"{name}.json").write_text(as_json(name), encoding="utf-8")


def as_json(name: str) -> str:
    """Return the JSON of one dashboard."""
    title, rows = BOARDS[name]
    return json.dumps(_board(name, title, rows).build(), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


def _board(name: str, title: str, rows: Rows) -> Dashboard:
    board = Dashboard(title).uid(f"anchorrec-{name}").tags(["anchorrec"]).readonly().timezone("utc")
    board = board.time("now-3h", "now").refresh("30s")
    for variable in (_datasource(), _namespace()):
        board = board.with_variable(variable)
    numbers = iter(range(1, 1_000))  # Grafana links to a panel by its id
    for row_title, panels in rows.items():
        board = board.with_row(Row(row_title).id(next(numbers)))
        for panel in panels:
            width = COLUMNS // (len(panels) if len(panels) in (2, 4) else 3)
            board = board.with_panel(_panel(panel).id(next(numbers)).span(width).height(HIGH))
    return board


def _datasource() -> DatasourceVariable:
    return DatasourceVariable("datasource").label("Prometheus").type("prometheus")


def _namespace() -> QueryVariable:
    """The namespace of the deployment; `.*` also matches series without a namespace."""
    all_namespaces = VariableOption(text="All", value="$__all")
    variable = (
        QueryVariable("namespace")
        .label("Namespace")
        .datasource(PROMETHEUS)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
    )
    query = "label_values(reco_bundle_info, namespace)"
    return variable.query(query).include_all(True).all_value(".*").current(all_namespaces)


def _panel(panel: Panel) -> "stat.Panel | timeseries.Panel":
    built = _number(panel) if panel.current_value else _lines(panel)
    built = built.title(panel.title).description(panel.description).unit(panel.unit).datasource(PROMETHEUS)
    for letter, (legend, query) in zip("ABCDEF", panel.queries.items(), strict=False):
        expr = Template(query).substitute(VARIABLES)
        target = Dataquery().ref_id(letter).expr(expr).legend_format(legend).datasource(PROMETHEUS)
        built = built.with_target(target.instant() if panel.current_value else target.range())
    return built


def _number(panel: Panel) -> stat.Panel:
    built = stat.Panel().reduce_options(ReduceDataOptions().calcs(["lastNotNull"]))
    if panel.good_from is None:
        return built
    steps = [Threshold(None, "red"), Threshold(panel.good_from, "green")]
    return built.thresholds(ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))


def _lines(panel: Panel) -> timeseries.Panel:
    legend = VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM).show_legend(True)
    built = timeseries.Panel().legend(legend).show_points(VisibilityMode.NEVER).min(0)
    if not panel.stacked:
        return built
    return built.fill_opacity(30).stacking(StackingConfig().mode(StackingMode.NORMAL))


def queries() -> Iterator[tuple[str, str]]:
    """Yield the place of each query (dashboard, panel, legend) and the query with Grafana's variables."""
    for name, (_, rows) in BOARDS.items():
        for panel in chain.from_iterable(rows.values()):
            for legend, query in panel.queries.items():
                yield f"{name}: {panel.title}: {legend}", Template(query).substitute(VARIABLES)


if __name__ == "__main__":
    run_cli(app)
