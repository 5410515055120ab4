"""What the generated scenes are drawn with: outlines, textures, colours and light.

Coordinates are pixels, x to the right and y down; colours are RGB floats in [0, 1]; a field is a float32
array in [-1, 1]. Everything random comes from the generator that is passed in.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

Array = np.ndarray
Rng = np.random.Generator

_SUPERSAMPLING = 4
_ARC = np.linspace(0, 2 * np.pi, 96, endpoint=False)


def _polygon(angles: Array, radii: float | Array = 1.0) -> Array:
    """Return the points (N, 2) at these angles, counted from straight up."""
    return np.stack([radii * np.sin(angles), -radii * np.cos(angles)], axis=1)


def _regular(corners: int) -> Array:
    return _polygon(2 * np.pi * np.arange(corners) / corners)


def _star() -> Array:
    return _polygon(np.pi * np.arange(10) / 5, np.where(np.arange(10) % 2, 0.45, 1.0))


def _cross(half_width: float = 0.3) -> Array:
    arm = np.array([[-half_width, -1], [half_width, -1], [half_width, -half_width]])
    quarter_turn = np.array([[0, 1], [-1, 0]])
    return np.concatenate([arm @ np.linalg.matrix_power(quarter_turn, k) for k in range(4)])


def _crescent(offset: float = 0.4) -> Array:
    outer = np.linspace(-0.75, 0.75, 80) * np.pi
    horn_x, horn_y = _polygon(outer)[-1]
    radius, horn_angle = np.hypot(horn_x, horn_y - offset), np.arctan2(horn_x, offset - horn_y)
    inner = _polygon(np.linspace(horn_angle, -horn_angle, 60)[1:-1], radius)
    return np.concatenate([_polygon(outer), inner + np.array([0, offset])])


def _heart() -> Array:
    x = 16 * np.sin(_ARC) ** 3
    y = 13 * np.cos(_ARC) - 5 * np.cos(2 * _ARC) - 2 * np.cos(3 * _ARC) - np.cos(4 * _ARC)
    return np.stack([x, -y], axis=1) / 16


#: Contours of each shape, upright, by the even-odd rule; scaled to one area by `outline`.
_CONTOURS: dict[str, Callable[[], list[Array]]] = {
    "disc": lambda: [_polygon(_ARC)],
    "ring": lambda: [_polygon(_ARC), _polygon(_ARC, 0.55)],
    "square": lambda: [_regular(4)],
    "hexagon": lambda: [_regular(6)],
    "triangle": lambda: [_regular(3)],
    "star": lambda: [_star()],
    "cross": lambda: [_cross()],
    "crescent": lambda: [_crescent()],
    "heart": lambda: [_heart()],
}


def outline(shape: str) -> list[Array]:
    """Return a shape's contours, each (N, 2), scaled so that every shape covers an area of 1."""
    contours = _CONTOURS[shape]()
    areas = sorted((cv2.contourArea(c.astype(np.float32)) for c in contours), reverse=True)
    return [c / np.sqrt(areas[0] - sum(areas[1:])) for c in contours]


def coverage(contours: list[Array], size: int) -> Array:
    """Return how much of each pixel the contours cover: (size, size) float32 in [0, 1]."""
    big = np.zeros((size * _SUPERSAMPLING,) * 2, np.uint8)
    # Sixteenths of a supersampled pixel; its centre is at half integers here, at integers in OpenCV.
    fixed = [np.round((c * _SUPERSAMPLING - 0.5) * 16).astype(np.int32) for c in contours]
    cv2.fillPoly(big, fixed, 255, shift=4)
    return cv2.resize(big, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def noise(rng: Rng, shape: tuple[int, int], cell: float, octaves: int = 4) -> Array:
    """Return fractal value noise as a field; its largest features span about `cell` pixels."""
    height, width = shape
    field = np.zeros(shape, np.float32)
    for octave in range(octaves):
        grid = max(cell / 2**octave, 1.0)
        coarse = rng.uniform(-1, 1, (int(height / grid) + 2, int(width / grid) + 2)).astype(np.float32)
        field += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) / 2**octave
    return np.clip(field / 1.2, -1, 1)


def _soft_sign(field: Array, hardness: float) -> Array:
    return np.tanh(hardness * field)


def _wave(x: Array, period: float) -> Array:
    return np.sin(2 * np.pi / period * x)


