"""A pen that draws into a map of roles: which paint each pixel will get, decided before any colour is known."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from math import cos, sin

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

CANVAS = 320  # pixels a side, twice the finished picture: scaling down is what smooths the edges

SMOOTH_STEPS = 8  # straight pieces of a curve between two of its points

Point = tuple[float, float]
Sides = tuple[float, float, float, float]


class Role(IntEnum):
    """What a pixel belongs to."""

    BACKDROP = 0
    BODY = 1  # carries colour and pattern
    TRIM = 2  # the second colour
    DARK = 3
    LIGHT = 4
    MATERIAL = 5  # wood, metal, leather ... as the product is made of
    GREEN = 6


@dataclass
class Pen:
    """Draws in a unit square, stretched about its centre by `wide` and `tall`; the y axis points down."""

    wide: float = 1.0
    tall: float = 1.0
    _map: Image.Image = field(default_factory=lambda: Image.new("L", (CANVAS, CANVAS), Role.BACKDROP))

    def __post_init__(self) -> None:
        self._draw = ImageDraw.Draw(self._map)

    def roles(self) -> NDArray[np.uint8]:
        """The map drawn so far (CANVAS, CANVAS)."""
        return np.asarray(self._map)

    def polygon(self, role: Role, points: Sequence[Point]) -> None:
        self._draw.polygon([self._place(x, y) for x, y in points], fill=role)

    def mirrored(self, role: Role, profile: Sequence[Point]) -> None:
        """A body that is the same on the left and on the right: (half width, y) from top to bottom, smoothed."""
        smooth = _smooth(profile)
        self.polygon(role, [(0.5 - x, y) for x, y in smooth] + [(0.5 + x, y) for x, y in reversed(smooth)])

    def blob(self, role: Role, points: Sequence[Point]) -> None:
        """A closed, smoothed outline through the points."""
        closed = [points[-1], *points, points[0], points[1]]
        self.polygon(role, _smooth(closed)[SMOOTH_STEPS:-SMOOTH_STEPS])

    def box(self, role: Role, sides: Sides, corner: float = 0.0) -> None:
        """A rectangle (left, top, right, bottom) with corners of this radius."""
        left, top, right, bottom = sides
        corners = [*self._place(left, top), *self._place(right, bottom)]
        self._draw.rounded_rectangle(corners, corner * CANVAS, fill=role)

    def disc(self, role: Role, x: float, y: float, rx: float, ry: float | None = None) -> None:
        """An ellipse about (x, y)."""
        ry = rx if ry is None else ry
        self._draw.ellipse([*self._place(x - rx, y - ry), *self._place(x + rx, y + ry)], fill=role)

    def bow(self, role: Role, centre: Point, radii: Point, degrees: Point, width: float) -> None:
        """A stroke along an ellipse, `degrees` from and to, clockwise from the right."""
        angles = np.radians(np.linspace(*degrees, num=25))
        self.line(role, [(centre[0] + radii[0] * cos(a), centre[1] + radii[1] * sin(a)) for a in angles], width)

    def line(self, role: Role, points: Sequence[Point], width: float) -> None:
        """A stroke with round ends."""
        placed, radius = [self._place(x, y) for x, y in points], width * CANVAS / 2
        self._draw.line(placed, fill=role, width=round(2 * radius), joint="curve")
        for x, y in (placed[0], placed[-1]):
            self._draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=role)

    def _place(self, x: float, y: float) -> Point:
        return CANVAS * (0.5 + (x - 0.5) * self.wide), CANVAS * (0.5 + (y - 0.5) * self.tall)


def _smooth(points: Sequence[Point]) -> list[Point]:
    """A Catmull-Rom curve through the points, ends included."""
    padded = np.array([points[0], *points, points[-1]])
    t = np.linspace(0, 1, SMOOTH_STEPS, endpoint=False)[:, None]
    curves = [
        0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
        for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:], strict=False)
    ]
    return [(float(x), float(y)) for x, y in np.vstack([*curves, padded[-1:]])]
