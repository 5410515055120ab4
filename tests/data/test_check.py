"""Errors of every kind are planted in a COCO data set, and the check finds each, with its file and id."""

from __future__ import annotations

import copy
import shutil

import numpy as np
import pytest
from PIL import Image

from convnext_dense.data.check_table import CHECKS

from .checked import HEIGHT, WIDTH, Coco, findings, picture
from .coco_file import rle


def save(mode=None, name="a.jpg", **options):
    """Replace an image by one of another mode or size."""

    def plant(coco):
        image = picture(3, mode) if mode else Image.new("RGB", options.pop("size"))
        image.save(coco.images / name, **options)

    return plant


def cut(share):
    def plant(coco):
        path = coco.images / "a.jpg"
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])

    return plant


def exif(orientation):
    def plant(coco):
        tags = Image.Exif()
        tags[0x0112] = orientation
        picture(3).save(coco.images / "a.jpg", exif=tags)
        if orientation > 4:
            coco.data["images"][0].update(width=HEIGHT, height=WIDTH)
            for annotation in coco.data["annotations"]:  # as displayed: polygons that fit both ways
                annotation["segmentation"] = [[10.0, 5.0, 30.0, 5.0, 30.0, 20.0]]

    return plant


def write(content):
    return lambda coco: (coco.images / "a.jpg").write_bytes(content)


def png16(coco):
    Image.fromarray(np.full((HEIGHT, WIDTH), 3000, np.uint16)).save(coco.images / "a.png")
    coco.data["images"][0]["file_name"] = "a.png"


def of_shape(width, height):
    def plant(coco):
        Image.new("RGB", (width, height)).save(coco.images / "a.jpg")
        coco.data["images"][0].update(width=width, height=height)
        coco.data["annotations"] = [a for a in coco.data["annotations"] if a["image_id"] == 8]

    return plant


NAN = float("nan")
#: What is planted → (how, the kind it is found as, what the example names)
PLANTED = {
    "image of 0 bytes": (write(b""), "image unreadable", "image 7: "),
    "text named .jpg": (write(b"hello"), "image unreadable", "a.jpg is not an image"),
    "image cut at 10 %": (cut(0.1), None, "image 7: "),
    "image cut at 50 %": (cut(0.5), "image truncated", "a.jpg"),
    "image cut at 95 %": (cut(0.95), "image truncated", "a.jpg"),
    "image missing": (lambda c: (c.images / "a.jpg").unlink(), "image missing", "image 7: "),
    "gray image": (save("L"), "image in gray", "a.jpg"),
    "16-bit image": (png16, "image of 16 bits", "a.png"),
    "image with transparency": (save("RGBA", format="PNG"), "image with transparency", "a.jpg"),
    "PNG named .jpg": (save("RGB", format="PNG"), "image suffix of another format", "is PNG"),
    "CMYK image": (save("CMYK"), "image in CMYK", "a.jpg"),
    "1x1 image": (of_shape(1, 1), "image of odd shape", "is 1x1 px"),
    "1x5000 image": (of_shape(1, 5000), "image of odd shape", "is 1x5000 px"),
    **{f"EXIF {i}": (exif(i), "image turned by EXIF", "a.jpg") for i in range(2, 9)},
    "image of another size": (save(size=(50, 40)), "image of another size", "image 7: "),
    "annotation id twice": (
        lambda c: c.data["annotations"].append(c.data["annotations"][0]),
        "annotation id repeated",
        "annotation 1:",
    ),
    "image id twice": (
        lambda c: c.data["images"].append(copy.deepcopy(c.data["images"][0])),
        "image id repeated",
        "image 7:",
    ),
    "dangling image_id": (lambda c: c.first(image_id=99), "image id of no image", "annotation 1 (image 99)"),
    "dangling category_id": (lambda c: c.first(category_id=9), "category id of no category", "annotation 1"),
    "NaN box": (lambda c: c.first(bbox=[NAN, 5, 20, 15]), "box not finite", "annotation 1 (image 7)"),
    "negative box": (lambda c: c.first(bbox=[30, 5, -20, 15]), "box of negative size", "annotation 1"),
    "box without area": (lambda c: c.first(bbox=[30, 5, 0, 15]), "box without area", "annotation 1"),
    "box outside": (lambda c: c.first(bbox=[60, 5, 20, 15]), "box outside its image", "annotation 1"),
    "area of zero": (lambda c: c.first(area=0), "area not positive", "annotation 1"),
    "bad RLE": (
        lambda c: c.first(segmentation={"size": [HEIGHT, WIDTH], "counts": "~~"}),
        "RLE damaged",
        "annotation 1",
    ),
    "RLE of another size": (lambda c: c.first(segmentation=rle(4, 4)), "RLE of another size", "annotation 1"),
    "no annotations": (lambda c: c.data.update(annotations=[]), "no annotations", "train.json"),
    "image without annotations": (
        lambda c: c.data.update(annotations=[a for a in c.data["annotations"] if a["image_id"] == 7]),
        "image without annotations",
        "image 8: b.jpg",
    ),
    "image not used": (lambda c: picture().save(c.images / "unused.png"), "image not used", "unused.png"),
    "class without annotations": (
        lambda c: c.data["categories"].append({"id": 9, "name": "owl"}),
        "class without annotations",
        "'owl'",
    ),
}


