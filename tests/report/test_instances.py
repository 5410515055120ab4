import cv2
import numpy as np
import pytest

from convnext_dense.report.instances import draw_instances

PALETTE = [(255, 0, 0), (0, 255, 0)]
RED, GREEN = (0, 0, 255), (0, 255, 0)  # BGR


def _draw(image, boxes, labels=None, masks=None, scores=None):
    count = len(boxes)
    return draw_instances(
        image,
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(labels if labels is not None else [0] * count, int),
        np.array(scores if scores is not None else [0.5] * count, np.float32),
        None if masks is None else [lambda mask=mask: mask for mask in masks],
        ("a", "b"),
        PALETTE,
    )


@pytest.fixture
def image():
    return np.full((200, 300, 3), 100, np.uint8)


def test_nothing_found_leaves_the_image_as_it_is(image):
    picture = _draw(image, [], masks=[])
    np.testing.assert_array_equal(picture, image)
    assert picture is not image


def test_a_mask_is_tinted_and_all_else_left(image):
    mask = np.zeros((200, 300), np.uint8)
    cv2.circle(mask, (150, 120), 40, 1, cv2.FILLED)
    before = image.copy()
    picture = _draw(image, [(105, 75, 195, 165)], [1], [mask])
    np.testing.assert_array_equal(image, before)
    assert picture[120, 150].tolist() == [55, 170, 55]  # 100 · 0.55 + (0, 255, 0) · 0.45
    assert picture[75, 150].tolist() == list(GREEN), "the box"
    assert picture[80, 110].tolist() == [100, 100, 100], "in the box, but not in the mask"
    assert picture[180, 250].tolist() == [100, 100, 100]


def test_an_empty_mask_leaves_the_box(image):
    picture = _draw(image, [(50, 50, 90, 90)], masks=[np.zeros((200, 300), np.uint8)])
    assert picture[90, 70].tolist() == list(RED)


@pytest.mark.parametrize(
    "box", [(0, 0, 299, 199), (290, 0, 299, 10), (-40, -30, 340, 230), (5, 190, 60, 220)]
)
def test_a_name_stays_in_the_image(image, box):
    """Its field has the class's colour: it is found whole, however the box lies."""
    whole = _draw(image, [(100, 100, 150, 150)])
    moved = _draw(image, [box])
    # Ink is white on red: the name has the same strokes wherever it stands.
    ink = (whole[..., 1] > 150).sum()
    assert ink > 20, "the name is there at all"
    assert (moved[..., 1] > 150).sum() == ink


def test_small_objects_and_certain_names_stay_on_top(image):
    big, small = (20, 40, 200, 180), (60, 80, 100, 120)
    full = np.zeros((200, 300), np.uint8)
    full[40:180, 20:200] = 1
    part = np.zeros((200, 300), np.uint8)
    part[80:120, 60:100] = 1
    for order in (1, -1):
        picture = _draw(image, [big, small][::order], [0, 1][::order], [full, part][::order])
        blue, green, red = picture[100, 80].tolist()
        assert green > red > blue, "the small one's green lies over the big one's red"
    same = [(50, 50, 150, 150)] * 2
    for order in (1, -1):
        picture = _draw(image, same, [0, 1][::order], scores=[0.9, 0.3][::order])
        assert picture[40, 51].tolist() == list(RED), "the name of the more certain"


def test_lines_grow_with_the_image():
    def line_px(side):
        picture = _draw(np.zeros((side, side, 3), np.uint8), [(side // 4, side // 2, side // 2, side - 9)])
        return (picture[side * 3 // 4, : side * 3 // 8] == RED).all(-1).sum()

    assert line_px(2400) > 2 * line_px(600) >= 2
