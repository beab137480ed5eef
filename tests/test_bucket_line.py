"""Trainer, index and service with nothing in common but a bucket: what one machine makes, another serves."""

from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest
from bundles import write_small_bundle
from object_stores import ObjectStore, object_store
from processes import process, run, stop
from retrainings import ended, started
from servers import counted, serving, wait_until
from test_retraining import ARGUMENTS, SETTINGS
from worlds import topics_dataset

from index.bundle import open_bundle
from index.registry import Registry, open_registry
from service.bundles.open_published import open_published
from service.settings import Settings
from trainer.config import load_config
from trainer.retrain import RetrainOptions, retrain


@pytest.fixture(scope="module")
def store():
    with object_store() as running:
        yield running


class Shop:
    """A bucket with two small bundles, the first one published by a machine that has gone since."""

    def __init__(self, store: ObjectStore, folder: Path) -> None:
        self.url = f"{store.bucket()}/bundles"
        self.registry = open_registry(self.url, folder / "trainer")
        paths = [write_small_bundle(self.registry.folder, after_seconds=n, seed=n) for n in range(2)]
        self.first, self.second = (path.name for path in paths)
        for path in paths:
            self.registry.add_bundle(path)
        self.registry.publish(self.first)

    def replica(self, folder: Path, name: str, **settings: object):
        places = {"data": folder / name, "registry_copies": folder / f"copies-{name}"}
        return process(self.url, folder / f"log-{name}", **places, **settings)

    def copies(self, folder: Path, name: str) -> set[str]:
        return {path.parent.name for path in (folder / f"copies-{name}").glob("*/*/manifest.json")}


@pytest.fixture
def shop(store, tmp_path) -> Shop:
    return Shop(store, tmp_path)


def serving_ids(clients) -> set[str]:
    return {client.get("/recommend/user-3").json()["bundle"] for client in clients}


def test_replicas_follow_the_bucket_by_polling_it_and_keep_copies_of_what_they_may_need(shop, tmp_path):
    with ExitStack() as stack:
        clients = [
            stack.enter_context(shop.replica(tmp_path, name, admin_open=True, bundle_poll_s=0.1))[1] for name in "ab"
        ]
        assert serving_ids(clients) == {shop.first}
        assert Settings(registry=tmp_path).bundle_poll_s <= 2
        shop.registry.publish(shop.second)
        wait_until(lambda: serving_ids(clients) == {shop.second})
        answer = clients[0].get("/bundles").json()
        assert [(one["bundle_id"], one["role"]) for one in answer["bundles"]] == [
            (shop.second, "serves"),
            (shop.first, "rollback"),
        ]
        assert all(one["bytes"] > 10_000 for one in answer["bundles"])
        assert clients[1].post("/bundles/rollback").json()["published"] == shop.first
        wait_until(lambda: serving_ids(clients) == {shop.first})
        wait_until(lambda: shop.copies(tmp_path, "a") == shop.copies(tmp_path, "b") == {shop.first})
        answer = clients[0].post(f"/bundles/{shop.second}/publish?force=true", timeout=60).json()
        assert (answer["published"], answer["swapped"]) == (shop.second, True)
        assert {check["name"] for check in answer["gate"]["checks"]} >= {"files and sums", "overlap of lists"}
        wait_until(lambda: serving_ids(clients) == {shop.second})


def test_while_the_store_is_away_answers_go_on_and_afterwards_news_are_noticed(shop, store, tmp_path):
    with shop.replica(tmp_path, "a", admin_open=True, bundle_poll_s=0.1) as (running, client):
        store.freeze()
        try:
            for n in range(50):
                answer = client.get(f"/recommend/user-{n % 30}", timeout=30)
                assert (answer.status_code, answer.json()["bundle"]) == (200, shop.first)
            assert client.get("/readyz", timeout=30).status_code == 200
        finally:
            store.thaw()
        shop.registry.publish(shop.second)
        wait_until(lambda: serving_ids([client]) == {shop.second})
        assert counted(client, "reco_bundle_behind") == 0
        stop(running)


def test_a_process_that_starts_while_the_store_is_away_serves_what_served_on_its_machine(shop, store, tmp_path):
    with shop.replica(tmp_path, "a", bundle_poll_s=0.1) as (running, client):
        wait_until(lambda: list((tmp_path / "copies-a").glob("*/current.json")))
        running.kill()
    store.stop()
    with shop.replica(tmp_path, "a", bundle_poll_s=0.1) as (running, client):
        assert serving_ids([client]) == {shop.first}
        assert client.get("/readyz").status_code == 200
        assert "the registry is unavailable; serving the last bundle" in (tmp_path / "log-a").read_text()
        wait_until(lambda: counted(client, "reco_registry_away") == 1)
        store.start().make(shop.url)
        shop.registry.add_bundle(shop.registry.folder / shop.second)
        shop.registry.publish(shop.second)
        wait_until(lambda: serving_ids([client]) == {shop.second})
        wait_until(lambda: shop.copies(tmp_path, "a") == {shop.second})
        assert counted(client, "reco_registry_away") == 0
        stop(running)


