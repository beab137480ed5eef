"""Features of items, by encoders that count colours in a text and take the mean colour of a picture."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from encoding_worlds import item, play

from index.encoders import MODEL
from index.registry import Registry
from service.encoding import content_encoder, encoder


def test_an_item_is_encoded_from_its_text_else_its_title_and_from_its_picture(run):
    async def scene(world):
        return [
            await world.of(title="blue", text="red red shoes", image="red.png"),
            await world.of(title="blue shoes"),
            await world.of(text="  ", image="blue.png"),
            await world.of(),
        ]

    red, text = [1, 0, 0], [2, 0, 0]
    assert run(scene) == [{"text": text, "image": red}, {"text": [0, 0, 1]}, {"image": [0, 0, 1]}, {}]


def test_ready_features_are_not_made_again(run):
    async def scene(world):
        found = await world.of(text="red", image="red.png", features={"text": (9.0,)})
        return found, world.value("reco_encoded_total", kind="text")

    assert run(scene) == ({"image": [1, 0, 0]}, 0)


def test_many_items_are_encoded_as_one_by_one_and_equal_content_once(run):
    texts = ["red " * (n % 7) + "blue" for n in range(40)]

    async def scene(world):
        one_by_one = [await world.of(text=text) for text in texts]
        assert world.value("reco_encoded_total", kind="text") == 7
        return one_by_one

    async def together(world):
        found = await world.encoder.encode([item(str(n), text=text) for n, text in enumerate(texts)])
        return [{kind: [round(value, 3) for value in row] for kind, row in one.items()} for one in found]

    assert run(scene) == run(together)


def test_nothing_is_encoded_again_after_a_restart(run):
    async def scene(world):
        found = await world.of(text="red", image="blue.png")
        return found, world.value("reco_encoder_starts_total")

    assert run(scene) == ({"text": [1, 0, 0], "image": [0, 0, 1]}, 1)
    assert run(scene) == ({"text": [1, 0, 0], "image": [0, 0, 1]}, 0)


def test_a_damaged_cache_and_a_data_folder_that_cannot_be_written_only_cost_time(run, tmp_path):
    async def scene(world):
        return await world.of(text="red")

    data = tmp_path / "data"
    data.mkdir()
    (data / "encoded.sqlite").write_bytes(b"no database" * 1_000)
    assert run(scene) == {"text": [1, 0, 0]}
    shutil.rmtree(data)
    data.write_text("a file in place of the folder")
    assert run(scene) == {"text": [1, 0, 0]}


def test_an_item_whose_picture_fails_keeps_its_text_and_the_problem_is_told_until_it_works(run, images, monkeypatch):
    monkeypatch.setattr(encoder, "FIRST_RETRY_S", 0.0)

    async def scene(world):
        assert await world.of(text="red", image="late.png") == {"text": [1, 0, 0]}
        assert world.encoder.problems["new"].reason == "image: there is no file 'late.png' below RECO_IMAGES"
        assert world.encoder.due() == ["new"]
        assert world.value("reco_encoding_failures_total", kind="image") == 1
        assert world.encoder.problem is None, "the others are encoded"
        shutil.copy(images / "blue.png", images / "late.png")
        assert await world.of(text="red", image="late.png") == {"text": [1, 0, 0], "image": [0, 0, 1]}
        assert world.encoder.problems == {}

    run(scene)


def test_what_cannot_pass_is_not_due_again_and_what_may_pass_a_few_times(run, images, monkeypatch):
    monkeypatch.setattr(encoder, "FIRST_RETRY_S", 0.0)
    (images / "false.png").write_text("this is no picture")

    async def scene(world):
        await world.of(image="false.png")
        assert "image: the picture cannot be read: cannot identify" in world.encoder.problems["new"].reason
        assert world.encoder.due() == []
        for _ in range(encoder.RETRIES + 1):
            await world.of(image="absent.png")
        assert world.encoder.due() == []
        world.encoder.forget(["new"])
        assert world.encoder.problems == {}

    run(scene)


def test_a_bomb_and_a_truncated_picture_fail_alone(run, images):
    header = bytearray((images / "red.png").read_bytes())
    header[16:24] = (60_000).to_bytes(4) * 2  # width and height
    (images / "bomb.png").write_bytes(header)
    (images / "cut.png").write_bytes((images / "blue.png").read_bytes()[:60])

    async def scene(world):
        names = ("bomb", "cut", "red", "blue")
        found = await world.encoder.encode([item(name, image=f"{name}.png") for name in names])
        return [sorted(one) for one in found], {name: one.reason for name, one in world.encoder.problems.items()}

    made, problems = run(scene)
    assert made == [[], [], ["image"], ["image"]]
    assert problems.keys() == {"bomb", "cut"}
    assert "cannot be read" in problems["cut"]


def test_a_picture_that_needs_more_memory_than_the_limit_fails_alone(run, images):
    from PIL import Image

    Image.new("RGB", (13_000, 13_000)).save(images / "huge.png", compress_level=1)

    async def scene(world):
        found = await world.encoder.encode([item(name, image=f"{name}.png") for name in ("huge", "red")])
        return [sorted(one) for one in found], world.encoder.problems

    made, problems = run(scene, encode_memory_mb=700)
    assert made == [[], ["image"]]
    assert problems.keys() == {"huge"}
    assert "RECO_ENCODE_MEMORY_MB" in problems["huge"].reason


def test_a_text_of_megabytes_is_cut_as_in_training(run):
    async def scene(world):
        return await world.encoder.encode([item(text="red " * 25_000), item("other", text="blue")])

    assert run(scene)[0]["text"] == [50, 0, 0]


def test_a_bundle_without_encoders_and_a_service_that_must_not_encode_say_so(tiny, tmp_path):
    async def scene(world):
        return await world.of(text="red", image="red.png"), world.encoder.problem, world.encoder.modalities

    registry, encoders = tiny
    found, problem, modalities = play(registry, {}, scene, data=tmp_path)
    assert (found, modalities) == ({}, frozenset())
    assert "the bundle names no encoders" in problem
    found, problem, modalities = play(registry, encoders, scene, data=tmp_path, encode=False)
    assert (found, modalities) == ({}, frozenset())
    assert "RECO_ENCODE=false" in problem


def test_a_bundle_that_lacks_one_encoder_encodes_by_the_other(tiny, tmp_path):
    async def scene(world):
        return await world.of(text="red", image="red.png"), world.encoder.problem

    registry, encoders = tiny
    assert play(registry, {"text": encoders["text"]}, scene, data=tmp_path) == ({"text": [1, 0, 0]}, None)


@pytest.mark.parametrize("what", ["removed", "damaged"])
def test_an_encoder_that_is_not_whole_is_told_and_used_once_it_is(tiny, tmp_path, monkeypatch, what):
    monkeypatch.setattr(content_encoder, "REOPEN_S", 0.0)
    copy = Registry(Path(shutil.copytree(tiny[0].folder, tmp_path / "registry")))
    folder = copy.folder / "encoders" / tiny[1]["text"].digest
    whole = (folder / MODEL).read_bytes()

    async def scene(world):
        if what == "removed":
            shutil.move(folder, tmp_path / "elsewhere")
        else:
            (folder / MODEL).write_bytes(whole[:-1])
        assert await world.of(text="red") == {}
        assert f"encoders/{folder.name}" in world.encoder.problem
        assert "its encoder cannot be opened" in world.encoder.problems["new"].reason
        if what == "removed":
            shutil.move(tmp_path / "elsewhere", folder)
        else:
            (folder / MODEL).write_bytes(whole)
        assert await world.of(text="red") == {"text": [1, 0, 0]}
        assert world.encoder.problem is None

    play(copy, tiny[1], scene, data=tmp_path / "data")


def test_a_killed_process_is_restarted_and_the_batch_is_answered(run):
    async def scene(world):
        await world.of(text="green")
        killed = world.encoding.process.pid
        os.kill(killed, signal.SIGSTOP)
        batch = asyncio.create_task(world.encoder.encode([item(str(n), text="red " * n) for n in range(1, 9)]))
        while not batch.done() and not world.encoding.turn.locked():
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)  # the batch has been sent
        os.kill(killed, signal.SIGKILL)
        found = [one["text"] for one in await batch]
        assert world.encoding.process.pid != killed
        return found, world.value("reco_encoder_failures_total"), world.encoder.problems

    assert run(scene) == ([[n, 0, 0] for n in range(1, 9)], 1, {})


WITHOUT = """
import importlib.abc, sys

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "onnxruntime":
            raise ModuleNotFoundError(name)

