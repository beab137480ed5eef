"""Patterns and textures, which fill the roles of a drawing."""

from collections.abc import Callable, Mapping
from functools import cache

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from trainer.datasets.shop.pen import CANVAS
from trainer.datasets.shop.vocabulary import MATERIALS

Mask = NDArray[np.float32]  # (CANVAS, CANVAS) in 0..1

_Y, _X = np.mgrid[0:CANVAS, 0:CANVAS].astype(np.float32) / CANVAS
_EMPTY = np.zeros_like(_X)
PHASES = 8


@cache
def pattern(name: str, phase: int) -> tuple[Mask, Mask]:
    """Where the second and the light colour show; `phase`, below PHASES, shifts the repeat."""
    return PATTERNS[name](phase / PHASES)


def _none(phase: float) -> tuple[Mask, Mask]:
    return _EMPTY, _EMPTY


def _stripes(phase: float) -> tuple[Mask, Mask]:
    place = (_Y * 11 + phase) % 1
    return _soft(np.abs(place - 0.5) < 0.1), _soft((place < 0.2) | (place > 0.8))


def _dots(phase: float) -> tuple[Mask, Mask]:
    row = np.floor(_Y * 11)
    distance = np.hypot((_X * 11 + phase + row % 2 / 2) % 1 - 0.5, (_Y * 11) % 1 - 0.5)
    return _EMPTY, _soft(distance < 0.27)


def _checks(phase: float) -> tuple[Mask, Mask]:
    across, down = (_X * 8 + phase) % 1 < 0.5, (_Y * 8 + phase) % 1 < 0.5
    return _soft(across & down), 0.5 * _soft(across ^ down)


def _waves(phase: float) -> tuple[Mask, Mask]:
    place = (_Y * 10 + 0.32 * np.sin(2 * np.pi * (_X * 6 + phase))) % 1
    return _EMPTY, _soft(place < 0.38)


def _triangles(phase: float) -> tuple[Mask, Mask]:
    x, y = (_X * 7 + phase) % 1, (_Y * 7) % 1
    inside = np.abs(x - 0.5) < 0.42 * y
    return _soft(inside & (np.floor(_Y * 7) % 2 == 0)), _soft(inside & (np.floor(_Y * 7) % 2 == 1))


def _floral(phase: float) -> tuple[Mask, Mask]:
    row = np.floor(_Y * 6)
    x, y = (_X * 6 + phase + row % 2 / 2) % 1 - 0.5, (_Y * 6) % 1 - 0.5
    distance, angle = np.hypot(x, y), np.arctan2(y, x)
    petals = distance < 0.2 + 0.14 * np.cos(5 * angle)
    return _soft(distance < 0.1), _soft(petals & (distance >= 0.1))


def _leaves(phase: float) -> tuple[Mask, Mask]:
    column = np.floor(_X * 6 + phase)
    x, y = (_X * 6 + phase) % 1 - 0.5, (_Y * 6 + column % 2 / 2) % 1 - 0.5
    lean = np.where(column % 2 == 0, 1, -1)
    along, across = (y + lean * x) / 2**0.5, (y - lean * x) / 2**0.5
    leaf = np.abs(across) < 0.2 * (1 - (along / 0.46) ** 2)
    return _soft(leaf & (np.abs(across) < 0.025)), _soft(leaf & (np.abs(across) >= 0.025))


PATTERNS: Mapping[str, Callable[[float], tuple[Mask, Mask]]] = {
    "plain": _none,
    "stripes": _stripes,
    "dots": _dots,
    "checks": _checks,
    "waves": _waves,
    "triangles": _triangles,
    "floral": _floral,
    "leaves": _leaves,
}


def _soft(where: NDArray[np.bool_]) -> Mask:
    return where.astype(np.float32)


@cache
def texture(material: str) -> Mask:
    """How a material breaks the light: a factor about 1 for each pixel."""
    random = np.random.default_rng(list(material.encode()))
    return np.asarray(1 + TEXTURES[MATERIALS[material].texture](random), dtype=np.float32)


def _grain(random: Generator) -> Mask:
    lines = np.repeat(random.normal(size=(CANVAS, 1)), CANVAS, axis=1)
    bent = np.roll(lines, 3, axis=0) * (0.5 + 0.5 * np.sin(9 * _X + 14 * _Y))
    return np.asarray(0.07 * (lines + bent), dtype=np.float32)


def _brushed(random: Generator) -> Mask:
    lines = np.repeat(random.normal(size=(1, CANVAS)), CANVAS, axis=0)
    return np.asarray(0.04 * lines + 0.16 * np.sin(5 * np.pi * _X), dtype=np.float32)


def _woven(random: Generator) -> Mask:
    weave = np.sin(2 * np.pi * 64 * _X) * np.sin(2 * np.pi * 64 * _Y)
    return np.asarray(0.09 * weave + 0.03 * random.normal(size=_X.shape), dtype=np.float32)


def _knitted(random: Generator) -> Mask:
    stitch = np.sin(2 * np.pi * (30 * _Y + 0.8 * np.abs((30 * _X) % 1 - 0.5)))
    return np.asarray(0.15 * stitch + 0.02 * random.normal(size=_X.shape), dtype=np.float32)


def _blotched(random: Generator) -> Mask:
    return np.asarray(0.1 * _cloud(random, 4) + 0.06 * _cloud(random, 1.5), dtype=np.float32)


def _speckled(random: Generator) -> Mask:
    return np.where(_cloud(random, 1.6) < -2.1, -0.4, 0.03 * _cloud(random, 6)).astype(np.float32)


def _smooth_glaze(random: Generator) -> Mask:
    gleam = np.exp(-(((_X - 0.38) / 0.05) ** 2)) + 0.5 * np.exp(-(((_X - 0.64) / 0.02) ** 2))
    return np.asarray(0.28 * gleam + 0.01 * random.normal(size=_X.shape), dtype=np.float32)


def _cloud(random: Generator, radius: float) -> NDArray[np.float64]:
    noise = Image.fromarray(random.integers(0, 256, (CANVAS, CANVAS), dtype=np.uint8))
    cloud = np.asarray(noise.filter(ImageFilter.GaussianBlur(radius)), dtype=np.float64)
    return np.asarray((cloud - cloud.mean()) / cloud.std())


TEXTURES: Mapping[str, Callable[[Generator], Mask]] = {
    "grain": _grain,
    "brushed": _brushed,
    "woven": _woven,
    "knitted": _knitted,
    "blotched": _blotched,
    "speckled": _speckled,
    "glaze": _smooth_glaze,
}
