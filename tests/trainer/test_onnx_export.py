"""Exported encoders give the features that the trainer's give, and are exported once."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from exported_encoders import exported_encoders
from PIL import Image
from typer.testing import CliRunner
from worlds import topics_dataset

from index.__main__ import app
from index.bundle import open_bundle
from index.encoders import CARD
from index.errors import InputError
from index.registry import Registry
from service.encoding.networks import open_network
from trainer.config import load_config
from trainer.data import EncoderName
from trainer.encoders import encode_features, image_encoder, onnx_export, text_encoder
from trainer.encoders.onnx_export import export_encoders
from trainer.export import export_run
from trainer.fit import fit
from trainer.run_folder import RunFolder

ALIKE = 0.999
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
FEATURES = ("text", "image")


@pytest.fixture(scope="session")
def minilm():
    return text_encoder("minilm", "cpu")


@pytest.fixture(scope="session")
def efficientnet():
    return image_encoder("efficientnet-lite0", "cpu")


@pytest.fixture(scope="session")
def made_by(minilm, efficientnet):
    """As dataset.json names them."""
    encoders = {"text": minilm, "image": efficientnet}
    return {modality: EncoderName(name=one.name, version=one.version) for modality, one in encoders.items()}


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """A registry with both."""
    return exported_encoders(tmp_path_factory)


def network(exported, modality):
    registry, infos = exported
    folder, card = registry.encoders.fetch(infos[modality].digest)
    assert (card.name, card.width) == (infos[modality].name, infos[modality].width)
    return open_network(folder, threads=1)


def cosines(found, expected):
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    return (found * expected).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(expected, axis=1)


def test_texts_have_the_features_of_the_trainer(exported, minilm):
    texts = [
        "red leather shoes for children",
        "  blanks \t and\nlines  ",
        "",
        "x",
        "naïve café — ½ price!!! 50% 👟👟",
        "Зимние ботинки",
        "冬のブーツ 防水",
        "أحذية شتوية",
        "สวัสดี",
        "one word " * 2_000,
        "supercalifragilistic" * 500,
        "a\0b\ufffd",
    ]
    encode = network(exported, "text").encode
    found = encode([text.encode() for text in texts])
    alike = cosines(found, minilm.encode(texts))
    assert alike.min() >= ALIKE, dict(zip(texts, alike, strict=True))
    np.testing.assert_allclose([encode([text.encode()])[0] for text in texts[:3]], found[:3], atol=1e-5)


@pytest.fixture
def pictures(tmp_path) -> list[Path]:
    rng = np.random.default_rng(0)
    spots = Image.fromarray(rng.integers(0, 255, (12, 9, 3), dtype=np.uint8))
    coarse = spots.resize((180, 240), Image.Resampling.BICUBIC)
    grey16 = Image.fromarray(np.asarray(coarse.convert("L")).astype(np.uint16) * 257)
    cut_out = coarse.convert("RGBA")
    cut_out.paste((0, 0, 0, 0), (40, 0, 80, 200))
    turned = Image.Exif()
    turned[0x0112] = 6
    saved = {
        "rgb.jpg": (coarse, {}),
        "grey.png": (coarse.convert("L"), {}),
        "grey16.png": (grey16, {}),
        "transparent.png": (cut_out, {}),
        "palette.gif": (coarse.convert("P"), {}),
        "turned.jpg": (coarse, {"exif": turned}),
        "animation.gif": (coarse, {"save_all": True, "append_images": [coarse.rotate(90)]}),
        "wide.webp": (coarse.resize((1_500, 40)), {}),
        "tall.png": (coarse.resize((20, 900)), {}),
        "cmyk.jpg": (coarse.convert("CMYK"), {}),
        "dot.png": (Image.new("RGB", (1, 1), "red"), {}),
    }
    for name, (picture, options) in saved.items():
        picture.save(tmp_path / name, **options)
    return [tmp_path / name for name in saved]


def test_pictures_have_the_features_of_the_trainer(exported, efficientnet, pictures):
    found = network(exported, "image").encode([path.read_bytes() for path in pictures])
    alike = cosines(found, efficientnet.encode([str(path) for path in pictures]))
    assert alike.min() >= ALIKE, dict(zip([path.name for path in pictures], alike, strict=True))


def test_pictures_that_training_cannot_read_are_told(exported, efficientnet, pictures, tmp_path):
    (tmp_path / "cut.jpg").write_bytes(pictures[0].read_bytes()[:200])
    (tmp_path / "false.jpg").write_text("this is no picture")
    given = [tmp_path / "cut.jpg", tmp_path / "false.jpg", pictures[0]]
    found = network(exported, "image").encode([path.read_bytes() for path in given])
    assert [isinstance(one, str) for one in found] == [True, True, False]
    _, missing = encode_features([str(path) for path in given], efficientnet, cache=tmp_path, batch_size=3)
    assert missing == 2


def test_a_second_export_loads_no_network_and_writes_nothing(exported, made_by, monkeypatch):
    registry, infos = exported
    monkeypatch.setattr(onnx_export, "text_encoder", None)
    monkeypatch.setattr(onnx_export, "image_encoder", None)
    assert export_encoders(made_by, FEATURES, registry) == infos
    assert len(registry.encoders.digests()) == 2


def test_other_encoders_are_left_out_and_the_reason_is_printed(exported, made_by, capsys):
    def told(encoders, features):
        assert export_encoders(encoders, features, exported[0]) == {}
        return capsys.readouterr().err

    other = told({"text": EncoderName(name="mpnet", version="1")}, ("text",))
    assert "no text encoder beside the bundle: only minilm can be exported, and mpnet made the features" in other
    other = told({"image": EncoderName(name="timm:vit", version="1")}, ("image",))
    assert "only efficientnet-lite0 can be exported, and timm:vit made the features" in other
    assert "dataset.json names none for its text features" in told({}, ("text",))
    assert "and 0ld made the features" in told({"text": EncoderName(name="minilm", version="0ld")}, ("text",))
    assert told(made_by, ("multimodal",)) == ""


def test_without_the_exporter_the_reason_is_printed(made_by, tmp_path, monkeypatch, capsys):
    def absent(*_):
        raise ModuleNotFoundError("No module named 'onnx'", name="onnx")

    monkeypatch.setattr(onnx_export, "export_image", absent)
    assert export_encoders({"image": made_by["image"]}, ("image",), Registry(tmp_path)) == {}
    assert "trainer needs onnx, which is not installed: pip install 'anchorrec[trainer]'" in capsys.readouterr().err


def test_a_model_of_other_modules_is_refused(minilm, tmp_path):
    without = replace(minilm, model=list(minilm.model)[:2])
    with pytest.raises(InputError, match="consists of Transformer, Pooling; expected Transformer, Pooling, Normalize"):
        onnx_export.export_text(without, Registry(tmp_path))


def test_bundles_of_one_registry_share_their_encoders(exported, made_by, tmp_path, monkeypatch):
    """From the data into the manifests of two bundles, in a registry that has the encoders of an earlier one."""
    infos, registry = exported[1], Registry(tmp_path / "bundles")
    for info in infos.values():
        (registry.folder / "encoders" / info.digest).mkdir(parents=True)
        for file in (exported[0].folder / "encoders" / info.digest).iterdir():
            (registry.folder / "encoders" / info.digest / file.name).hardlink_to(file)
    dataset = topics_dataset(tmp_path / "data")
    folder = RunFolder(tmp_path / "run")
    fit(dataset, load_config("lightgcn", ("model.embedding_size=8", "training.epochs=1")), folder)
    monkeypatch.setattr(RunFolder, "dataset", lambda _: replace(dataset, encoders=made_by))

    def bundle(second, **options):
        path = export_run(folder, registry, created_at=NOW.replace(second=second), factory="Flat", **options)
        return open_bundle(path).manifest

    expected = {name: infos[name] for name in dataset.features if name in infos}
    assert expected
    assert bundle(1).encoders == bundle(2).encoders == expected
    assert bundle(3, encoders="none").encoders == {}
    assert len(list(registry.folder.glob(f"encoders/*/{CARD}"))) == 2
    shown = CliRunner().invoke(app, ["inspect", str(registry.path(registry.ids()[-1]))]).output
    assert all(
        f"{one.name} {one.version}, {one.width:,} wide; encoders/{one.digest}" in shown for one in expected.values()
    )