from service.encoding import encoding
find = encoding.importlib.util.find_spec
encoding.importlib.util.find_spec = lambda name: None if name == "onnxruntime" else find(name)
sys.meta_path.insert(0, Missing())
from encoding_worlds import play
from index.registry import Registry
from pathlib import Path
from tiny_encoders import add_tiny_encoders

registry = Registry(Path(sys.argv[1]))

async def scene(world):
    print(await world.of(text="red"), world.encoder.problem)

play(registry, add_tiny_encoders(registry), scene, data=Path(sys.argv[1]))
"""


def test_without_onnxruntime_the_package_to_install_is_named(tmp_path):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*sys.path, str(Path(__file__).parents[2])])}
    command = [sys.executable, "-c", WITHOUT, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("{} texts and pictures of items cannot be encoded without onnxruntime")
    assert "pip install 'anchorrec[encode]'" in done.stdout


TWO = """
import asyncio, sys
from pathlib import Path
from encoding_worlds import item, play
from index.registry import Registry
from tiny_encoders import add_tiny_encoders

registry = Registry(Path(sys.argv[1]) / "registry")

async def scene(world):
    for start in range(0, 64, 16):
        found = await world.encoder.encode([item(str(n), text="blue " + "red " * n) for n in range(start, start + 16)])
        assert all(one["text"][2] == 1 for one in found)
    print(int(world.value("reco_encoded_total", kind="text")))

play(registry, add_tiny_encoders(registry), scene, data=Path(sys.argv[1]) / "data")
"""


def test_of_two_processes_that_encode_the_same_items_one_encodes_each(tmp_path, tiny):
    (tmp_path / "registry").symlink_to(tiny[0].folder)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*sys.path, str(Path(__file__).parents[2])])}
    command = [sys.executable, "-c", TWO, str(tmp_path)]
    pair = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    counts = [int(process.communicate(timeout=120)[0]) for process in pair]
    assert sum(counts) == 64