def test_a_start_serves_the_bundle_before_one_that_is_damaged_in_the_store(shop, tmp_path):
    import obstore
    from obstore.store import from_url

    shop.registry.publish(shop.second)
    for name in ("index/item.faiss", "manifest.json"):
        obstore.put(from_url(f"{shop.url}/{shop.second}", client_options={"allow_http": True}), name, b"[" * 5_000)
        opened = open_published(Settings(registry=shop.url, registry_copies=tmp_path / name, data=tmp_path))
        assert opened.bundle.bundle_id == shop.first
        assert list(opened.failures) == [shop.second]


@pytest.mark.parametrize("name", ["index/item.faiss", "manifest.json", "fold_in.npy"])
def test_a_damaged_copy_is_fetched_again(shop, tmp_path, name):
    settings = Settings(registry=shop.url, registry_copies=tmp_path / "copies", data=tmp_path)
    copy = open_published(settings).bundle.path
    for damage in (lambda file: file.write_bytes(b"broken"), Path.unlink, lambda file: (file.unlink(), file.mkdir())):
        damage(copy / name)
        opened = open_published(settings)
        assert (opened.bundle.bundle_id, opened.failures) == (shop.first, {})


def test_a_bundle_that_is_damaged_on_its_way_is_not_taken_up(shop, tmp_path):
    import obstore
    from obstore.store import from_url

    obstore.put(from_url(shop.url, client_options={"allow_http": True}), f"{shop.second}/fold_in.npy", b"?")
    with shop.replica(tmp_path, "a", admin_open=True) as (_, client):
        refused = client.post(f"/bundles/{shop.second}/publish", timeout=60)
        assert refused.status_code == 503
        assert "fold_in.npy has sha256" in refused.json()["detail"]
        assert client.get("/recommend/user-3").json()["bundle"] == shop.first
        assert shop.copies(tmp_path, "a") == {shop.first}
    assert shop.registry.current_id() == shop.first


def test_a_service_that_is_not_told_where_to_keep_copies_does_not_start(shop):
    ended_at = run("run", registry=shop.url, data="/tmp")
    assert ended_at.returncode == 2
    assert "RECO_REGISTRY_COPIES must name one" in ended_at.stderr


def test_the_retraining_loop_runs_through_the_bucket(store, tmp_path):
    import polars as pl

    data, url = topics_dataset(tmp_path / "dataset"), f"{store.bucket()}/bundles"
    schema = {"event_id": pl.String, "user_id": pl.String, "item_id": pl.String, "kind": pl.String,
              "timestamp": pl.Float64, "position": pl.Int64}  # fmt: skip
    pl.DataFrame(schema=schema).write_parquet(tmp_path / "none.parquet")
    registry = open_registry(url, tmp_path / "trainer")
    order = RetrainOptions(data.path, tmp_path / "none.parquet", registry, load_config("lightgcn", SETTINGS))
    registry.publish(retrain(order, tmp_path / "first", now=datetime.now(UTC)).bundle)
    before, mine = registry.current_id(), [f"item/{item}" for item in range(0, 40, 4)]
    settings = {
        "registry": url, "registry_copies": tmp_path / "copies", "data": tmp_path / "kept",
        "retrain_data": data.path, "retrain_arguments": ARGUMENTS, "retrain_poll_s": 0.05, "retrain_lease_s": 15,
        "bundle_poll_s": 0.1,
        "gate": {"metric_margin": 0.5},
    }  # fmt: skip
    with serving(**settings) as client:
        likes = [{"user_id": "a stranger", "item_id": item, "kind": "like"} for item in mine]
        assert client.post("/events", json=likes).status_code == 202
        job = ended(client, started(client))
        assert job["state"] == "published", (job["reason"], job["log"])
        wait_until(lambda: client.get("/readyz").json()["bundle"] != before)
        assert client.get("/users/a stranger").json()["trained"]
    made = Registry(tmp_path / "kept" / "retrain" / job["id"] / "copies" / url.replace("/", "%2F").replace(":", "%3A"))
    assert made.ids() == [job["bundle"]], "of what the trainer fetched and made it keeps the new bundle alone"
    assert open_bundle(open_registry(url, tmp_path / "elsewhere").current()).bundle_id == job["bundle"]
