"""How `make check-alerts` judges Prometheus' responses; Prometheus itself does not run here."""

import json
from pathlib import Path

import httpx
import pytest
import yaml

from deploy.prometheus_server import program, write_config
from deploy.rule_files import FILES, FOLDER, Rule, rules
from index.errors import InputError
from loadtests.alert_triggers import FIRING, PENDING
from loadtests.check_alerts import _alert, _check_query, _recording

RULE = Rule("RecoTest", "reco_hidden_items > 0", alerts=True)


def prometheus_with(*values: str) -> httpx.Client:
    """A client of a Prometheus that returns these values for any query."""
    result = [{"metric": {"n": str(i)}, "value": [0, value]} for i, value in enumerate(values)]
    content = {"data": {"resultType": "vector", "result": result}}
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=json.dumps(content)))
    return httpx.Client(base_url="http://prometheus", transport=transport)


def test_a_query_passes_where_some_series_has_a_number() -> None:
    assert _check_query(prometheus_with("3", "NaN", "1.5"), "x") == (True, "2 series, 1.5 to 3")
    assert _check_query(prometheus_with("NaN"), "x") == (False, "no series for x")
    assert _check_query(prometheus_with(), "x") == (False, "no series for x")


def test_a_recording_rule_is_queried_by_its_labels() -> None:
    rule = Rule("slo:all:rate5m", "vector(1)", alerts=False, labels={"slo": "redis"})
    what, passed, found = _recording(prometheus_with(), rule)
    assert (what, passed) == ("record slo:all:rate5m{slo=redis}", False)
    assert found == 'no series for slo:all:rate5m{slo="redis"}'


@pytest.mark.parametrize(
    ("values", "state", "error", "holds"),
    [
        (["0"], "inactive", "", True),
        (["0"], "inactive", "many-to-many matching", False),
        ([], "inactive", "", False),
    ],
)
def test_an_alert_passes_where_it_has_series_and_no_error(
    values: list[str], state: str, error: str, holds: bool
) -> None:
    assert _alert(prometheus_with(*values), RULE, {"RecoTest": (state, error)})[1] is holds


@pytest.mark.parametrize(
    ("name", "enough"), [("RecoGateRefuses", ["firing"]), ("RecoBundleStale", ["pending", "firing"])]
)
def test_an_alert_that_was_triggered_must_be_raised(name: str, enough: list[str]) -> None:
    rule = Rule(name, "reco_hidden_items > 0", alerts=True)
    raised_in = [
        state
        for state in ("inactive", "pending", "firing")
        if _alert(prometheus_with("1"), rule, {name: (state, "")})[1]
    ]
    assert raised_in == enough


def test_every_triggered_alert_exists() -> None:
    assert {rule.name for rule in rules() if rule.alerts} >= FIRING | PENDING


def test_only_targets_and_intervals_of_the_configuration_are_changed(
    tmp_path: Path,
) -> None:
    written = yaml.safe_load(write_config(tmp_path, [8001, 8002], "1s").read_text())
    shipped = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    (job,) = written["scrape_configs"]
    assert job["job_name"] in {one["job_name"] for one in shipped["scrape_configs"]}
    assert job["static_configs"] == [{"targets": ["127.0.0.1:8001", "127.0.0.1:8002"]}]
    assert written["rule_files"] == shipped["rule_files"] == list(FILES)
    assert list(rules(tmp_path)) == list(rules())
    assert "interval:" not in (tmp_path / "recording.yml").read_text()


def test_without_prometheus_the_error_names_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="on Debian it comes with: apt-get install prometheus"):
        program("prometheus")
