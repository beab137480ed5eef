"""What may go wrong with a registry in a bucket, beside what test_registry.py asks of every registry."""

import hashlib
import json
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import obstore
import pytest
from bundles import write_small_bundle, write_tiny_bundle
from object_stores import ObjectStore
from obstore.store import from_url
from typer.testing import CliRunner

from index import bucket
from index.__main__ import app
from index.bucket import BucketStore
from index.bundle import BundleError, open_bundle
from index.bundle_store import StoreUnavailableError, WriteConflictError
from index.errors import InputError
from index.manifest import MANIFEST, digest_of, manifest_bytes
from index.registry import POINTER, Registry, find_bundle, open_registry


class Shop:
    """A bucket's registry with two bundles, the older one published, and two machines that use it."""

    def __init__(self, store: ObjectStore, folder: Path) -> None:
        self.store, self.url = store, f"{store.bucket()}/models/bundles"
        self.trainer = open_registry(self.url, folder / "trainer")
        self.replica = open_registry(self.url, folder / "replica")
        paths = [write_tiny_bundle(self.trainer.folder, n, seed=n) for n in range(2)]
        self.old, self.new = (path.name for path in paths)
        self.paths = dict(zip((self.old, self.new), paths, strict=True))
        for path in paths:
            self.trainer.add_bundle(path)
        self.trainer.publish(self.old)
        self.objects = from_url(self.url, client_options={"allow_http": True})

    def names(self) -> set[str]:
        return {found["path"] for some in obstore.list(self.objects) for found in some}


@pytest.fixture
def shop(store, tmp_path) -> Shop:
    return Shop(store, tmp_path)


def test_objects_are_named_as_the_files_of_a_folder_are(shop):
    kept = {f"{path.name}/{file.relative_to(path)}" for path in shop.paths.values() for file in path.rglob("*.*")}
    assert shop.names() == kept | {POINTER}


def test_what_another_machine_fetches_is_the_bundle_byte_for_byte(shop):
    fetched = shop.replica.current()
    assert fetched.parent == shop.replica.folder
    assert fetched != shop.paths[shop.old]
    for file in shop.paths[shop.old].rglob("*.*"):
        assert (fetched / file.relative_to(shop.paths[shop.old])).read_bytes() == file.read_bytes()
    assert open_bundle(fetched).bundle_id == shop.old


def test_large_files_come_in_pieces(shop, monkeypatch):
    monkeypatch.setattr(bucket, "CHUNK", 1_000)
    assert open_bundle(shop.replica.path(shop.new)).bundle_id == shop.new


def test_a_bundle_is_fetched_once_and_its_manifest_read_once(shop, monkeypatch):
    first = shop.replica.path(shop.new)
    assert shop.replica.manifest(shop.new).bundle_id == shop.new
    for name in ("get", "get_range", "list"):
        monkeypatch.setattr(obstore, name, None)
    assert shop.replica.path(shop.new) == first
    assert shop.replica.manifest(shop.new).bundle_id == shop.new


def test_several_threads_fetch_one_bundle_once(shop):
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(shop.replica.path, [shop.new] * 4))) == 1
    assert [path.name for path in shop.replica.folder.iterdir()] == [shop.new]


def test_copies_are_forgotten_but_for_those_in_use_and_fetched_again_when_asked_for(shop):
    for bundle_id in (shop.old, shop.new):
        shop.replica.path(bundle_id)
    bundle = open_bundle(shop.replica.path(shop.old))
    shop.replica.evict_copies(shop.new, None)
    assert [path.name for path in shop.replica.folder.iterdir()] == [shop.new]
    assert bundle.item_embeddings.sum(), "whoever has it open keeps it"
    assert open_bundle(shop.replica.path(shop.old)).bundle_id == shop.old


def test_a_copy_in_use_is_not_forgotten(shop):
    shop.replica.path(shop.old)
    with shop.replica.in_use(shop.old):
        shop.replica.evict_copies()
        assert [path.name for path in shop.replica.folder.iterdir()] == [shop.old]
    shop.replica.evict_copies()
    assert list(shop.replica.folder.iterdir()) == []


