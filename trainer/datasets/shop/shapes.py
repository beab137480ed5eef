"""One recognisable outline a category."""

from collections.abc import Callable, Mapping

from trainer.datasets.shop.pen import Pen, Role

BODY, TRIM, DARK, LIGHT, MATERIAL, GREEN = Role.BODY, Role.TRIM, Role.DARK, Role.LIGHT, Role.MATERIAL, Role.GREEN


def _mug(pen: Pen) -> None:
    pen.bow(BODY, (0.66, 0.55), (0.14, 0.14), (-100, 100), 0.055)
    pen.mirrored(BODY, [(0.2, 0.3), (0.2, 0.5), (0.2, 0.68), (0.19, 0.75), (0.14, 0.79)])
    pen.disc(LIGHT, 0.5, 0.3, 0.2, 0.05)
    pen.disc(DARK, 0.5, 0.305, 0.17, 0.035)


def _teapot(pen: Pen) -> None:
    pen.bow(MATERIAL, (0.72, 0.54), (0.15, 0.13), (-110, 110), 0.045)
    pen.blob(BODY, [(0.36, 0.52), (0.2, 0.46), (0.13, 0.34), (0.17, 0.33), (0.25, 0.4), (0.38, 0.66)])
    pen.disc(BODY, 0.5, 0.57, 0.24, 0.21)
    pen.disc(TRIM, 0.5, 0.385, 0.13, 0.045)
    pen.disc(MATERIAL, 0.5, 0.325, 0.035)
    pen.box(TRIM, (0.38, 0.765, 0.62, 0.795), 0.01)


def _plate(pen: Pen) -> None:
    pen.disc(TRIM, 0.5, 0.5, 0.36)
    pen.disc(BODY, 0.5, 0.5, 0.345)
    pen.disc(LIGHT, 0.5, 0.5, 0.215)
    pen.disc(BODY, 0.5, 0.5, 0.2)


def _vase(pen: Pen) -> None:
    pen.line(GREEN, [(0.5, 0.32), (0.44, 0.16)], 0.012)
    pen.line(GREEN, [(0.51, 0.32), (0.57, 0.12)], 0.012)
    for x, y in ((0.43, 0.14), (0.58, 0.1), (0.4, 0.21), (0.6, 0.19)):
        pen.disc(TRIM, x, y, 0.03)
    pen.mirrored(BODY, [(0.09, 0.3), (0.065, 0.38), (0.1, 0.46), (0.19, 0.58), (0.18, 0.72), (0.1, 0.84)])
    pen.disc(DARK, 0.5, 0.3, 0.09, 0.022)


def _plant_pot(pen: Pen) -> None:
    for lean, height in ((-0.2, 0.26), (-0.1, 0.14), (0.0, 0.08), (0.11, 0.15), (0.2, 0.28)):
        tip = 0.5 + lean
        pen.blob(
            GREEN, [(0.47, 0.52), (tip - 0.05, height + 0.1), (tip, height), (tip + 0.05, height + 0.12), (0.53, 0.52)]
        )
    pen.polygon(BODY, [(0.3, 0.5), (0.7, 0.5), (0.64, 0.84), (0.36, 0.84)])
    pen.box(TRIM, (0.27, 0.46, 0.73, 0.54), 0.015)


def _table_lamp(pen: Pen) -> None:
    pen.line(MATERIAL, [(0.5, 0.45), (0.5, 0.8)], 0.035)
    pen.disc(MATERIAL, 0.5, 0.64, 0.06, 0.075)
    pen.disc(MATERIAL, 0.5, 0.82, 0.15, 0.04)
    pen.polygon(BODY, [(0.38, 0.16), (0.62, 0.16), (0.74, 0.5), (0.26, 0.5)])
    pen.polygon(TRIM, [(0.265, 0.475), (0.735, 0.475), (0.745, 0.505), (0.255, 0.505)])
    pen.line(DARK, [(0.62, 0.5), (0.62, 0.58)], 0.008)


