"""Every fault of a COCO file is named with its record, and nothing is mended silently."""

from __future__ import annotations

import copy
import io
import math

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from convnext_dense.data.coco import read_coco
from convnext_dense.data.coco_annotations import rle_pixels
from convnext_dense.errors import UserError

from .coco_file import HEIGHT, WIDTH, rle, valid, writer


@pytest.fixture
def write(tmp_path):
    return writer(tmp_path)


def edit(**changes):
    """An edit of the first annotation; a value of None removes the key."""

    def apply(data):
        data["annotations"][0].update(changes)
        for key in [key for key, value in changes.items() if value is None]:
            del data["annotations"][0][key]

    return apply


def category(**changes):
    return lambda data: data["categories"][1].update(changes)


def image(**changes):
    return lambda data: data["images"][1].update(changes)


def repeat(key):
    return lambda data: data[key].append(copy.deepcopy(data[key][0]))


NAN, INF = math.nan, math.inf
FIRST = r"annotation 1 \(image 7\): "
FAULTS = {
    "annotation id twice": (repeat("annotations"), "annotation 1: another annotation has the same id"),
    "image id twice": (repeat("images"), "image 7: another image has the same id"),
    "category id twice": (repeat("categories"), "category 9: another category has the same id"),
    "category name twice": (category(name="cat"), "category 2 and category 9 are both 'cat'"),
    "category without name": (category(name=""), "category 2 has the name ''"),
    "no annotation id": (edit(id="x"), "annotation number 0 has the id 'x', not an integer"),
    "not an object": (lambda data: data["images"].append(3), "image number 2 is not an object: 3"),
    "no box": (edit(bbox=None), "annotation 1 has no 'bbox'"),
    "no area": (edit(area=None), "annotation 1 has no 'area'"),
    "dangling image": (edit(image_id=8), r"annotation 1 \(image 8\): there is no image 8"),
    "image id as text": (edit(image_id="7"), "there is no image '7'"),
    "dangling category": (edit(category_id=1), FIRST + "there is no category 1"),
    "iscrowd": (edit(iscrowd=2), FIRST + "iscrowd is 2"),
    "NaN box": (edit(bbox=[NAN, 5, 20, 15]), FIRST + r"the box \[nan, 5, 20, 15\] holds NaN"),
    "infinite box": (edit(bbox=[1, 5, INF, 15]), "holds NaN or infinity"),
    "three numbers": (edit(bbox=[1, 5, 20]), "is not a list of four numbers"),
    "numbers as text": (edit(bbox=[1, 5, 20, "15"]), "is not a list of four numbers"),
    "negative box": (edit(bbox=[30, 5, -20, 15]), "has a negative side"),
    "zero width": (edit(bbox=[30, 5, 0, 15]), "less than a pixel wide or high$"),
    "fractions": (edit(bbox=[0.2, 0.1, 0.5, 0.5]), "are these fractions of the image?"),
    "right of the image": (edit(bbox=[30, 5, 11, 5]), "leaves the image of 40x30 px by 1 px"),
    "above the image": (edit(bbox=[3, -2.5, 11, 5]), "by 2.5 px"),
    "area zero": (edit(area=0), FIRST + "the area is 0"),
    "area NaN": (edit(area=NAN), "the area is nan"),
    "area as text": (edit(area="big"), "the area is 'big'"),
    "two points": (edit(segmentation=[[1, 2, 3, 4]]), "a polygon has 4 numbers"),
    "odd polygon": (edit(segmentation=[[1, 2, 3, 4, 5, 6, 7]]), "a polygon has 7 numbers"),
    "flat polygon": (edit(segmentation=[1, 2, 3, 4, 5, 6]), "a polygon is 1, not a list"),
    "polygon of NaN": (edit(segmentation=[[1, 2, 3, 4, 5, NAN]]), "other than finite numbers"),
    "polygon of text": (edit(segmentation=[[1, 2, 3, 4, 5, "6"]]), "other than finite numbers"),
    "unknown mask": (edit(segmentation="abc"), "neither a list of polygons nor RLE"),
    "RLE of another size": (edit(segmentation=rle(WIDTH, HEIGHT)), r"for \[height, width\] \[40, 30\]"),
    "RLE cut": (
        edit(segmentation={**rle(), "counts": rle()["counts"][:-2]}),
        r"its RLE counts \d+ pixels, the image has 1,200",
    ),
    "RLE list": (edit(segmentation={**rle(), "counts": [1, 2, 3]}), "its RLE counts 6 pixels"),
    "RLE negative": (edit(segmentation={**rle(), "counts": [1300, -100]}), "counts of its RLE are damaged"),
    "RLE of other text": (edit(segmentation={**rle(), "counts": "~~~"}), "counts of its RLE are damaged"),
    "no file name": (image(file_name=""), "image 3: file_name is ''"),
    "image without width": (image(width=0), "image 3: width 0 and height 30 must be integers above 0"),
    "image missing": (image(file_name="c.jpg"), r"image 3: .*c\.jpg does not exist"),
    "image of another size": (image(width=41), "image 3: the file is 40x30 px .* says 41x30"),
    "no categories": (lambda data: data.update(categories=[], annotations=[]), "the list of categories"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named_with_its_record(write, tmp_path, name):
    plant, message = FAULTS[name]
    data = valid()
    read_coco(write(data), images_dir=tmp_path / "images", masks="required", full=True)
    plant(data)
    path = write(data)
    with pytest.raises(UserError, match="(?m)" + message) as error:
        read_coco(path, images_dir=tmp_path / "images")
    assert error.value.what.startswith("train.json has 1 fault: ")
    assert str(path) in error.value.where


def test_boxes_may_overhang_by_less_than_a_pixel(write):
    data = valid()
    data["annotations"][0]["bbox"] = [-0.9, -0.9, WIDTH + 1.8, HEIGHT + 1.8]
    read_coco(write(data))


def test_the_first_ten_faults_are_listed_and_all_are_counted(write):
    data = valid()
    for number in range(10, 22):
        data["annotations"].append({**data["annotations"][0], "id": number, "bbox": [1, 1, 0, 4]})
    data["annotations"].append({**data["annotations"][0], "id": 50, "image_id": 77})
    with pytest.raises(UserError) as error:
        read_coco(write(data))
    assert error.value.what == ("train.json has 13 faults: box without area (12), image id of no image (1)")
    lines = error.value.where.splitlines()
    assert len(lines) == 1 + 10 + 1
    assert lines[-1] == "… and 3 more"


def test_skipping_names_the_annotations_and_leaves_the_rest(write):
    data = valid()
    data["annotations"][0]["bbox"] = [1, 1, 0, 4]
    data["annotations"][1]["bbox"] = [30, 5, 13, 5]  # only overhangs
    data["annotations"][2]["bbox"] = [50, 5, 13, 5]  # is nowhere in the image
    coco = read_coco(write(data), faulty="skip")
    assert coco.faulty == {1, 3}
    assert coco.notices[0] == (
        "train.json has 3 faults: box outside its image (2), box without area (1); "
        "2 annotations are left out of training"
    )
    assert "annotation 1 (image 7): the box [1, 1, 0, 4]" in coco.notices[1]
    assert len(coco.annotations[7]) == 3, "the content is left as it is"

    with pytest.raises(UserError) as error:
        read_coco(write(data))
    assert "faulty='skip'" in error.value.fix

    data["annotations"][0]["image_id"] = 99
    with pytest.raises(UserError, match="there is no image 99") as error:
        read_coco(write(data), faulty="skip")
    assert "skip" not in error.value.fix


def test_scoring_keeps_what_can_be_scored(write):
    data = valid()
    data["annotations"][0]["bbox"] = [1, 1, 0, 4]
    coco = read_coco(write(data), faulty="keep")
    assert (coco.faulty, coco.notices) == (frozenset(), ())
    data["annotations"][0]["bbox"] = [1, NAN, 3, 4]
    with pytest.raises(UserError, match="NaN"):
        read_coco(write(data), faulty="keep")


def test_masks_are_asked_for_as_the_pipeline_needs_them(write):
    data = valid()
    with pytest.raises(UserError, match=r"annotation 2 \(image 7\): its mask is RLE"):
        read_coco(write(data), masks="polygons")
    data["annotations"][1]["segmentation"] = []
    path = write(data)
    read_coco(path)
    with pytest.raises(UserError, match=r"annotation 2 \(image 7\): it has no segmentation"):
        read_coco(path, masks="required")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"images": [],\n "annotations" []}', "Expecting ':' delimiter(?s:.*)line 2, column 16"),
        ("", "not JSON(?s:.*)line 1, column 1"),
        ("[]", "the file is a list"),
        ("3", "no list of images"),
        ('{"images": [], "categories": {}}', "no list of annotations and no list of categories"),
        ('{"images": [], "annotations": [], "categories": [{"id": 1, "name": "a"}]}', "there are no images"),
    ],
)
def test_files_that_are_not_coco(write, text, message):
    path = write(text)
    with pytest.raises(UserError, match=message) as error:
        read_coco(path)
    assert str(path) in error.value.where


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        read_coco(tmp_path / "nothing.json")
    (tmp_path / "bytes.json").write_bytes(b'{"a": "\xff\xfe"}')
    with pytest.raises(UserError, match="not JSON"):
        read_coco(tmp_path / "bytes.json")
    with pytest.raises(UserError, match="cannot be read"):
        read_coco(tmp_path)


