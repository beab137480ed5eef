"""Every model goes the same line: trained, exported, through the gate, served, and its answers explain themselves."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from servers import serving
from typer.testing import CliRunner
from worlds import topics_dataset

from index.bundle import open_bundle
from index.gate import check_bundle
from index.registry import Registry
from trainer.__main__ import app
from trainer.config import load_config, shipped_configs
from trainer.data import Dataset
from trainer.export import export_run
from trainer.fit import fit
from trainer.run_folder import RunFolder

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SMALL = ("model.embedding_size=16", "training.epochs=2", "training.batch_size=256", "evaluation.bootstrap=0")
NOT_SERVED = ("popularity", "popularity-decay", "anchorrec-official", "anchorease-sparse", "vsknn")
MODELS = [name for name in shipped_configs() if name not in NOT_SERVED]
PARTS = {
    "anchorease": {"id", "text", "image", "anchor"},
    "ease": {"id"},
    "elsa": {"id"},
    "ials": {"id"},
    "itemknn": {"id"},
    "itemknn-cbf": {"text", "image"},
    "bpr": {"id"},
    "sasrec": {"id"},
    "lightgcn": {"id"},
    "bm3": {"id"},
    "vbpr": {"id", "text", "image"},
    "freedom": {"id", "text", "image"},
    "damrs": {"id", "text", "image"},
    "lattice": {"id", "multimodal"},
    "alignrec": {"id", "multimodal"},
    "smore": {"id", "text", "image", "multimodal"},
    "lgmrec": {"id", "text", "image", "multimodal"},
    "anchorrec": {"id", "text", "image", "multimodal", "anchor"},
}
APPROXIMATE = {"bpr", "vbpr", "lattice", "lgmrec", "smore", "ials", "sasrec"}

pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return topics_dataset(tmp_path_factory.mktemp("data") / "topics")


def exported(dataset: Dataset, name: str, folder: Path) -> Path:
    run = RunFolder(folder / name)
    if run.result() is None:
        fit(dataset, load_config(name, SMALL), run)
    return export_run(run, Registry(folder / "bundles"), created_at=NOW)


@pytest.mark.parametrize("name", MODELS)
def test_a_trained_model_passes_the_gate_and_explains_what_it_answers(
    dataset: Dataset, tmp_path: Path, name: str
) -> None:
    path = exported(dataset, name, tmp_path)
    report = check_bundle(path, None)
    assert report.passed, report
    Registry(tmp_path / "bundles").publish(path.name)
    with serving(registry=tmp_path / "bundles", data=tmp_path / "service") as client:
        ready = client.get("/readyz").json()
        assert ready["model"] == name
        assert ready["fold_in"] == ("approximate" if name in APPROXIMATE else "exact")
        taken = [{"user_id": "a stranger", "item_id": f"item/{row}", "kind": "purchase"} for row in (0, 4, 8)]
        assert client.post("/events", json={"events": taken}).is_success
        for user, source in (("user 5", "user"), ("a stranger", "fold_in")):
            answer = client.get(f"/recommend/{user}", params={"k": 5, "explain": True}).json()
            assert answer["source"] == source
            assert len(answer["items"]) == 5
            for item in answer["items"]:
                explanation = item["explanation"]
                assert explanation["parts"].keys() == PARTS[name]
                assert sum(explanation["parts"].values()) == pytest.approx(item["score"], abs=1e-4)
                past = sum(one["contribution"] for one in explanation["past_items"])
                whole = past + explanation["other_past_items"] + explanation["user_own"]
                assert whole == pytest.approx(item["score"], abs=1e-4)


def test_a_model_without_embeddings_is_not_exported_and_nothing_is_written(dataset: Dataset, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    fit(dataset, load_config("vsknn", ("evaluation.bootstrap=0",)), run)
    refused = CliRunner().invoke(app, ["export", str(run.path), "--registry", str(tmp_path / "bundles")])
    assert "vsknn has no embeddings: it can be compared, not exported" in str(refused.exception)
    assert not (tmp_path / "bundles").exists()


def test_lgmrec_exports_the_same_vectors_whenever_it_is_asked_though_it_trains_with_noise(
    dataset: Dataset, tmp_path: Path
) -> None:
    first = open_bundle(exported(dataset, "lgmrec", tmp_path))
    second = open_bundle(export_run(RunFolder(tmp_path / "lgmrec"), Registry(tmp_path / "again"), created_at=NOW))
    assert np.array_equal(first.user_embeddings, second.user_embeddings)
    assert np.array_equal(first.item_embeddings, second.item_embeddings)