def _chair(pen: Pen) -> None:
    for x, foot in ((0.36, 0.31), (0.64, 0.69)):
        pen.line(MATERIAL, [(x, 0.6), (foot, 0.88)], 0.035)
    for x in (0.42, 0.58):
        pen.line(MATERIAL, [(x, 0.58), (x, 0.82)], 0.028)
    pen.line(MATERIAL, [(0.33, 0.16), (0.33, 0.6)], 0.035)
    pen.line(MATERIAL, [(0.67, 0.16), (0.67, 0.6)], 0.035)
    pen.box(BODY, (0.33, 0.14, 0.67, 0.44), 0.06)
    pen.polygon(BODY, [(0.31, 0.52), (0.69, 0.52), (0.75, 0.62), (0.25, 0.62)])
    pen.polygon(TRIM, [(0.25, 0.62), (0.75, 0.62), (0.74, 0.65), (0.26, 0.65)])


def _cushion(pen: Pen) -> None:
    outline = [
        (0.16, 0.18),
        (0.5, 0.225),
        (0.84, 0.18),
        (0.79, 0.5),
        (0.84, 0.82),
        (0.5, 0.775),
        (0.16, 0.82),
        (0.21, 0.5),
    ]
    pen.blob(TRIM, outline)
    pen.blob(BODY, [(0.5 + (x - 0.5) * 0.95, 0.5 + (y - 0.5) * 0.95) for x, y in outline])


def _rug(pen: Pen) -> None:
    for step in range(15):
        x = 0.2 + step * 0.6 / 14
        pen.line(LIGHT, [(x, 0.1), (x, 0.9)], 0.012)
    pen.box(TRIM, (0.18, 0.14, 0.82, 0.86))
    pen.box(LIGHT, (0.22, 0.18, 0.78, 0.82))
    pen.box(BODY, (0.235, 0.195, 0.765, 0.805))


def _wall_clock(pen: Pen) -> None:
    pen.disc(MATERIAL, 0.5, 0.5, 0.36)
    pen.disc(BODY, 0.5, 0.5, 0.31)
    for x, y in ((0, -1), (1, 0), (0, 1), (-1, 0)):
        pen.disc(TRIM, 0.5 + 0.25 * x, 0.5 + 0.25 * y, 0.028)
    pen.disc(LIGHT, 0.5, 0.5, 0.17)
    pen.line(DARK, [(0.5, 0.5), (0.42, 0.4)], 0.022)
    pen.line(DARK, [(0.5, 0.5), (0.63, 0.4)], 0.014)
    pen.disc(DARK, 0.5, 0.5, 0.022)


def _backpack(pen: Pen) -> None:
    pen.bow(MATERIAL, (0.5, 0.19), (0.08, 0.08), (180, 360), 0.025)
    pen.box(DARK, (0.22, 0.34, 0.3, 0.74), 0.04)
    pen.box(DARK, (0.7, 0.34, 0.78, 0.74), 0.04)
    pen.mirrored(BODY, [(0.12, 0.18), (0.21, 0.24), (0.25, 0.4), (0.25, 0.7), (0.24, 0.82), (0.2, 0.85)])
    pen.box(TRIM, (0.32, 0.55, 0.68, 0.8), 0.05)
    pen.box(MATERIAL, (0.32, 0.61, 0.68, 0.63))
    for x in (0.38, 0.59):
        pen.box(MATERIAL, (x, 0.32, x + 0.03, 0.56), 0.01)


def _tote_bag(pen: Pen) -> None:
    pen.bow(MATERIAL, (0.5, 0.36), (0.13, 0.22), (180, 360), 0.03)
    pen.polygon(BODY, [(0.25, 0.34), (0.75, 0.34), (0.8, 0.86), (0.2, 0.86)])
    pen.polygon(TRIM, [(0.25, 0.34), (0.75, 0.34), (0.755, 0.39), (0.245, 0.39)])


def _t_shirt(pen: Pen) -> None:
    left = [(0.4, 0.17), (0.3, 0.2), (0.12, 0.38), (0.22, 0.48), (0.31, 0.41), (0.3, 0.85)]
    pen.polygon(BODY, left + [(1 - x, y) for x, y in reversed(left)])
    pen.disc(TRIM, 0.5, 0.17, 0.105, 0.075)
    pen.disc(DARK, 0.5, 0.16, 0.085, 0.055)
    pen.polygon(Role.BACKDROP, [(0.38, 0.0), (0.62, 0.0), (0.62, 0.165), (0.38, 0.165)])


