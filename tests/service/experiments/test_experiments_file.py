"""The file that declares which experiment runs."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from bundles import write_tiny_bundle
from servers import counted, serving, wait_until

from index.errors import InputError
from index.experiments import DOCUMENT, Experiment, Experiments
from index.registry import Registry
from service.experiments.experiments_file import TAKEN_UP_BEFORE, ExperimentsFile, read_experiment
from service.experiments.transitions import taken_up
from service.telemetry.metrics import Metrics

REFUSED = 'reco_experiment_changes_total{outcome="refused"}'
MISSING = "20260101T120000Z-x-00000000"


def arms(control: float, bundle: str | None = None) -> list[dict[str, Any]]:
    return [{"name": "control", "weight": control}, {"name": "other", "weight": 100 - control, "bundle": bundle}]


def write(path: Path, content: object) -> Path:
    """Replace the file in one step, as deployments do."""
    beside = path.with_suffix(".new")
    beside.write_text(content if isinstance(content, str) else json.dumps(content))
    os.replace(beside, path)
    return path


class Filed:
    """A service whose experiments a file declares."""

    def __init__(self, client: httpx.Client, registry: Registry, file: Path) -> None:
        self.client, self.registry, self.file = client, registry, file

    @property
    def state(self) -> str:
        return str(self.client.get("/experiments").json()["file"])

    def declare(self, content: object) -> None:
        write(self.file, content)

    def declare_valid(self, name: str, control: float) -> None:
        """Let the file declare this experiment, and wait for it."""
        self.declare({})
        wait_until(lambda: self.running is None)
        self.declare({"name": name, "arms": arms(control)})
        wait_until(lambda: self.weights == [control, 100 - control])

    @property
    def running(self) -> Experiment | None:
        return self.registry.experiments().running

    @property
    def weights(self) -> list[float]:
        return [] if self.running is None else [arm.weight for arm in self.running.arms]


@contextmanager
def started(folder: Path, content: object, *, document: str | None = None) -> Iterator[Filed]:
    """A service with this file, and with this document of experiments in its registry."""
    registry, file = folder / "registry", write(folder / "experiments.json", content)
    registry.mkdir()
    Registry(registry).publish(write_tiny_bundle(registry, 0).name)
    if document is not None:
        (registry / DOCUMENT).write_text(document)
    with serving(registry=registry, experiments_file=file, rules_reload_s=0.02, bundle_poll_s=0.05) as client:
        filed = Filed(client, Registry(registry), file)
        yield filed


@pytest.fixture(scope="module")
def filed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filed]:
    with started(tmp_path_factory.mktemp("filed"), {"name": "first", "arms": arms(90)}) as filed:
        wait_until(lambda: filed.weights == [90, 10])
        yield filed


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("e.json", '{"name": "filed", "arms": [{"name": "control", "weight": 100}]}'),
        ("e.toml", 'name = "filed"\n[[arms]]\nname = "control"\nweight = 100'),
    ],
)
def test_a_file_of_either_kind_declares_an_experiment(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    declared, _ = read_experiment(tmp_path / name)
    assert declared is not None
    assert (declared.name, declared.arms[0].weight) == ("filed", 100)


@pytest.mark.parametrize(("name", "text"), [("e.json", "{}"), ("e.toml", "# none runs")])
def test_a_file_without_fields_declares_that_none_runs(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert read_experiment(tmp_path / name)[0] is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "Expecting property name"),
        ('{"name": "filed"}', "arms is missing; docs/experiments.md"),
        ('{"name": "filed", "arms": [{"name": "a", "weight": 99}]}', "the weights sum to 99, expected 100"),
        ('{"name": "filed", "arms": [{"name": "a", "weight": 100}], "wieghts": 1}', "wieghts is no known field"),
        ("[]", "expected an object with named fields"),
    ],
)
def test_an_invalid_file_is_refused_with_what_is_wrong(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_experiment(write(tmp_path / "e.json", text))


def test_a_service_does_not_open_with_an_invalid_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"wrong\.json: Expecting property name"):
        ExperimentsFile(write(tmp_path / "wrong.json", "{"), Metrics())


def test_a_file_is_in_effect_whenever_it_changes(filed: Filed) -> None:
    filed.declare_valid("changes", 90)
    filed.declare({"name": "changes", "arms": arms(50)})
    wait_until(lambda: filed.weights == [50, 50])
    filed.declare({"name": "changes", "arms": arms(90)})
    wait_until(lambda: filed.weights == [90, 10])


def test_a_file_that_declares_none_ends_the_experiment(filed: Filed) -> None:
    filed.declare_valid("ends", 90)
    filed.declare({})
    wait_until(lambda: filed.running is None)
    assert filed.registry.experiments().find("ends") is not None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("not JSON", "Expecting value"),
        ({"name": "second", "arms": arms(50)}, "runs; end it first"),
        ({"name": "refused-2", "arms": arms(50, MISSING)}, "the registry has no bundle"),
    ],
)
def test_a_changed_file_that_is_refused_is_shown_and_the_experiment_goes_on(
    filed: Filed, content: object, said: str, request: pytest.FixtureRequest
) -> None:
    filed.declare_valid(f"refused-{request.node.callspec.indices['content']}", 90)
    before = counted(filed.client, REFUSED)
    filed.declare(content)
    wait_until(lambda: said in filed.state)
    assert said in filed.client.get("/readyz").json()["experiments"]
    assert counted(filed.client, REFUSED) == before + 1
    assert filed.weights == [90, 10]


def test_with_a_file_http_declares_no_experiment(filed: Filed) -> None:
    filed.declare_valid("alone", 90)
    refused = filed.client.put("/experiments/alone", json={"arms": arms(50)})
    assert (refused.status_code, refused.json()["error"]) == (409, "experiment_conflict")
    assert "RECO_EXPERIMENTS_FILE declares" in refused.json()["detail"]


def test_with_a_file_http_ends_arms(filed: Filed) -> None:
    filed.declare_valid("one-ends", 90)
    filed.client.post("/experiments/one-ends/end-arm", json={"arm": "other"}).raise_for_status()
    assert filed.running is not None
    assert filed.running.arms[1].ended is not None


def test_a_service_starts_with_a_damaged_document_and_takes_the_file_up_once_it_is_whole(tmp_path: Path) -> None:
    with started(tmp_path, {"name": "filed", "arms": arms(90)}, document="{") as filed:
        assert filed.client.get("/recommend/user-1").status_code == 200
        assert "experiments.json is damaged" in filed.client.get("/readyz").json()["experiments"]
        (tmp_path / "registry" / DOCUMENT).unlink()
        wait_until(lambda: filed.weights == [90, 10])


def test_what_a_replica_with_an_older_file_starts_with_changes_nothing(tmp_path: Path) -> None:
    older = {"name": "filed", "arms": arms(90)}
    _, digest = read_experiment(write(tmp_path / "older.json", older))
    document = Experiments(applied=(digest, "of a newer one")).model_dump_json()
    with started(tmp_path, older, document=document) as filed:
        wait_until(lambda: filed.state == TAKEN_UP_BEFORE)
        assert filed.running is None


def test_the_file_that_was_taken_up_last_changes_nothing_again() -> None:
    taken_up_last = Experiments(applied=("older", "last"))
    assert taken_up(taken_up_last, "last", lambda _: pytest.fail("it is applied again")) is taken_up_last
    assert taken_up(taken_up_last, "older", lambda before: before).applied == ("last", "older")
