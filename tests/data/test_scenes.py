from __future__ import annotations

import hashlib

import cv2
import numpy as np
import pytest

from convnext_dense.data import drawing, scenes
from convnext_dense.data.scenes import CLASSES, PAIRS, PALETTE, SEMANTIC_CLASSES, SEMANTIC_PALETTE, make_scene
from convnext_dense.errors import UserError


@pytest.fixture(scope="module")
def some_scenes():
    return [make_scene((0, 0, number)) for number in range(60)]


def digest(scene: scenes.Scene) -> str:
    masks = [instance.mask.tobytes() for instance in scene.instances]
    return hashlib.sha256(b"".join([scene.image.tobytes(), scene.label_map().tobytes(), *masks])).hexdigest()


def test_the_seed_decides_every_byte():
    seeds = [(0, 0, 1), (0, 0, 2), (0, 1, 1), (1, 0, 1)]
    first = [digest(make_scene(seed)) for seed in seeds]
    assert [digest(make_scene(seed)) for seed in reversed(seeds)] == first[::-1]
    assert len(set(first)) == len(seeds)


@pytest.mark.parametrize("size", [64, 97, 160])
def test_forms(size):
    scene = make_scene(3, size)
    assert scene.image.shape == (size, size, 3) and scene.image.dtype == np.uint8
    assert scene.label_map().shape == (size, size) and scene.label_map().dtype == np.uint8
    assert all(i.mask.shape == (size, size) and i.mask.dtype == bool for i in scene.instances)


def test_too_small_a_scene_is_refused():
    with pytest.raises(UserError, match="63 pixels"):
        make_scene(0, 63)


def test_names_and_colours_fit():
    assert len(CLASSES) == len(PALETTE) == len(set(PALETTE)) >= 8
    assert SEMANTIC_CLASSES[1:] == CLASSES and len(SEMANTIC_PALETTE) == len(SEMANTIC_CLASSES)


def test_scenes_hold_several_instances_of_every_class(some_scenes):
    per_scene = [len(scene.instances) for scene in some_scenes]
    assert min(per_scene) >= 3 and max(per_scene) <= 9
    counts = np.bincount(
        [i.category for scene in some_scenes for i in scene.instances], minlength=len(CLASSES)
    )
    assert counts.min() > 0.5 * counts.mean() and counts.max() < 1.6 * counts.mean()


def test_instances_are_visible_and_do_not_overlap(some_scenes):
    for scene in some_scenes:
        masks = np.stack([i.mask for i in scene.instances])
        assert masks.sum(0).max() == 1
        assert masks.sum((1, 2)).min() >= scenes.MIN_AREA_PX


def test_scale_and_occlusion_vary(some_scenes):
    areas = np.array([i.mask.sum() for scene in some_scenes for i in scene.instances])
    assert np.percentile(areas, 90) > 6 * np.percentile(areas, 10)
    split = [
        cv2.connectedComponents(i.mask.astype(np.uint8))[0] > 2 for s in some_scenes for i in s.instances
    ]
    assert sum(split) >= 3  # some are hidden so that they fall apart


def test_label_map_agrees_with_the_instances(some_scenes):
    for scene in some_scenes:
        labels = scene.label_map()
        expected = np.ones_like(labels)
        for instance in scene.instances:
            expected[instance.mask] = instance.category + 2
        kept = labels != 0
        assert np.array_equal(labels[kept], expected[kept])


def test_only_a_one_pixel_border_is_ignored(some_scenes):
    for scene in some_scenes:
        ignored = scene.label_map() == 0
        order = np.zeros(ignored.shape, int)
        for number, instance in enumerate(scene.instances, start=1):
            order[instance.mask] = number
        padded = np.pad(order, 1, mode="edge")
        neighbours = np.stack([padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]])
        # On each outline just the pixels behind it, so never two in a row across it.
        assert np.array_equal(ignored, (neighbours > order).any(0))
        assert 0.003 < ignored.mean() < 0.08


@pytest.mark.parametrize("pair", PAIRS)
def test_a_pair_shares_its_looks(pair):
    first, second = map(CLASSES.index, pair)
    for seed in range(50):
        a, b = (scenes.draw_paint(np.random.default_rng(seed), category) for category in (first, second))
        assert (a.texture, a.period, a.angle) == (b.texture, b.period, b.angle)
        assert np.array_equal(a.colours, b.colours)


def hues_deg(category: int, number: int = 400) -> np.ndarray:
    rng = np.random.default_rng(0)
    colours = np.array([[scenes.draw_paint(rng, category).colours[0] for _ in range(number)]], np.float32)
    return cv2.cvtColor(colours, cv2.COLOR_RGB2HSV)[0, :, 0]


def test_looks_are_typical_of_a_class_but_overlap():
    groups = [name for name in CLASSES if name not in [second for _, second in PAIRS]]
    edges = np.arange(0, 361, 15)
    histograms = np.stack([np.histogram(hues_deg(CLASSES.index(name)), edges)[0] / 400 for name in groups])
    guessed = histograms.max(0).sum() / histograms.sum()  # accuracy of the best guess from hue alone
    assert 0.5 < guessed < 0.9
    rng = np.random.default_rng(0)
    for category in range(len(CLASSES)):
        textures = [scenes.draw_paint(rng, category).texture for _ in range(200)]
        assert 0.45 < max(map(textures.count, textures)) / 200 < 0.85


def test_every_outline_covers_the_same_area_and_is_another_shape():
    covers = {}
    for name in CLASSES:
        points = [contour * 50 + 60.0 for contour in drawing.outline(name)]
        covers[name] = drawing.coverage(points, 120)
        assert covers[name].sum() == pytest.approx(2500, rel=0.02)
    for first in CLASSES:
        for second in CLASSES:
            if first != second:
                assert np.abs(covers[first] - covers[second]).sum() > 150


def test_coverage_is_exact_on_the_pixel_grid():
    square = np.array([[2, 3], [6, 3], [6, 5.5], [2, 5.5]], float)
    cover = drawing.coverage([square], 8)
    expected = np.zeros((8, 8))
    expected[3:5, 2:6], expected[5, 2:6] = 1, 0.5
    assert np.abs(cover - expected).max() <= 0.26  # OpenCV draws the outline too: a quarter of a pixel


@pytest.mark.parametrize("texture", drawing.TEXTURES)
def test_textures_are_fields_that_vary(texture):
    y, x = np.mgrid[:80, :60].astype(np.float32)
    field = drawing.TEXTURES[texture](x, y, 7.0, np.random.default_rng(0))
    assert field.shape == (80, 60) and np.abs(field).max() <= 1.001 and field.std() > 0.03


def test_the_bevel_is_bright_towards_the_light():
    alpha = np.zeros((40, 40), np.float32)
    alpha[10:30, 10:30] = 1
    factors = drawing.bevel(alpha, np.array([0.0, -1.0]), 4)  # light from above
    assert factors[11, 20] > 1.1 and factors[28, 20] < 0.9 and factors[20, 20] == pytest.approx(1, abs=0.01)
