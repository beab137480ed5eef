import os
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image

from index import pictures as reading
from index.pictures import UNREADABLE, PixelLimit, open_picture

RAMP = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (64, 1))  # (64, 64), dark left, light right


def largest_difference(path, expected=RAMP):
    found = np.asarray(open_picture(path), dtype=int)
    assert found.shape == (*expected.shape[:2], 3)
    return abs(found - (expected[..., None] if expected.ndim == 2 else expected)).max()


def saved(folder, picture, name, **options):
    picture.save(folder / name, **options)
    return folder / name


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_grey_of_sixteen_bits_is_scaled(tmp_path, name):
    assert largest_difference(saved(tmp_path, Image.fromarray(RAMP.astype(np.uint16) * 257), name)) <= 1


def test_a_transparent_grey_of_sixteen_bits_is_white(tmp_path):
    path = saved(tmp_path, Image.fromarray(RAMP.astype(np.uint16) * 257), "a.png")
    head, data, end = path.read_bytes().partition(b"IDAT")
    chunk = b"tRNS" + (0).to_bytes(2)
    path.write_bytes(head[:-4] + (2).to_bytes(4) + chunk + zlib.crc32(chunk).to_bytes(4) + head[-4:] + data + end)
    expected = np.where(RAMP == 0, 255, RAMP)
    assert largest_difference(path, expected) <= 1


def test_a_dark_picture_of_sixteen_bits_stays_dark(tmp_path):
    dark = Image.fromarray(RAMP.astype(np.uint16))
    for name in ("a.png", "a.tif", "a.pgm"):
        assert np.asarray(open_picture(saved(tmp_path, dark, name))).max() <= 1


@pytest.mark.parametrize(
    "values",
    [
        RAMP.astype(np.int32),
        RAMP.astype(np.int32) * 257,
        RAMP.astype(np.int32) * (2**31 // 256),
        RAMP.astype(np.float32) / 255,
        RAMP.astype(np.float32),
        RAMP.astype(np.float32) * 257,
        RAMP.astype(np.float32) * 1e6,
        RAMP.astype(np.float32) - 100,
        (RAMP.astype(">u2") * 257),
    ],
)
def test_grey_of_other_types_is_scaled_by_its_range(tmp_path, values):
    assert largest_difference(saved(tmp_path, Image.fromarray(values), "a.tif")) <= 1


def test_values_that_are_not_finite_do_not_spoil_the_others(tmp_path):
    values = RAMP.astype(np.float32) / 255
    values[0, :3] = np.nan, np.inf, -np.inf
    found = np.asarray(open_picture(saved(tmp_path, Image.fromarray(values), "a.tif")))[..., 0].astype(int)
    assert found[0, :3].tolist() == [0, 255, 0]
    assert abs(found[1:] - RAMP[1:]).max() <= 1


@pytest.mark.parametrize(
    ("suffix", "mode"),
    [(suffix, mode) for suffix in ("png", "tif") for mode in ("L", "P", "RGB", "RGBA", "LA")]
    + [("tif", "CMYK"), ("tif", "YCbCr"), ("tif", "RGBX")]
    + [("jpg", mode) for mode in ("L", "RGB", "CMYK", "YCbCr")],
)
def test_every_mode_is_seen_alike(tmp_path, suffix, mode):
    grey = Image.fromarray(RAMP)
    picture = (
        grey.quantize(64) if mode == "P" else grey.convert(mode) if mode == "LA" else grey.convert("RGB").convert(mode)
    )
    assert largest_difference(saved(tmp_path, picture, f"a.{suffix}")) <= 4


def test_black_and_white(tmp_path):
    halves = np.where(RAMP > 127, 255, 0).astype(np.uint8)
    assert largest_difference(saved(tmp_path, Image.fromarray(halves).convert("1"), "a.png"), halves) == 0


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P", "L", "RGB"])
def test_what_is_transparent_is_white(tmp_path, mode):
    """The right half is transparent, whatever colour lies under it; in L and RGB one colour is."""
    colour = Image.new("RGBA", (8, 8), (200, 200, 200, 255))
    colour.paste((0, 0, 0, 0), (4, 0, 8, 8))
    if mode in ("L", "RGB"):
        plain = colour.convert(mode)
        path = saved(tmp_path, plain, "a.png", transparency=0 if mode == "L" else (0, 0, 0))
    elif mode == "P":
        indexed = Image.new("P", (8, 8), 0)
        indexed.putpalette([200, 200, 200, 0, 0, 0])
        indexed.paste(1, (4, 0, 8, 8))
        path = saved(tmp_path, indexed, "a.gif", transparency=1)
    elif mode == "PA":
        path = saved(tmp_path, colour.quantize(4), "a.png")
    else:
        path = saved(tmp_path, colour.convert(mode), "a.png")
    found = np.asarray(open_picture(path), dtype=int)
    assert abs(found[:, :4] - 200).max() <= 2
    assert (found[:, 4:] == 255).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.webp"])
def test_a_turned_picture_is_upright(tmp_path, orientation, name):
    undo = [None, None, 0, 3, 1, 5, 2, 6, 4][orientation]  # Image.Transpose that the camera's turn amounts to
    upright = Image.new("RGB", (48, 32), "white")
    upright.paste((255, 0, 0), (0, 0, 16, 16))  # upper left
    upright.paste((0, 0, 255), (32, 0, 48, 16))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path, upright if undo is None else upright.transpose(undo), name, exif=exif)
    found = open_picture(path)
    assert found.size == (48, 32)
    assert np.asarray(found)[8, 8].argmax() == 0
    assert np.asarray(found)[8, 40].argmax() == 2
    assert np.asarray(found)[24].min() > 200


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png", "a.tif"])
def test_of_several_frames_the_first_is_seen(tmp_path, name):
    first, second = Image.new("RGB", (8, 8), (250, 0, 0)), Image.new("RGB", (8, 8), (0, 0, 250))
    path = saved(tmp_path, first, name, save_all=True, append_images=[second])
    assert np.asarray(open_picture(path))[4, 4].tolist() == pytest.approx([250, 0, 0], abs=8)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "I;16", "CMYK"])
