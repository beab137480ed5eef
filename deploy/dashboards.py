"""`python -m deploy.dashboards`: writes the Grafana dashboards out of `deploy/panels.py`; their JSON is committed."""

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
    """Write the dashboards; Grafana reads them as they are (deploy/grafana/provisioning)."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in BOARDS:
        (folder / f"{name}.json").write_text(as_json(name), encoding="utf-8")


def as_json(name: str) -> str:
    """The file of one dashboard."""
    title, rows = BOARDS[name]
    return json.dumps(_board(name, title, rows).build(), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


def _board(name: str, title: str, rows: Rows) -> Dashboard:
    board = Dashboard(title).uid(f"anchorrec-{name}").tags(["anchorrec"]).readonly().timezone("utc")
    board = board.time("now-3h", "now").refresh("30s")
    for variable in (_datasource(), _namespace()):
        board = board.with_variable(variable)
    numbers = iter(range(1, 1_000))  # ids must differ; Grafana links to a panel by its id
    for row_title, panels in rows.items():
        board = board.with_row(Row(row_title).id(next(numbers)))
        for shown in panels:
            width = COLUMNS // (len(panels) if len(panels) in (2, 4) else 3)
            board = board.with_panel(_panel(shown).id(next(numbers)).span(width).height(HIGH))
    return board


def _datasource() -> DatasourceVariable:
    return DatasourceVariable("datasource").label("Prometheus").type("prometheus")


def _namespace() -> QueryVariable:
    """The deployment; where Prometheus gives none a namespace, `.*` fits what has none."""
    everything = VariableOption(text="All", value="$__all")
    found = (
        QueryVariable("namespace")
        .label("Namespace")
        .datasource(PROMETHEUS)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
    )
    query = "label_values(reco_bundle_info, namespace)"
    return found.query(query).include_all(True).all_value(".*").current(everything)


def _panel(shown: Panel) -> "stat.Panel | timeseries.Panel":
    panel = _number(shown) if shown.at_once else _lines(shown)
    panel = panel.title(shown.title).description(shown.about).unit(shown.unit).datasource(PROMETHEUS)
    for letter, (legend, query) in zip("ABCDEF", shown.queries.items(), strict=False):
        expr = Template(query).substitute(VARIABLES)
        target = Dataquery().ref_id(letter).expr(expr).legend_format(legend).datasource(PROMETHEUS)
        panel = panel.with_target(target.instant() if shown.at_once else target.range())
    return panel


def _number(shown: Panel) -> stat.Panel:
    panel = stat.Panel().reduce_options(ReduceDataOptions().calcs(["lastNotNull"]))
    if shown.good_from is None:
        return panel
    steps = [Threshold(None, "red"), Threshold(shown.good_from, "green")]
    return panel.thresholds(ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))


def _lines(shown: Panel) -> timeseries.Panel:
    legend = VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM).show_legend(True)
    panel = timeseries.Panel().legend(legend).show_points(VisibilityMode.NEVER).min(0)
    if not shown.stacked:
        return panel
    return panel.fill_opacity(30).stacking(StackingConfig().mode(StackingMode.NORMAL))


def queries() -> Iterator[tuple[str, str]]:
    """Where each query stands, and the query with Grafana's variables in it."""
    for name, (_, rows) in BOARDS.items():
        for shown in chain.from_iterable(rows.values()):
            for legend, query in shown.queries.items():
                yield f"{name}: {shown.title}: {legend}", Template(query).substitute(VARIABLES)


if __name__ == "__main__":
    run_cli(app)
