"""A start or a swap onto a bundle with anything in a file's place: the bundle before serves, and says why."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import pytest
from bundles import with_index, write_small_bundle
from processes import process, run
from servers import serving, wait_until

from deploy.processes import free_port
from index.errors import InputError
from index.manifest import INDEX, MANIFEST
from index.probing import probed_indexes
from index.registry import POINTER, Pointer, Registry
from service.bundles.open_published import open_published
from service.settings import Settings

DAMAGES: dict[str, Callable[[Path], None]] = {
    "gone": Path.unlink,
    "a pipe": lambda file: (file.unlink(), os.mkfifo(file)),
    "a device": lambda file: (file.unlink(), file.symlink_to("/dev/zero")),
    "a folder": lambda file: (file.unlink(), file.mkdir()),
    "a loop of links": lambda file: (file.unlink(), file.symlink_to(file.name)),
    "empty": lambda file: file.write_bytes(b""),
    "cut short": lambda file: os.truncate(file, file.stat().st_size // 2),
    "text": lambda file: file.write_text("(" * 5_000),
}


@pytest.mark.parametrize("when", ["start", "background", "off"])
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", [MANIFEST, INDEX, "seen/user_offsets.npy"])
def test_a_start_serves_the_bundle_before(two, name, damage, when):
    two.registry.publish(two.second.name)
    DAMAGES[damage](two.second / name)
    opened = open_published(Settings(registry=two.folder, verify_bundle=when))
    assert opened.bundle.bundle_id == two.first.name
    assert list(opened.failures) == [two.second.name]
    assert opened.pointer == two.registry.pointer()


def test_a_published_bundle_that_was_removed_leaves_the_one_before(two):
    two.registry.publish(two.second.name)
    shutil.rmtree(two.second)
    assert open_published(Settings(registry=two.folder)).bundle.bundle_id == two.first.name


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_pointer_that_cannot_be_read_is_refused_by_its_name(two, damage):
    DAMAGES[damage](two.folder / POINTER)
    told = "has no published bundle" if damage == "gone" else "current.json"
    with pytest.raises(InputError, match=told):
        open_published(Settings(registry=two.folder))


def test_a_process_serves_the_bundle_before_where_the_index_is_a_pipe(two, tmp_path):
    two.registry.publish(two.second.name)
    DAMAGES["a pipe"](two.second / INDEX)
    with process(two.folder, tmp_path / "log", admin_open=True) as (_, client):
        assert client.get("/readyz").json()["bundle"] == two.first.name
        assert "item.faiss" in client.get("/bundles").json()["trouble"]["error"]
    alone = run("run", port=free_port(), registry=two.folder, bundle_fallback=False)
    assert alone.returncode == 2
    assert "item.faiss" in alone.stderr.splitlines()[-1]


@pytest.mark.parametrize("damage", ["a pipe", "text"])
def test_a_swap_onto_a_damaged_index_is_refused_and_the_bundle_serves_on(two, damage):
    with serving(registry=two.folder, bundle_poll_s=0.05) as client:
        two.registry.publish(two.second.name)
        wait_until(lambda: client.get("/readyz").json()["bundle"] == two.second.name)
        DAMAGES[damage](two.first / INDEX)
        refused = client.post(f"/bundles/{two.first.name}/publish?force=true")
        assert refused.status_code == 409
        assert "item.faiss" in refused.json()["detail"]
        assert client.get("/bundles").status_code == 200
        assert client.get("/recommend/user-3").json()["bundle"] == two.second.name


def test_a_start_onto_a_crafted_index_serves_the_bundle_before_and_a_sound_one_is_probed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(tmp_path)
    sound = write_small_bundle(tmp_path, factory="IVF4,Flat")
    crafted = with_index(write_small_bundle(tmp_path, after_seconds=1, factory="IVF4,Flat"), a_row_beyond_all_items)
    registry.publish(sound.name)
    with pytest.raises(InputError, match="no sound index"):
        registry.publish(crafted.name)
    pointer = Pointer(bundle=crafted.name, history=[sound.name])
    (tmp_path / POINTER).write_text(pointer.model_dump_json(), encoding="utf-8")
    monkeypatch.setattr(probed_indexes, "_own", set())  # as if others had written them
    opened = open_published(Settings(registry=tmp_path))
    assert opened.bundle.bundle_id == sound.name
    assert "item.faiss is no sound index: its rows run from" in opened.failures[crafted.name]
    registry.rollback()
    monkeypatch.setattr(probed_indexes, "_own", set())
    monkeypatch.setattr(probed_indexes, "probe_in_process", lambda *_: pytest.fail("probed again"))
    assert open_published(Settings(registry=tmp_path)).bundle.bundle_id == sound.name


def a_row_beyond_all_items(file: Path) -> None:
    index: Any = faiss.read_index(str(file))
    faiss.rev_swig_ptr(index.invlists.get_ids(0), 1)[0] = 2**40
    faiss.write_index(index, str(file))