def _jumper(pen: Pen) -> None:
    left = [(0.42, 0.19), (0.3, 0.22), (0.2, 0.36), (0.12, 0.76), (0.22, 0.79), (0.31, 0.5), (0.3, 0.82)]
    pen.polygon(BODY, left + [(1 - x, y) for x, y in reversed(left)])
    pen.box(TRIM, (0.3, 0.79, 0.7, 0.86), 0.01)
    pen.polygon(TRIM, [(0.125, 0.73), (0.225, 0.76), (0.21, 0.82), (0.11, 0.79)])
    pen.polygon(TRIM, [(0.875, 0.73), (0.775, 0.76), (0.79, 0.82), (0.89, 0.79)])
    pen.box(TRIM, (0.4, 0.14, 0.6, 0.23), 0.03)
    pen.disc(DARK, 0.5, 0.155, 0.085, 0.018)


def _sneaker(pen: Pen) -> None:
    upper = [(0.14, 0.42), (0.2, 0.36), (0.32, 0.4), (0.44, 0.36), (0.59, 0.5), (0.8, 0.58), (0.86, 0.68), (0.14, 0.7)]
    pen.blob(BODY, upper)
    pen.blob(TRIM, [(0.12, 0.44), (0.18, 0.38), (0.23, 0.5), (0.23, 0.69), (0.14, 0.7)])
    pen.blob(TRIM, [(0.69, 0.58), (0.8, 0.59), (0.86, 0.68), (0.67, 0.69)])
    pen.box(LIGHT, (0.12, 0.67, 0.88, 0.75), 0.035)
    for step in range(4):
        x, y = 0.43 + 0.055 * step, 0.39 + 0.04 * step
        pen.line(LIGHT, [(x, y), (x - 0.05, y + 0.08)], 0.018)


def _beanie(pen: Pen) -> None:
    pen.disc(TRIM, 0.5, 0.2, 0.1)
    pen.mirrored(BODY, [(0.03, 0.24), (0.2, 0.3), (0.28, 0.45), (0.3, 0.66)])
    pen.box(TRIM, (0.18, 0.6, 0.82, 0.78), 0.06)


def _umbrella(pen: Pen) -> None:
    pen.line(MATERIAL, [(0.5, 0.14), (0.5, 0.82)], 0.022)
    pen.bow(MATERIAL, (0.55, 0.82), (0.05, 0.06), (0, 180), 0.026)
    pen.mirrored(BODY, [(0.01, 0.17), (0.2, 0.22), (0.34, 0.36), (0.4, 0.52)])
    for x in (0.2, 0.4, 0.6, 0.8):
        pen.disc(Role.BACKDROP, x, 0.53, 0.098, 0.05)
    pen.line(MATERIAL, [(0.5, 0.5), (0.5, 0.82)], 0.022)
    for x in (0.3, 0.7):
        pen.line(TRIM, [(0.5, 0.18), (0.5 + (x - 0.5) * 0.72, 0.32), (x, 0.5)], 0.01)


def _notebook(pen: Pen) -> None:
    pen.box(LIGHT, (0.27, 0.17, 0.78, 0.87), 0.02)
    pen.box(BODY, (0.24, 0.14, 0.76, 0.85), 0.03)
    pen.box(MATERIAL, (0.24, 0.14, 0.32, 0.85), 0.03)
    pen.box(LIGHT, (0.42, 0.26, 0.66, 0.38), 0.01)
    pen.box(TRIM, (0.69, 0.14, 0.715, 0.85))


SHAPES: Mapping[str, Callable[[Pen], None]] = {
    "mug": _mug,
    "teapot": _teapot,
    "plate": _plate,
    "vase": _vase,
    "plant pot": _plant_pot,
    "table lamp": _table_lamp,
    "chair": _chair,
    "cushion": _cushion,
    "rug": _rug,
    "wall clock": _wall_clock,
    "backpack": _backpack,
    "tote bag": _tote_bag,
    "t-shirt": _t_shirt,
    "jumper": _jumper,
    "sneaker": _sneaker,
    "beanie": _beanie,
    "umbrella": _umbrella,
    "notebook": _notebook,
}
