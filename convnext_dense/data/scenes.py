"""Generated scenes of shapes, made to need more than colour.

Each class has a typical hue and texture, but these overlap between classes, and the two of each pair in
`PAIRS` are told apart by their outline alone. Shapes hide one another, vary in scale, rotation and light,
throw shadows and lie among strokes that are no objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ..errors import UserError
from .drawing import Array, Paint, Rng, bevel, coverage, hsv, noise, outline

CLASSES = ("disc", "ring", "square", "hexagon", "triangle", "star", "cross", "crescent", "heart")
#: RGB colours to show the classes with.
PALETTE = (
    (245, 130, 32),
    (0, 170, 160),
    (30, 80, 220),
    (120, 190, 255),
    (60, 170, 60),
    (255, 220, 40),
    (170, 130, 0),
    (165, 70, 210),
    (230, 30, 70),
)
#: The classes of the label maps: a pixel of class k has the value k + 1; 0 is ignored.
SEMANTIC_CLASSES = ("background", *CLASSES)
SEMANTIC_PALETTE = ((90, 90, 90), *PALETTE)
#: Classes of the same hues and textures.
PAIRS = (("square", "hexagon"), ("star", "cross"))

MIN_AREA_PX = 40  #: of the visible part of every instance
MIN_VISIBLE = 0.4  #: share of every instance that is neither hidden nor outside the image
MIN_SIZE = 64  #: smallest side of a scene in pixels
_TRIES = 14
_HUES_DEG = {
    "disc": 28,
    "ring": 178,
    "square": 215,
    "triangle": 115,
    "star": 52,
    "crescent": 285,
    "heart": 350,
}
_TEXTURES = {
    "disc": "rings",
    "ring": "stripes",
    "square": "checks",
    "triangle": "speckle",
    "star": "plain",
    "crescent": "marble",
    "heart": "dots",
}
_LOOKS_LIKE = {second: first for first, second in PAIRS}
_BACKGROUNDS = ("cloud", "waves", "grain", "bricks", "stripes", "dots", "checks", "marble", "plain")


@dataclass(frozen=True)
class Instance:
    """One visible shape: `category` is its index in `CLASSES`, `mask` (H, W) bool its visible part."""

    category: int
    mask: Array


@dataclass(frozen=True)
class Scene:
    """A generated image and what is in it.

    Attributes:
        image: (H, W, 3) uint8, BGR.
        instances: From the rearmost to the foremost; their masks do not overlap.
    """

    image: Array
    instances: tuple[Instance, ...]

    def label_map(self) -> Array:
        """Return the (H, W) uint8 label map: 1 background, 2 … K+1 the classes, 0 a one-pixel border.

        The border lies round each object, on what is behind it: the object's own pixels keep its class.
        """
        labels = np.ones(self.image.shape[:2], np.uint8)
        depth = np.zeros(self.image.shape[:2], np.uint8)
        for order, instance in enumerate(self.instances, start=1):
            labels[instance.mask] = instance.category + 2
            depth[instance.mask] = order
        nearest = cv2.dilate(depth, cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3)))
        labels[nearest > depth] = 0
        return labels


@dataclass(frozen=True)
class _Shape:
    """A shape that was placed: `alpha` (H, W) is how much of each pixel it covers, before others hide it."""

    category: int
    alpha: Array
    centre: Array  # (x, y) in pixels
    full_area_px: float  # with what lies outside the image

    @property
    def mask(self) -> Array:
        return self.alpha >= 0.5


def draw_paint(rng: Rng, category: int) -> Paint:
    """Draw the look of an instance; the two classes of a pair draw from the same distribution."""
    look = _LOOKS_LIKE.get(CLASSES[category], CLASSES[category])
    typical_hue = rng.normal(_HUES_DEG[look], 17)
    hue = rng.uniform(0, 360) if rng.random() < 0.12 else typical_hue
    saturation, value = rng.uniform(0.45, 0.95), rng.uniform(0.6, 1.0)
    others = tuple(sorted(set(_TEXTURES.values())))
    texture = _TEXTURES[look] if rng.random() < 0.6 else others[rng.integers(len(others))]
    light = hsv(hue + rng.normal(0, 6), saturation * rng.uniform(0.5, 0.9), value * 1.08)
    dark = hsv(hue, saturation, value * rng.uniform(0.5, 0.75))
    return Paint(texture, (dark, light), rng.uniform(4.5, 9), rng.uniform(0, np.pi))


def make_scene(seed: int | Sequence[int], size: int = 160) -> Scene:
    """Generate one scene; the same seed and size give the same bytes.

    Args:
        seed: Seed of everything random, of `numpy.random.default_rng`.
        size: Height and width in pixels, at least 64; shapes scale with it.

    Raises:
        UserError: The size is too small.
    """
    if size < MIN_SIZE:
        raise UserError(f"a scene of {size} pixels is too small", fix=f"choose at least {MIN_SIZE}")
    rng = np.random.default_rng(seed)
    angle = rng.uniform(-np.pi, 0)  # the light comes from above
    to_light = np.array([np.cos(angle), np.sin(angle)], np.float32)
    canvas = _background(rng, size)
    placed = _place_shapes(rng, size)
    for shape in placed:
        canvas = _paint_shape(rng, canvas, shape, to_light)
    image = _expose(rng, canvas, to_light)
    hidden = np.zeros((size, size), bool)
    instances: list[Instance] = []
    for shape in reversed(placed):
        instances.insert(0, Instance(shape.category, shape.mask & ~hidden))
        hidden |= shape.mask
    return Scene(image, tuple(instances))


def _background(rng: Rng, size: int) -> Array:
    """Return a textured ground (H, W, 3) with strokes on it that are no objects."""
    hue, saturation, value = rng.uniform(0, 360), rng.uniform(0.08, 0.5), rng.uniform(0.4, 0.9)
    other = hsv(hue + rng.normal(0, 25), saturation * rng.uniform(0.6, 1.2), value * rng.uniform(0.7, 0.92))
    texture = _BACKGROUNDS[rng.integers(len(_BACKGROUNDS))]
    paint = Paint(texture, (other, hsv(hue, saturation, value)), rng.uniform(6, 16), rng.uniform(0, np.pi))
    ground = paint.fill((size, size), rng)
    ground = ground * (1 + 0.10 * noise(rng, (size, size), size / 3)[..., None])
    for _ in range(rng.integers(0, 5)):
        ground = _stroke(rng, ground)
    return ground


def _stroke(rng: Rng, ground: Array) -> Array:
    """Draw a curved stroke in the colours that objects have."""
    size = len(ground)
    time = np.linspace(0, 1, 40)[:, None]
    a, b, c = rng.uniform(0, size, (3, 2))
    curve = (1 - time) ** 2 * a + 2 * time * (1 - time) * b + time**2 * c
    alpha = np.zeros((size, size), np.uint8)
    points = np.round(curve * 16).astype(np.int32)
    cv2.polylines(alpha, [points], False, 255, int(rng.integers(1, 4)), cv2.LINE_AA, shift=4)
    colour = hsv(rng.uniform(0, 360), rng.uniform(0.2, 0.8), rng.uniform(0.35, 1))
    weight = alpha[..., None].astype(np.float32) / 255 * rng.uniform(0.5, 0.9)
    return ground * (1 - weight) + colour * weight


def _place_shapes(rng: Rng, size: int) -> list[_Shape]:
    """Draw shapes one on another, leaving out what would be hidden too much or would hide too much."""
    placed: list[_Shape] = []
    visible: list[Array] = []
    for _ in range(rng.integers(4, 10)):
        category = int(rng.integers(len(CLASSES)))
        for _ in range(_TRIES):
            shape = _draw_shape(rng, category, size)
            remaining = [mask & ~shape.mask for mask in visible]
            if all(_fair(m, s) for m, s in zip([*remaining, shape.mask], [*placed, shape], strict=True)):
                placed, visible = [*placed, shape], [*remaining, shape.mask]
                break
    return placed


def _fair(visible: Array, shape: _Shape) -> bool:
    return bool(visible.sum() >= max(MIN_AREA_PX, MIN_VISIBLE * shape.full_area_px))


def _draw_shape(rng: Rng, category: int, size: int) -> _Shape:
    """Draw the form of one shape of this class: place, scale, rotation and slant."""
    side = size * np.exp(rng.uniform(np.log(0.08), np.log(0.36)))  # of the square of the same area
    turn, slant = rng.uniform(0, 2 * np.pi), rng.uniform(0, np.pi)
    squeeze = np.exp(rng.uniform(0, 0.35)) ** np.array([0.5, -0.5])
    matrix = side * _rotation(turn) @ np.diag(squeeze) @ _rotation(slant)
    centre = rng.uniform(0.02, 0.98, 2) * size
    contours = [points @ matrix + centre for points in outline(CLASSES[category])]
    return _Shape(category, coverage(contours, size), centre, side**2)


def _rotation(angle: float) -> Array:
    return np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def _paint_shape(rng: Rng, canvas: Array, shape: _Shape, to_light: Array) -> Array:
    """Lay the shape's soft shadow and then the shape itself on the canvas."""
    size, alpha = len(canvas), shape.alpha
    lift_px = rng.uniform(2, 5) * size / 160
    shift = np.array([[1, 0, -lift_px * to_light[0]], [0, 1, -lift_px * to_light[1]]], np.float32)
    shadow = cv2.GaussianBlur(cv2.warpAffine(alpha, shift, (size, size)), (0, 0), 0.4 * lift_px + 0.5)
    canvas = canvas * (1 - 0.55 * shadow[..., None])
    edge_px = float(np.clip(0.12 * np.sqrt(shape.full_area_px), 1.5, 5))
    left, top, width, height = cv2.boundingRect((alpha > 0).astype(np.uint8))
    box = np.s_[top : top + height, left : left + width]
    surface = draw_paint(rng, shape.category).fill((height, width), rng, tuple(shape.centre - (left, top)))
    surface = surface * bevel(alpha, to_light, edge_px)[box][..., None]
    canvas[box] += (surface - canvas[box]) * alpha[box][..., None]
    return canvas


def _expose(rng: Rng, canvas: Array, to_light: Array) -> Array:
    """Light the scene, look at it through a camera and return (H, W, 3) uint8, BGR."""
    size = len(canvas)
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j].astype(np.float32)
    light = 1 + rng.uniform(0.05, 0.35) * (x * to_light[0] + y * to_light[1]) / 1.4
    light -= rng.uniform(0, 0.18) * (x**2 + y**2) / 2
    shade = np.clip(4 * noise(rng, (size, size), 0.8 * size, 2) - rng.uniform(0, 4), 0, 1)
    light *= 1 - rng.uniform(0, 0.4) * cv2.GaussianBlur(shade.astype(np.float32), (0, 0), 2)
    warmth = 1 + rng.uniform(-0.07, 0.07) * np.array([1, 0, -1], np.float32)
    exposed = canvas * light[..., None] * warmth * rng.uniform(0.9, 1.25)
    exposed = cv2.GaussianBlur(exposed, (0, 0), rng.uniform(0.3, 0.6))
    exposed = exposed + rng.normal(0, rng.uniform(0.004, 0.025), exposed.shape).astype(np.float32)
    return np.ascontiguousarray((np.clip(exposed, 0, 1) * 255).round().astype(np.uint8)[..., ::-1])
