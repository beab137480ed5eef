"""Encoders beside the bundles of a registry, in a folder and in a bucket; their networks are any bytes here."""

import os
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from bundles import write_small_bundle
from typer.testing import CliRunner

from index import encoders as encoder_files
from index.__main__ import app
from index.encoders import CARD, MODEL, TOKENIZER, EncoderCard, PictureInput, TextInput
from index.errors import BundleError
from index.manifest import EncoderInfo, read_manifest
from index.registry import Registry, open_registry

INPUT = PictureInput(size=8, mean=(0, 0, 0), std=(1, 1, 1), reading="2")
PICTURES = EncoderCard(
    kind="image",
    name="eye",
    version="1",
    width=3,
    picture=INPUT,
)
TEXTS = EncoderCard(kind="text", name="reader", version="1", width=2, text=TextInput(max_tokens=9))


@pytest.fixture(params=["folder", "bucket"])
def another(request, tmp_path) -> Callable[[], Registry]:
    """Opens the registry of a test as another machine would."""
    if request.param == "folder":
        return lambda: Registry(tmp_path / "bundles")
    url = f"{request.getfixturevalue('store').bucket()}/bundles"
    return lambda: open_registry(url, Path(tempfile.mkdtemp(dir=tmp_path)))


@pytest.fixture
def registry(another) -> Registry:
    registry = another()
    registry.folder.mkdir(exist_ok=True)
    return registry


def fill(folder: Path) -> None:
    (folder / MODEL).write_bytes(b"a network" * 1_000)


def fill_text(folder: Path) -> None:
    fill(folder)
    (folder / TOKENIZER).write_text("{}")


def add_bundle(registry: Registry, second: int = 0, **encoders: EncoderInfo) -> str:
    path = write_small_bundle(registry.folder, after_seconds=second, encoders=encoders)
    registry.add_bundle(path)
    return path.name


def test_another_machine_opens_the_files_that_were_added_and_finds_them_by_name_and_version(registry, another):
    text, image = registry.encoders.add(TEXTS, fill_text), registry.encoders.add(PICTURES, fill)
    other = another().encoders
    assert other.digests() == sorted([text.digest, image.digest])
    folder, card = other.fetch(text.digest)
    assert card.text == TEXTS.text
    assert {path.name for path in folder.iterdir()} == {CARD, MODEL, TOKENIZER}
    assert (folder / MODEL).read_bytes() == b"a network" * 1_000
    assert other.find("text", "reader", "1") == text
    assert other.find("text", "reader", "2") is None
    assert other.find("image", "reader", "1") is None
    assert other.card(image.digest).picture == PICTURES.picture


def test_equal_content_is_stored_once(registry, another):
    assert registry.encoders.add(PICTURES, fill) == another().encoders.add(PICTURES, fill)
    assert len(registry.encoders.digests()) == 1


def test_a_bundle_names_its_encoders_and_inspect_says_whether_they_are_there(tmp_path):
    registry = Registry(tmp_path)
    image = registry.encoders.add(PICTURES, fill)
    missing = image.model_copy(update={"digest": "0" * 64})
    bundle = tmp_path / add_bundle(registry, image=image, text=missing)
    assert read_manifest(bundle).encoders == {"image": image, "text": missing}
    shown = CliRunner().invoke(app, ["inspect", str(bundle)]).output
    assert f"eye 1, 3 wide; encoders/{image.digest}" in shown
    assert f"not usable: the registry has no encoders/{'0' * 64}" in shown
    assert (
        "none: new items need ready features"
        in CliRunner().invoke(app, ["inspect", str(tmp_path / add_bundle(registry))]).output
    )


def test_pruning_removes_the_encoders_that_no_bundle_names(registry, another, monkeypatch):
    named, unnamed = registry.encoders.add(PICTURES, fill), registry.encoders.add(TEXTS, fill_text)
    old, new = add_bundle(registry, 0, text=unnamed), add_bundle(registry, 1, image=named)
    registry.publish(new)
    assert registry.prune(keep=1) == [old], "an export that has not written its bundle yet keeps its encoder"
    monkeypatch.setattr(encoder_files, "UNNAMED_FOR", timedelta(seconds=-5))
    assert registry.prune(keep=1) == [f"encoders/{unnamed.digest}"]
    assert another().encoders.digests() == [named.digest]
    assert registry.prune(keep=1) == []


def test_an_export_that_finds_its_encoder_keeps_it_for_another_day(tmp_path):
    registry = Registry(tmp_path)
    digest = registry.encoders.add(PICTURES, fill).digest
    card = tmp_path / "encoders" / digest / CARD
    os.utime(card, (0, 0))
    assert registry.encoders.find("image", "eye", "1")
    assert registry.encoders.prune(()) == []
    os.utime(card, (0, 0))
    assert registry.encoders.prune(()) == [digest]
    assert not card.parent.exists()


def test_a_machine_keeps_copies_of_encoders_while_it_keeps_a_bundle_that_names_them(store, tmp_path):
    registry = open_registry(f"{store.bucket()}/bundles", tmp_path)
    registry.folder.mkdir(parents=True)
    named, other = registry.encoders.add(PICTURES, fill), registry.encoders.add(TEXTS, fill_text)
    kept, gone = add_bundle(registry, 0, image=named), add_bundle(registry, 1, image=named, text=other)
    registry.evict_copies(kept, gone)
    copies = registry.folder / "encoders"
    assert len(list(copies.iterdir())) == 2
    registry.evict_copies(kept)
    assert [path.name for path in copies.iterdir()] == [named.digest]
    assert registry.encoders.fetch(other.digest)[0].is_dir(), "it is fetched again"


def test_a_damaged_copy_is_downloaded_again_and_a_whole_one_serves_while_the_bucket_is_gone(store, tmp_path):
    url = f"{store.bucket()}/bundles"
    digest = open_registry(url, tmp_path / "trainer").encoders.add(PICTURES, fill).digest
    replica = open_registry(url, tmp_path / "replica")
    folder, _ = replica.encoders.fetch(digest)
    (folder / MODEL).write_bytes(b"damaged")
    assert (replica.encoders.fetch(digest)[0] / MODEL).read_bytes() == b"a network" * 1_000
    replica._store.read = None
    replica._store._download = None
    assert replica.encoders.fetch(digest)[1].name == "eye"


@pytest.mark.parametrize("name", [CARD, MODEL])
def test_a_damaged_encoder_is_refused(tmp_path, name):
    registry = Registry(tmp_path)
    digest = registry.encoders.add(PICTURES, fill).digest
    file = tmp_path / "encoders" / digest / name
    file.write_bytes(file.read_bytes().replace(b"e", b"E", 1))
    with pytest.raises(BundleError, match=rf"{name}.*(damaged|edited)"):
        registry.encoders.fetch(digest)


def test_an_encoder_with_files_of_other_names_is_refused(tmp_path):
    registry = Registry(tmp_path)
    digest = registry.encoders.add(PICTURES, fill_text).digest
    with pytest.raises(BundleError, match=r"files model.onnx, tokenizer.json; expected model.onnx"):
        registry.encoders.fetch(digest)