def test_a_folder_of_images_that_is_not_there_is_one_error(write, tmp_path):
    with pytest.raises(UserError, match="the folder of the images does not exist"):
        read_coco(write(valid()), images_dir=tmp_path / "elsewhere")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("share", [0.5, 0.98])
def test_a_truncated_image_is_found_without_decoding_the_others(write, tmp_path, kind, share):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8))
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    (tmp_path / "images/a.jpg").write_bytes(buffer.getvalue())
    read_coco(write(valid()), images_dir=tmp_path / "images")
    (tmp_path / "images/a.jpg").write_bytes(buffer.getvalue()[: int(share * buffer.tell())])
    with pytest.raises(UserError, match=r"image 7: .*a\.jpg is cut short or damaged"):
        read_coco(write(valid()), images_dir=tmp_path / "images")


def test_a_whole_jpeg_with_bytes_after_its_end_is_no_fault(write, tmp_path):
    with open(tmp_path / "images/a.jpg", "ab") as file:
        file.write(b"\0" * 100)
    read_coco(write(valid()), images_dir=tmp_path / "images")


@pytest.mark.parametrize(("content", "message"), [(b"", "is empty"), (b"hello world", "is not an image")])
def test_files_that_are_no_images(write, tmp_path, content, message):
    (tmp_path / "images/a.jpg").write_bytes(content)
    with pytest.raises(UserError, match=rf"image 7: .*a\.jpg {message}"):
        read_coco(write(valid()), images_dir=tmp_path / "images")


def test_rle_lengths_are_those_of_the_coco_api():
    rng = np.random.default_rng(0)
    for height, width, density in [
        (1, 1, 1.0),
        (7, 5, 0.5),
        (60, 41, 0.02),
        (300, 500, 0.5),
        (2000, 3000, 0),
    ]:
        mask = np.asfortranarray(rng.random((height, width)) < density, np.uint8)
        assert rle_pixels(coco_mask.encode(mask)["counts"]) == height * width
