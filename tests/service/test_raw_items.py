"""Items given by words and a picture, to a running service whose bundle names encoders (tests/tiny_encoders.py)."""

from pathlib import Path

import httpx
import pytest
from bundles import make_living_content
from PIL import Image
from servers import publish, serving, wait_until
from tiny_encoders import add_tiny_encoders

from index.registry import Registry
from service.encoding import encoding

WIDTHS = {"text_width": 5, "image_width": 7}  # as bundles.make_anchor has them


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    folder = tmp_path / "registry"
    publish(folder, make_living_content(encoders=add_tiny_encoders(Registry(folder), **WIDTHS)))
    return folder


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for colour in ("red", "blue"):
        Image.new("RGB", (40, 30), colour).save(folder / f"{colour}.png")
    return folder


def put(client: httpx.Client, item_id: str, **fields: object) -> dict:
    """What the service says of the item once it is in lists, or why it is in none."""
    assert client.put(f"/items/{item_id}", json=fields).status_code == 202
    told: dict = {}

    def settled() -> bool:
        told.update(client.get(f"/items/{item_id}").json())
        return told["state"] == "listed" or (told["reason"] or "").startswith("its text and picture could not")

    wait_until(settled)
    return told


def test_an_item_is_in_lists_by_its_words_and_its_picture_and_stays_after_a_restart(registry, images, tmp_path):
    settings = {"registry": registry, "images": str(images), "data": tmp_path / "data"}
    with serving(**settings) as client:
        told = put(client, "raw", title="Lamp", text="red red green", image="red.png")
        assert told["reason"] is None
        assert told["part_norms"]["text"] > 0
        assert told["part_norms"]["image"] > 0
        words_only = put(client, "words", title="red red green")
        assert words_only["part_norms"]["text"] == pytest.approx(told["part_norms"]["text"])
        assert words_only["part_norms"]["image"] == 0
        similar = client.get("/similar/raw", params={"by": "text", "k": 1}).json()
        assert similar["items"][0]["item_id"] == "words"
        # The same features, given ready, are the same item.
        ready = {"text": [2, 1, 0, 0, 0], "image": [1, 0, 0, 0, 0, 0, 0]}
        assert put(client, "ready", features=ready)["part_norms"] == pytest.approx(told["part_norms"], rel=1e-5)
    with serving(**settings) as client:
        assert client.get("/items/raw").json()["part_norms"] == pytest.approx(told["part_norms"], rel=1e-5)
        assert "reco_encoder_starts_total 0.0" in client.get("/metrics").text, "all features are cached"


def test_a_picture_that_fails_is_told_of_an_item_that_is_in_lists_by_its_words(registry, tmp_path):
    with serving(registry=registry, data=tmp_path / "data") as client:
        told = put(client, "raw", title="red", image="http://169.254.169.254/latest/meta-data")
        assert told["part_norms"]["image"] == 0
        assert "image: http://169.254.169.254:80, which is not among the hosts" in told["reason"]


def test_without_the_extra_an_item_says_what_to_install(registry, tmp_path, monkeypatch):
    monkeypatch.setattr(encoding.importlib.util, "find_spec", lambda name: None)
    with serving(registry=registry, data=tmp_path / "data") as client:
        told = put(client, "raw", title="red")
        assert "without onnxruntime, tokenizers, pillow" in told["reason"]
        assert "pip install 'anchorrec[encode]'" in told["reason"]
        assert put(client, "ready", features={"text": [1, 0, 0, 0, 0]})["state"] == "listed"
