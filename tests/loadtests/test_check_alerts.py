"""What `make check-alerts` makes of what Prometheus answers; Prometheus itself runs there and not here."""

import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import yaml

from deploy.prometheus_server import write_config
from deploy.rule_files import FILES, FOLDER, Rule, rules
from loadtests.alert_triggers import FIRING, PENDING
from loadtests.check_alerts import _alert, _found, _recording

SEEN = Rule("RecoSeen", "reco_hidden_items > 0", alerts=True)


def answering(*values: str) -> httpx.Client:
    """A Prometheus that has these values for any query."""
    result = [{"metric": {"n": str(i)}, "value": [0, value]} for i, value in enumerate(values)]
    answer = {"data": {"resultType": "vector", "result": result}}
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=json.dumps(answer)))
    return httpx.Client(base_url="http://prometheus", transport=transport)


def test_a_query_holds_where_some_series_has_a_number() -> None:
    assert _found(answering("3", "NaN", "1.5"), "x") == (True, "2 series, 1.5 to 3")
    assert _found(answering("NaN"), "x") == (False, "nothing has x")
    assert _found(answering(), "x") == (False, "nothing has x")


def test_a_recording_is_asked_for_by_its_labels() -> None:
    rule = Rule("slo:all:rate5m", "vector(1)", alerts=False, labels={"slo": "redis"})
    said, holds, found = _recording(answering(), rule)
    assert (said, holds) == ("record slo:all:rate5m{slo=redis}", False)
    assert found == 'nothing has slo:all:rate5m{slo="redis"}'


@pytest.mark.parametrize(
    ("values", "state", "error", "holds"),
    [
        (["0"], "inactive", "", True),
        (["0"], "inactive", "many-to-many matching", False),
        ([], "inactive", "", False),
    ],
)
def test_an_alert_holds_where_it_has_series_to_look_at_and_no_error(
    values: list[str], state: str, error: str, holds: bool
) -> None:
    assert _alert(answering(*values), SEEN, {"RecoSeen": (state, error)})[1] is holds


@pytest.mark.parametrize(
    ("name", "enough"), [("RecoGateRefuses", ["firing"]), ("RecoBundleStale", ["pending", "firing"])]
)
def test_an_alert_that_was_provoked_must_tell(name: str, enough: list[str]) -> None:
    rule = Rule(name, "reco_hidden_items > 0", alerts=True)
    told = [
        state for state in ("inactive", "pending", "firing") if _alert(answering("1"), rule, {name: (state, "")})[1]
    ]
    assert told == enough


def test_what_is_provoked_are_alerts_that_there_are() -> None:
    assert {rule.name for rule in rules() if rule.alerts} >= FIRING | PENDING


def test_the_configuration_that_ships_is_kept_but_for_targets_and_intervals(
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


def test_without_prometheus_it_says_which_package_has_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "loadtests.check_alerts"]
    done = subprocess.run(command, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "error: prometheus was not found; on Debian it comes with: apt-get install prometheus\n"
