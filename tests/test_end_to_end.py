"""The whole line through its command lines: a raw catalogue goes in, explained answers come out of a socket."""

import json
from pathlib import Path

import forkserver
import numpy as np
import polars as pl
import pytest
from PIL import Image
from servers import Valkey, counted, serving, wait_until
from worlds import topic_of, topics_source

from index.manifest import read_manifest

COLOURS = ((200, 40, 40), (40, 160, 60), (40, 60, 200), (220, 190, 40))
WORDS = ("a warm woollen blanket", "a garden watering can", "a blue enamel teapot", "a brass reading lamp")
OWN_CONFIG = """
[model]
name = "anchorrec"
embedding_size = 16
[training]
epochs = 40
batch_size = 128
learning_rate = 0.01
"""


def run(*arguments: object) -> str:
    """Run one command line; its output, or its error as the failure."""
    program, *rest = arguments
    process = forkserver.run("trainer", *rest, module=program)
    assert process.returncode == 0, process.stderr
    return process.stdout


def write_catalogue(folder: Path) -> None:
    """A shop of four topics as people have it: two tables and a folder of pictures; item 3 lacks its picture."""
    source = topics_source()
    source.interactions.write_csv(folder / "events.csv")
    topics = [topic_of(item_id) for item_id in source.items["item_id"]]
    described = source.items.select("item_id", "title").with_columns(
        description=pl.Series([f"{WORDS[topic]}, number {row}" for row, topic in enumerate(topics)]),
        picture=pl.Series([f"{row}.png" for row in range(len(topics))]),
    )
    described.write_csv(folder / "items.csv")
    (folder / "pictures").mkdir()
    rng = np.random.default_rng(0)
    for row, topic in enumerate(topics):
        if row != 3:
            noise = rng.integers(-30, 30, (32, 32, 3))
            pixels = np.clip(np.array(COLOURS[topic]) + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "pictures" / f"{row}.png")


@pytest.fixture(scope="module")
def line(tmp_path_factory):
    """The folders of the whole line, made by the commands that the README names."""
    folder = tmp_path_factory.mktemp("line")
    write_catalogue(folder)
    run("trainer", "prepare", "table", folder / "events.csv", "--items", folder / "items.csv",
        "--text-columns", "title,description", "--image-column", "picture", "--images", folder / "pictures",
        "--out", folder / "data")  # fmt: skip
    (folder / "small.toml").write_text(OWN_CONFIG)
    run("trainer", "compare", folder / "data", "--out", folder / "runs", "--config", "popularity",
        "--config", folder / "small.toml")  # fmt: skip
    bundle = run("trainer", "export", folder / "runs" / "small", "--registry", folder / "bundles").strip()
    run("index", "publish", bundle)
    return folder


def test_the_prepared_data_count_the_missing_picture_and_carry_three_modalities(line):
    info = json.loads((line / "data" / "dataset.json").read_text())
    assert info["features"] == {"text": 384, "image": 1280, "multimodal": 384 + 48}  # 48 items have 48 components
    assert [count for name, count in info["counts"].items() if "image" in name] == [1]


def test_the_trained_model_beats_popularity_and_evaluate_says_the_same_as_the_run(line):
    comparison = json.loads((line / "runs" / "comparison.json").read_text())
    assert comparison["small"]["test"]["recall@5"] > 1.5 * comparison["popularity"]["test"]["recall@5"]
    printed = run("trainer", "evaluate", line / "runs" / "small")
    assert f"{comparison['small']['test']['recall@20']:.4f}" in printed


def test_answers_over_the_socket_explain_themselves_and_come_through_redis(line, tmp_path):
    valkey = Valkey(tmp_path / "valkey").start()
    try:
        with serving(registry=line / "bundles", redis_url=valkey.url, redis_budget_ms=1000) as client:
            answer = client.get("/recommend/user 5", params={"k": 5, "explain": True}).json()
            assert answer["source"] == "user"
            for item in answer["items"]:
                assert sum(item["explanation"]["parts"].values()) == pytest.approx(item["score"], abs=1e-4)
            best = answer["items"][0]
            assert topic_of(best["item_id"]) == topic_of("user 5")
            causes = [topic_of(past["item_id"]) for past in best["explanation"]["past_items"]]
            assert causes == [topic_of("user 5")] * len(causes)

            similar = client.get("/similar/item%2F8", params={"k": 3, "by": "image", "explain": True}).json()
            assert {topic_of(item["item_id"]) for item in similar["items"]} == {topic_of("item/8")}

            assert client.get("/recommend/a stranger").json()["source"] == "popular"
            wait_until(lambda: counted(client, 'reco_redis_writes_total{outcome="done"}') > 0)
        with serving(registry=line / "bundles", redis_url=valkey.url, redis_budget_ms=1000) as another:
            assert another.get("/recommend/user 5", params={"k": 5, "explain": True}).json()["items"] == answer["items"]
            assert counted(another, 'reco_vectors_total{source="redis"}') == 1
    finally:
        valkey.kill()


def test_a_second_training_is_published_and_rolled_back_without_touching_the_first(line):
    first = json.loads((line / "bundles" / "current.json").read_text())["bundle"]
    run("trainer", "fit", line / "data", "--out", line / "second", "--config", line / "small.toml",
        "--set", "seed=7", "--set", "training.epochs=5")  # fmt: skip
    second = Path(run("trainer", "export", line / "second", "--registry", line / "bundles").strip())
    run("index", "publish", second, "--limit", "metric_margin=1.0", "--limit", "overlap_floor=0")
    assert json.loads((line / "bundles" / "current.json").read_text())["bundle"] == second.name
    encoders = [read_manifest(line / "bundles" / bundle).encoders for bundle in (first, second.name)]
    assert encoders[0] == encoders[1]
    assert {modality: one.width for modality, one in encoders[0].items()} == {"text": 384, "image": 1280}
    beside = {path.name for path in (line / "bundles" / "encoders").iterdir()}
    assert beside == {one.digest for one in encoders[0].values()}, "both bundles share them"
    run("index", "rollback", line / "bundles")
    assert json.loads((line / "bundles" / "current.json").read_text())["bundle"] == first