@pytest.mark.parametrize("damage", ["edited", "cut short", "gone"])
def test_a_damaged_object_is_named_and_nothing_of_its_bundle_is_kept(shop, damage):
    name = f"{shop.new}/fold_in.npy"
    data = bytes(obstore.get(shop.objects, name).bytes())
    if damage == "gone":
        obstore.delete(shop.objects, name)
    else:
        obstore.put(shop.objects, name, data[:-1] if damage == "cut short" else data[:-1] + b"?")
    with pytest.raises(BundleError, match=rf"{shop.url}.*fold_in\.npy"):
        shop.replica.path(shop.new)
    assert list(shop.replica.folder.glob("*")) == []
    shop.trainer.evict_copies()
    with pytest.raises(BundleError, match=r"fold_in\.npy"):
        shop.trainer.publish(shop.new)
    assert shop.trainer.current_id() == shop.old


def test_a_manifest_that_names_files_elsewhere_writes_none_of_them(shop):
    record = json.loads(bytes(obstore.get(shop.objects, f"{shop.new}/{MANIFEST}").bytes()))
    record["files"]["../../escaped"] = hashlib.sha256(b"").hexdigest()
    bundle_id = record["bundle_id"] = record["bundle_id"][:-8] + digest_of(record)
    obstore.put(shop.objects, f"{bundle_id}/{MANIFEST}", manifest_bytes(record))
    with pytest.raises(BundleError, match=r"lists other files .*\.\./\.\./escaped"):
        shop.replica.path(bundle_id)
    assert not list(shop.replica.folder.parent.rglob("escaped"))


def test_an_upload_that_was_killed_is_no_bundle_and_can_be_sent_again(shop, tmp_path):
    third = write_small_bundle(shop.trainer.folder, after_seconds=3)
    send = """
import os, signal, sys
from pathlib import Path
import obstore
from index.registry import open_registry
put, sent = obstore.put, []
def put_or_die(*arguments, **options):
    if len(sent) >= 3:  # several threads send
        os.kill(os.getpid(), signal.SIGKILL)
    sent.append(put(*arguments, **options))
obstore.put = put_or_die
open_registry(sys.argv[1], Path(sys.argv[2])).add_bundle(Path(sys.argv[3]))
"""
    sending = subprocess.run([sys.executable, "-c", send, shop.url, str(tmp_path), str(third)], check=False)
    assert sending.returncode == -signal.SIGKILL
    assert third.name not in shop.replica.ids()
    assert shop.replica.prune(9) == [], "it may still be going on"
    assert any(name.startswith(third.name) for name in shop.names())
    shop.trainer.add_bundle(third)
    assert open_bundle(shop.replica.path(third.name)).bundle_id == third.name


def test_a_day_later_what_is_left_of_an_upload_goes(shop, monkeypatch):
    obstore.delete(shop.objects, f"{shop.new}/{MANIFEST}")
    monkeypatch.setattr(bucket, "ABANDONED_AFTER", timedelta(seconds=-5))
    assert shop.trainer.prune(9) == []
    assert {name.partition("/")[0] for name in shop.names()} == {shop.old, POINTER}


def test_a_file_that_was_replaced_since_it_was_read_is_not_replaced(shop, tmp_path):
    one, other = BucketStore(shop.url, tmp_path / "1"), BucketStore(shop.url, tmp_path / "2")
    mine, theirs = one.read(POINTER), other.read(POINTER)
    other.replace(POINTER, b"theirs", theirs)
    with pytest.raises(WriteConflictError):
        one.replace(POINTER, b"mine", mine)
    with pytest.raises(WriteConflictError):
        one.replace(POINTER, b"mine", None)
    assert one.read(POINTER).data == b"theirs"


