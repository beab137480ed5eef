"""The README is true: its commands run as they stand there, and what it names exists."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import polars as pl
import pytest
from exported_encoders import put_encoders
from PIL import Image
from servers import wait_until
from worlds import topic_of, topics_source

from deploy.processes import free_port

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
(SHOWN,) = re.findall(r"```sh\n(anchorrec prepare.*?)```", README, re.DOTALL)
(PYTHON,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
COMMANDS = SHOWN.replace("--budget 60", "--budget 2")


def write_own_data(folder: Path) -> None:
    """Tables and pictures under the names that the README uses."""
    source = topics_source()
    plain = pl.col("item_id").str.replace("/", "-")
    source.interactions.with_columns(plain).write_csv(folder / "ratings.csv")
    items = source.items.select(plain, "title", description=pl.concat_str(pl.lit("one of "), "category"))
    items.write_csv(folder / "items.csv")
    (folder / "pictures").mkdir()
    rng = np.random.default_rng(0)
    for item_id in source.items["item_id"]:
        shade = 60 * topic_of(item_id) + rng.integers(0, 30, (24, 24, 3))
        Image.fromarray(shade.astype(np.uint8)).save(folder / "pictures" / f"{item_id.replace('/', '-')}.png")


@pytest.fixture
def environment() -> dict[str, str]:
    """`python` is the one that runs the tests."""
    port = free_port()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "RECO_PORT": str(port)}


def test_the_commands_for_ones_own_data_end_in_a_service_that_answers(tmp_path, tmp_path_factory, environment):
    write_own_data(tmp_path)
    put_encoders(tmp_path / "bundles", tmp_path_factory)
    log = (tmp_path / "log").open("w")
    process = subprocess.Popen(
        ["bash", "-e", "-c", COMMANDS], cwd=tmp_path, env=environment, stdout=log, stderr=log, start_new_session=True
    )
    client = httpx.Client(base_url=f"http://127.0.0.1:{environment['RECO_PORT']}")

    def ready() -> bool:
        assert process.poll() is None, (tmp_path / "log").read_text()
        try:
            return client.get("/readyz").is_success
        except httpx.TransportError:
            return False

    try:
        wait_until(ready, seconds=300)
        answer = client.get("/recommend/user 1", params={"k": 1, "explain": True}).json()
        assert answer["bundle"] == json.loads((tmp_path / "bundles" / "current.json").read_text())["bundle"]
        assert answer["items"][0]["explanation"]["parts"].keys() == {"id", "text", "image", "anchor"}
        shown = subprocess.run([sys.executable, "-c", PYTHON], cwd=tmp_path, capture_output=True, text=True, check=True)
        first = answer["items"][0]
        assert shown.stdout.startswith(f"1 {first['title']} {first['explanation']['sentence']}")
    finally:
        client.close()
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def test_every_page_and_file_that_the_readme_names_exists():
    for link in re.findall(r"\]\(((?!https://)[^)#]+)", README):
        assert (ROOT / link).is_file(), link
    for path in re.findall(r"`((?:trainer|index|service|deploy|docs)/[\w/.-]+)`", README):
        assert (ROOT / path).exists(), path


def test_every_make_target_that_the_readme_names_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|    )make ([a-z-]+)", README)) <= targets


def test_the_answer_that_the_readme_shows_is_json_whose_shares_sum_to_its_score():
    (shown,) = re.findall(r"```json\n(.*?)```", README, re.DOTALL)
    (item,) = json.loads(shown)["items"]
    why = item["explanation"]
    assert sum(why["parts"].values()) == pytest.approx(item["score"], abs=1e-4)
    past = sum(one["contribution"] for one in why["past_items"])
    assert past + why["other_past_items"] + why["user_own"] == pytest.approx(item["score"], abs=1e-4)