def test_a_sound_data_set_has_no_findings(tmp_path):
    assert findings(Coco(tmp_path).split(masks="required"), full=True) == {}


def test_a_crowd_is_no_fault(tmp_path):
    coco = Coco(tmp_path)
    coco.first(iscrowd=1)
    assert findings(coco.split()) == {}


@pytest.mark.parametrize("name", PLANTED)
def test_what_is_planted_in_coco_is_found(tmp_path, name):
    plant, kind, example = PLANTED[name]
    coco = Coco(tmp_path)
    plant(coco)
    found = findings(coco.split())
    if kind is None:  # so little is left that it may be no image at all
        kind = next(k for k in found if k in ("image truncated", "image unreadable"))
    assert any(example in text for text in found[kind].examples), found
    assert found[kind].fix and found[kind].severity == (CHECKS[kind].severity if kind in CHECKS else "error")


def test_classes_are_held_against_the_config(tmp_path):
    split = Coco(tmp_path).split(classes=("dgo", "cat"))
    found = findings(split)
    assert found["class not in the file"].examples[0].endswith("did you mean 'dog'?")
    assert found["category not among the classes"].examples == ("'dog' (10)",)
    order = findings(Coco(tmp_path / "2").split(classes=("cat", "dog")))
    assert {kind: group.severity for kind, group in order.items()} == {"classes in another order": "note"}


def test_the_same_picture_in_two_splits(tmp_path):
    train, val = Coco(tmp_path), Coco(tmp_path, "val", seed=5)
    assert findings(train.split(), val.split()) == {}
    shutil.copy(train.images / "a.jpg", val.images / "b.jpg")
    (text,) = findings(train.split(), val.split())["image in two splits"].examples
    assert str(val.images / "b.jpg") in text and str(train.images / "a.jpg") in text


def test_what_the_config_leaves_out_is_a_warning(tmp_path):
    coco = Coco(tmp_path)
    coco.first(bbox=[30, 5, 0, 15])
    split = coco.split(softened=frozenset({"box without area"}))
    assert findings(split)["box without area"].severity == "warning"


def test_decoding_finds_damage_in_the_middle(tmp_path):
    coco = Coco(tmp_path)
    picture(1).save(coco.images / "a.png")
    coco.data["images"][0]["file_name"] = "a.png"
    content = bytearray((coco.images / "a.png").read_bytes())
    content[3000:3200] = bytes(200)
    (coco.images / "a.png").write_bytes(content)
    assert "image truncated" not in findings(coco.split())
    assert "image truncated" in findings(coco.split(), full=True)