def _wavy(x: Array, y: Array, period: float, rng: Rng) -> Array:
    return _soft_sign(_wave(x + 0.35 * period * noise(rng, x.shape, 3 * period, 2), period), 2.5)


def _dots(x: Array, y: Array, period: float, rng: Rng) -> Array:
    return _soft_sign(_wave(x, period) * _wave(y, period) - 0.35, 6)


def _grain(x: Array, y: Array, period: float, rng: Rng) -> Array:
    wood = noise(rng, x.shape, 8 * period, 3) * 5 + 2 * np.pi * x / (2.5 * period)
    return 0.8 * np.sin(wood) + 0.2 * noise(rng, x.shape, 2, 1)


def _bricks(x: Array, y: Array, period: float, rng: Rng) -> Array:
    row = np.floor(y / period)
    along = x / (2 * period) + 0.5 * (row % 2)
    mortar = np.minimum(np.abs((y / period) % 1 - 0.5), 2 * np.abs(along % 1 - 0.5))
    tone = np.sin(12.9898 * row + 78.233 * np.floor(along)) * 0.45 + 0.4
    return np.where(mortar > 0.44, -1, tone).astype(np.float32)


#: Name → field over coordinates x, y (both (H, W)) with a period in pixels.
TEXTURES: dict[str, Callable[[Array, Array, float, Rng], Array]] = {
    "plain": lambda x, y, period, rng: 0.25 * noise(rng, x.shape, 4 * period, 2),
    "stripes": lambda x, y, period, rng: _soft_sign(_wave(x, period), 3),
    "dots": _dots,
    "checks": lambda x, y, period, rng: _soft_sign(_wave(x, 2 * period) * _wave(y, 2 * period), 5),
    "rings": lambda x, y, period, rng: _soft_sign(_wave(np.hypot(x, y), period), 2.5),
    "marble": lambda x, y, period, rng: np.sin(
        2 * np.pi / (3 * period) * x + 4 * noise(rng, x.shape, 3 * period)
    ),
    "speckle": lambda x, y, period, rng: _soft_sign(noise(rng, x.shape, period / 2, 2), 3),
    "cloud": lambda x, y, period, rng: noise(rng, x.shape, 5 * period, 5),
    "waves": _wavy,
    "grain": _grain,
    "bricks": _bricks,
}


@dataclass(frozen=True)
class Paint:
    """A texture between two colours.

    Attributes:
        texture: A name in `TEXTURES`.
        colours: Two RGB colours, for the field's values -1 and 1.
        period: The texture's period in pixels.
        angle: Its direction in radians.
    """

    texture: str
    colours: tuple[Array, Array]
    period: float
    angle: float

    def fill(self, shape: tuple[int, int], rng: Rng, origin: tuple[float, float] = (0, 0)) -> Array:
        """Return a painted rectangle (H, W, 3) of `shape` (H, W); the texture starts at `origin` (x, y)."""
        y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
        x, y = x - np.float32(origin[0]), y - np.float32(origin[1])
        along = np.cos(self.angle) * x + np.sin(self.angle) * y
        across = np.cos(self.angle) * y - np.sin(self.angle) * x
        field = TEXTURES[self.texture](along, across, self.period, rng)
        weight = (field[..., None] + 1) / 2
        return self.colours[0] * (1 - weight) + self.colours[1] * weight


def hsv(hue_deg: float, saturation: float, value: float) -> Array:
    """Return an RGB colour (3,) float32."""
    rgb = colorsys.hsv_to_rgb(
        hue_deg / 360 % 1, float(np.clip(saturation, 0, 1)), float(np.clip(value, 0, 1))
    )
    return np.array(rgb, np.float32)


def bevel(alpha: Array, to_light: Array, width_px: float) -> Array:
    """Return brightness factors (H, W) of a shape with a rounded edge; `to_light` (x, y) has length 1."""
    inside = np.pad((alpha > 0.5).astype(np.uint8), 1)
    depth = cv2.distanceTransform(inside, cv2.DIST_L2, 5)[1:-1, 1:-1]
    height = np.sin(np.pi / 2 * np.minimum(depth / width_px, 1)).astype(np.float32)
    height = cv2.GaussianBlur(height, (0, 0), 0.8)
    down, right = np.gradient(height)
    facing = -(right * to_light[0] + down * to_light[1]) * width_px
    return 1 + 0.38 * np.tanh(facing)
