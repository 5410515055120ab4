import numpy as np

from convnext_dense.report import colorize, comparison, overlay

PALETTE = [(255, 0, 0), (0, 255, 0)]


def test_colors_are_those_of_the_palette_in_bgr_and_unlabelled_is_black():
    picture = colorize(np.array([[0, 1], [255, 7]]), PALETTE)
    assert picture.tolist() == [[[0, 0, 255], [0, 255, 0]], [[0, 0, 0], [0, 0, 0]]]


def test_overlay_mixes_labelled_pixels_and_leaves_the_others():
    image = np.full((1, 2, 3), 100, np.uint8)
    mixed = overlay(image, np.array([[0, 255]]), PALETTE, opacity=0.5)
    assert mixed[0, 0].tolist() == [50, 50, 178]  # (100 + 255) / 2 = 177.5
    assert mixed[0, 1].tolist() == [100, 100, 100]


def test_comparison_shows_every_panel_and_names_the_classes_in_the_legend():
    image = np.zeros((40, 60, 3), np.uint8)
    truth = np.zeros((40, 60), np.int64)
    one = comparison(image, {"prediction": truth}, ("a", "b"), PALETTE)
    two = comparison(image, {"truth": truth, "prediction": truth + 1}, ("a", "b"), PALETTE)
    assert one.dtype == np.uint8
    assert one.shape[2] == 3
    panel = 60 * 8  # enlarged to at least 320 px
    assert one.shape[1] == 2 * panel + 8
    assert two.shape[1] == 3 * panel + 2 * 8
    assert (two == (0, 255, 0)).all(-1).any(), "class b stands in the legend"
    assert not (one == (0, 255, 0)).all(-1).any(), "class b is not shown, so not in the legend"
