"""The Grafana dashboards: generated JSON is up to date, valid for Grafana's model, and queries existing series."""

import json
import re

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard
from scraped import Series, missing, unknown_labels

from deploy.dashboards import BOARDS, COLUMNS, FOLDER, as_json, queries

QUERIES = dict(queries())


@pytest.mark.parametrize("name", BOARDS)
def test_the_committed_json_is_up_to_date(name: str) -> None:
    assert (FOLDER / f"{name}.json").read_text() == as_json(name), "run python -m deploy.dashboards"


def test_there_is_no_other_dashboard() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == set(BOARDS)


@pytest.mark.parametrize("name", BOARDS)
def test_grafanas_model_reads_a_dashboard_and_writes_it_the_same(name: str) -> None:
    given = json.loads(as_json(name))
    again = json.loads(json.dumps(Dashboard.from_json(given), cls=JSONEncoder))
    assert again == given


@pytest.mark.parametrize("name", BOARDS)
def test_panels_have_distinct_ids_and_do_not_overlap(name: str) -> None:
    panels = json.loads(as_json(name))["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for place in (panel["gridPos"] for panel in panels):
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert all(x < COLUMNS for x, _ in cells)
        taken |= cells


@pytest.mark.parametrize("where", QUERIES)
def test_a_panel_queries_series_and_labels_that_a_running_service_has(where: str, series: Series) -> None:
    query = QUERIES[where].replace("$__rate_interval", "5m").replace("$namespace", ".*")
    assert "$" not in query
    assert missing(query, series) == []
    assert unknown_labels(query, series) == set()


@pytest.mark.parametrize("where", QUERIES)
def test_the_legend_of_a_line_names_a_label_that_the_line_has(where: str) -> None:
    label = re.search(r"{{(\w+)}}", where)
    if label is not None and "by (" in QUERIES[where]:
        assert re.search(rf"by \((le, )?{label[1]}\)", QUERIES[where])


def test_the_queries_above_are_all_targets_of_all_panels() -> None:
    shown = [
        target["expr"]
        for name in BOARDS
        for panel in json.loads(as_json(name))["panels"]
        for target in panel.get("targets", ())
    ]
    assert shown == list(QUERIES.values())
