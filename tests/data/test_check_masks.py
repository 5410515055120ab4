"""Errors of every kind are planted in label maps, and the check finds each, with its file and values."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from convnext_dense.data.check_table import CHECKS

from .checked import Masks, findings, picture


def rgb_mask(data):
    picture().save(data.masks / "a.png")


def palette_mask(data):
    with Image.open(data.masks / "a.png") as mask:
        mask.putpalette([0, 0, 0, 255, 0, 0])
        mask.save(data.masks / "a.png")


PLANTED_MASKS = {
    "value beyond the classes": (lambda d: d.put("a", 0, 1, 7), {}, "label beyond the classes", "has 7 ("),
    "16-bit value 300": (lambda d: d.put("a", 0, 300, dtype=np.uint16), {}, "mask of 16 bits", "up to 300"),
    "RGB mask": (rgb_mask, {}, "mask in colours", "a.png has the mode RGB"),
    "size mismatch": (
        lambda d: d.put("a", 0, 1, size=(9, 8)),
        {},
        "mask of another size",
        "9x8 px, the image 64x48",
    ),
    "all ignored": (lambda d: d.put("a", 255), {}, "mask without a label", "a.png"),
    "mask missing": (lambda d: (d.masks / "a.png").unlink(), {}, "mask missing", "a.png"),
    "mask unreadable": (lambda d: (d.masks / "a.png").write_bytes(b"x"), {}, "mask unreadable", "a.png"),
    "mask without image": (lambda d: d.put("z", 0, 1), {}, "mask without image", "z.png"),
    "image of another suffix": (
        lambda d: picture().save(d.images / "z.png"),
        {},
        "image of another suffix",
        "z.png",
    ),
    "image truncated": (
        lambda d: (d.images / "a.jpg").write_bytes((d.images / "a.jpg").read_bytes()[:900]),
        {},
        "image truncated",
        "a.jpg",
    ),
    "labels 1 and 2": (
        lambda d: [d.put(name, 1, 2) for name in "abc"],
        {},
        "labels begin at 1",
        "the highest value is 2 for 2 classes",
    ),
    "labels 0 and 1 with reduce_zero_label": (
        lambda d: None,
        {"reduce_zero_label": True},
        "labels begin at 0",
        "highest label is 1 of 2",
    ),
    "labels 0 and 255": (lambda d: [d.put(n, 0, 255) for n in "abc"], {}, "labels 0 and 255 only", "masks"),
    "class without pixels": (
        lambda d: [d.put(n, 0) for n in "abc"],
        {},
        "class without annotations",
        "'dog'",
    ),
    "255 beside another ignore_index": (
        lambda d: None,
        {"ignore_index": 11},
        "label beyond the classes",
        "255",
    ),
}


def test_sound_masks_have_no_findings(tmp_path):
    data = Masks(tmp_path)
    palette_mask(data)
    assert findings(data.split(), full=True) == {}
    for name in "abc":
        data.put(name, 0, 1, 2, 255)
    assert findings(data.split(reduce_zero_label=True)) == {}


@pytest.mark.parametrize("name", PLANTED_MASKS)
def test_what_is_planted_in_masks_is_found(tmp_path, name):
    plant, options, kind, example = PLANTED_MASKS[name]
    data = Masks(tmp_path)
    plant(data)
    found = findings(data.split(**options))
    assert any(example in text for text in found[kind].examples), found
    assert found[kind].severity == CHECKS[kind].severity
