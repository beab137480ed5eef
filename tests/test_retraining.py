"""The whole loop with the real trainer: people like things, the service retrains, and answers from what it learned."""

import shlex
from datetime import UTC, datetime
from pathlib import Path

from retrainings import ended, retraining, started
from servers import serving
from worlds import topic_of, topics_dataset

from index.bundle import open_bundle
from index.registry import Registry
from trainer.config import load_config
from trainer.data import load_dataset
from trainer.retrain import RetrainOptions, retrain

SETTINGS = ("model.embedding_size=16", "training.epochs=20", "training.batch_size=128", "training.learning_rate=0.01",
            "evaluation.bootstrap=0")  # fmt: skip
ARGUMENTS = shlex.join(["--config", "lightgcn", *(word for setting in SETTINGS for word in ("--set", setting))])


def first_bundle(folder: Path) -> Path:
    """A registry with a bundle trained on the old data alone."""
    import polars as pl

    data = topics_dataset(folder / "dataset")
    schema = {"event_id": pl.String, "user_id": pl.String, "item_id": pl.String, "kind": pl.String,
              "timestamp": pl.Float64, "position": pl.Int64}  # fmt: skip
    pl.DataFrame(schema=schema).write_parquet(folder / "none.parquet")
    order = RetrainOptions(
        data.path, folder / "none.parquet", Registry(folder / "bundles"), load_config("lightgcn", SETTINGS)
    )
    made = retrain(order, folder / "first", now=datetime.now(UTC))
    Registry(folder / "bundles").publish(made.bundle)
    return folder / "bundles"


def test_what_people_liked_is_in_the_next_bundle_and_the_one_before_was_measured_on_it(tmp_path: Path) -> None:
    registry = first_bundle(tmp_path)
    before = Registry(registry).current_id()
    mine = [f"item/{item}" for item in range(0, 40, 4)]
    limits = retraining("unused", registry, retrain_command=None, retrain_arguments=ARGUMENTS, retrain_lease_s=15)
    with serving(**limits) as client:
        likes = [{"user_id": "a stranger", "item_id": item, "kind": "like"} for item in mine]
        gone = {"user_id": "user 5", "item_id": "item/1", "kind": "dislike"}
        assert client.post("/events", json=[*likes, gone]).status_code == 202
        job = ended(client, started(client))
    assert job["state"] == "published", (job["reason"], job["log"])
    compared = [check["required"] for check in job["gate"]["checks"] if check["name"] == "valid recall@20"]
    assert before is not None
    assert before in compared[0]
    assert "not comparable" not in compared[0]
    bundle = open_bundle(Registry(registry).current())
    assert bundle.manifest.events_position == len(mine) + 1
    learned = {bundle.item_ids[row] for row in bundle.seen(bundle.user_ids.row("a stranger") or 0)}
    assert learned <= set(mine)
    assert len(learned) >= 7  # the rest is the gate's fresh truth
    with serving(registry=registry) as client:
        answer = client.get("/recommend/a stranger?k=2").json()
        assert {topic_of(item["item_id"]) for item in answer["items"]} == {0}
    out = tmp_path / "kept" / "retrain" / job["id"] / "out"
    assert ("user 5", "item/1") not in pairs(out / "data")


def pairs(folder: Path) -> set[tuple[str, str]]:
    data = load_dataset(folder)
    rows = data.interactions
    return {
        (data.user_ids[user], data.item_ids[item]) for user, item in zip(rows.user_rows, rows.item_rows, strict=True)
    }


def test_what_was_put_and_deleted_over_http_is_in_the_next_bundle_and_gone_from_it(tmp_path: Path) -> None:
    registry = first_bundle(tmp_path)
    old = load_dataset(tmp_path / "dataset")
    features = {modality: table[old.item_ids.index("item/0")].tolist() for modality, table in old.features.items()}
    lamp = {"title": "Lamp", "categories": ["lamp"], "attributes": {"shelf": 2, "new": True}, "features": features}
    fans = [f"user {user}" for user in range(0, 24, 4)]  # of topic 0, as the lamp
    limits = retraining("unused", registry, retrain_command=None, retrain_arguments=ARGUMENTS, retrain_lease_s=15)
    with serving(**limits) as client:
        assert client.put("/items/lamp", json=lamp).status_code == 202
        assert client.delete("/items/item%2F8").status_code == 202
        likes = [{"user_id": user, "item_id": "lamp", "kind": "like"} for user in fans]
        assert client.post("/events", json=likes).status_code == 202
        job = ended(client, started(client))
        assert job["state"] == "published", (job["reason"], job["log"])
    bundle = open_bundle(Registry(registry).current())
    assert bundle.item_ids.row("item/8") is None
    row = bundle.item_ids.row("lamp")
    assert row is not None
    assert bundle.item(row)["attributes"] == {"shelf": 2, "new": True}
    assert dict(bundle.manifest.attribute_types) == {"shelf": "number", "new": "boolean"}
    assert ("user 0", "lamp") in pairs(tmp_path / "kept" / "retrain" / job["id"] / "out" / "data")
    with serving(registry=registry) as client:
        answer = client.get("/recommend/user 28?k=10").json()
        assert "lamp" in {item["item_id"] for item in answer["items"]}