def test_a_large_picture_is_reduced_while_it_is_read_and_looks_the_same(tmp_path, monkeypatch, mode):
    monkeypatch.setattr(reading, "REDUCED", 5_000)
    monkeypatch.setattr(reading, "SHORTEST_SIDE", 16)
    monkeypatch.setattr(reading, "STRIP", 10_000)
    wide = Image.fromarray(RAMP).resize((643, 411))
    picture = Image.fromarray(np.asarray(wide).astype(np.uint16) * 257) if mode == "I;16" else wide.convert(mode)
    found = open_picture(saved(tmp_path, picture, "a.tif"))
    assert found.width * found.height < 4 * 5_000
    assert found.width / found.height == pytest.approx(643 / 411, rel=0.05)
    colours = np.asarray(found.resize((16, 16)), dtype=int)
    assert abs(colours - np.asarray(wide.convert("RGB").resize((16, 16)))).max() <= 8


def test_a_large_jpeg_is_decoded_small(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "REDUCED", 5_000)
    monkeypatch.setattr(reading, "SHORTEST_SIDE", 16)
    held = []
    monkeypatch.setattr(reading, "_LIMIT", limit := PixelLimit(10**9))
    monkeypatch.setattr(limit, "hold", lambda n, hold=limit.hold: held.append(n) or hold(n))
    Image.fromarray(RAMP).resize((800, 800)).save(tmp_path / "a.jpg")
    assert open_picture(tmp_path / "a.jpg").width <= 200
    assert held == [100 * 100]


def test_threads_hold_no_more_pixels_together_than_the_limit_and_a_larger_picture_is_held_alone():
    limit, held, most = PixelLimit(10), [], []
    lock = threading.Lock()

    def work(n):
        with limit.hold(n):
            with lock:
                held.append(n)
                most.append(list(held))
            time.sleep(0.002)
            with lock:
                held.remove(n)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, [3, 4, 5, 25, 1, 10, 2, 2, 30, 6] * 3))
    assert all(sum(together) <= 10 or len(together) == 1 for together in most)
    assert max(map(len, most)) > 1


@pytest.mark.filterwarnings("ignore")  # Pillow's, of what it skips
def test_damaged_files_of_every_format_raise_the_one_error(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a.png", "a.jpg", "a.gif", "a.tif", "a.webp", "a.bmp", "a.ppm"):
        whole = saved(tmp_path, Image.fromarray(RAMP), name).read_bytes()
        for _ in range(int(os.environ.get("PICTURE_FLIPS", "40"))):
            broken = bytearray(whole[: rng.integers(1, len(whole) + 1)])
            for place in rng.integers(0, len(broken), 3):
                broken[place] ^= 1 << rng.integers(8)
            (tmp_path / name).write_bytes(broken)
            with suppress(*UNREADABLE):
                assert open_picture(tmp_path / name).mode == "RGB"


def test_a_decompression_bomb_is_refused_by_name(tmp_path):
    Image.new("1", (1, 1)).save(tmp_path / "a.bmp")
    header = bytearray((tmp_path / "a.bmp").read_bytes())
    header[18:26] = (60_000).to_bytes(4, "little") * 2
    (tmp_path / "a.bmp").write_bytes(header)
    with pytest.raises(UNREADABLE, match=r"a\.bmp: Image size \(3600000000 pixels\) exceeds limit"):
        open_picture(tmp_path / "a.bmp")