def test_of_many_who_publish_at_the_same_time_nobody_is_forgotten(shop, tmp_path):
    """Every publish of another bundle than serves adds one to the history: a lost update would be missing there."""
    machines = [open_registry(shop.url, tmp_path / f"machine-{n}") for n in range(4)]
    wanted = [shop.new, shop.old] * 2

    def publish(machine: Registry, bundle_id: str) -> None:
        machine.publish(bundle_id)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(publish, machines, wanted))
    served = [*shop.replica.history(), shop.replica.current_id()]
    assert all(one != following for one, following in pairwise(served))
    assert served[0] == shop.old
    assert set(served) == {shop.old, shop.new}


def test_a_publish_that_always_loses_says_so(shop, monkeypatch):
    def beaten(*_: object) -> None:
        raise WriteConflictError

    monkeypatch.setattr(BucketStore, "replace", beaten)
    with pytest.raises(InputError, match="conflicting changes 20 times in a row; try again"):
        shop.trainer.publish(shop.new)
    assert shop.trainer.current_id() == shop.old


def test_a_bucket_that_is_not_there_is_no_empty_one(store, tmp_path):
    url = f"{store.scheme}://nobody-has-this/bundles"
    nowhere = open_registry(url, tmp_path)
    for ask in (nowhere.ids, nowhere.current_id, lambda: nowhere.publish("20260101T120000Z-x-00000000")):
        with pytest.raises(StoreUnavailableError, match=f"{url}: there is no such bucket"):
            ask()


def test_a_store_that_does_not_answer_is_a_sentence_and_not_a_trace(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setattr(bucket, "RETRIES", bucket.NO_RETRIES)
    with pytest.raises(StoreUnavailableError, match=r"^s3://shop/bundles: .*GET http://127\.0\.0\.1:9/shop") as refused:
        open_registry("s3://shop/bundles", tmp_path).current_id()
    assert "\n" not in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("url", ["s3://", "ftp://shop/bundles", "s3://shop/bundles?x=1", "http://shop/bundles"])
def test_a_url_that_names_no_bucket_is_refused(tmp_path, url):
    with pytest.raises(InputError, match="names no bucket; expected a URL such as s3://bucket/bundles"):
        open_registry(url, tmp_path)


def test_a_file_url_is_a_folder(tmp_path):
    assert open_registry(f"file://{tmp_path}/a%20b", tmp_path).folder == tmp_path / "a b"


def test_a_bundle_is_found_by_its_url(shop, tmp_path):
    registry, bundle_id = find_bundle(f"{shop.url}/{shop.new}", tmp_path)
    assert (str(registry), bundle_id) == (shop.url, shop.new)


def run(*arguments: object, status: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "160"})
    assert result.exit_code == status, result.output
    return result.stdout


def test_the_command_line_takes_a_url_wherever_it_takes_a_path(shop, tmp_path):
    copies, bundle = ("--copies", tmp_path / "copies"), f"{shop.url}/{shop.new}"
    built = run("build", bundle, "--factory", "HNSW4", *copies)
    assert built.startswith(f"{shop.url}/")
    assert set(shop.replica.ids()) == {shop.old, shop.new, built.split()[0].rpartition("/")[2]}
    assert json.loads(run("inspect", shop.url, "--json", *copies))["bundle"] == shop.old
    assert json.loads(run("inspect", bundle, "--json", *copies))["bundle_id"] == shop.new
    published = run("publish", bundle, "--limit", "index_recall_floor=0", "--force", *copies)
    assert published.endswith(f"serving: {shop.new}\n") or "(forced)" in published
    assert shop.replica.current_id() == shop.new
    assert shop.replica.record(shop.new).gate is not None
    assert run("rollback", shop.url, *copies) == f"serving: {shop.old}\n"
    run("prune", shop.url, "--keep", "1", *copies)
    run("gate", f"{shop.url}/20260101T120000Z-x-00000000", *copies, status=1)


def test_without_the_library_for_buckets_the_refusal_says_what_to_install(tmp_path):
    code = "import sys; sys.modules['obstore'] = None; from pathlib import Path; "
    code += "from index.registry import open_registry; open_registry('s3://shop', Path('x'))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "s3://shop needs pip install 'anchorrec[bucket]'" in ended.stderr
