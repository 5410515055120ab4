"""VOC, YOLO and LabelMe become COCO records, colour-coded masks label maps; what is odd is named."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from convnext_dense import cli
from convnext_dense.data.coco import read_coco
from convnext_dense.data.convert import to_coco
from convnext_dense.data.convert_masks import convert_masks, read_color_table
from convnext_dense.errors import UserError

VOC = """<annotation><object><name>dog</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>10</xmax>
<ymax>20</ymax></bndbox></object><object><name>cat</name><difficult>1</difficult><bndbox><xmin>5</xmin>
<ymin>6</ymin><xmax>40</xmax><ymax>30</ymax></bndbox></object></annotation>"""
LABELME = {
    "imageWidth": 40,
    "imageHeight": 30,
    "shapes": [
        {"label": "dog", "points": [[0, 0], [10, 20]], "shape_type": "rectangle"},
        {"label": "cat", "points": [[4, 5], [14, 5], [14, 9]], "shape_type": "polygon", "group_id": 1},
        {"label": "cat", "points": [[20, 5], [30, 5], [30, 9]], "shape_type": "polygon", "group_id": 1},
        {"label": "cat", "points": [[20, 15], [20, 18]], "shape_type": "circle"},
    ],
}
YOLO = "1 0.125 0.3333333333 0.25 0.6666666667\n\n0 0.1 0.1 0.6 0.1 0.6 0.5\n"
CONTENT = {"voc": VOC, "yolo": YOLO, "labelme": json.dumps(LABELME)}
SUFFIX = {"voc": "xml", "yolo": "txt", "labelme": "json"}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images/sub").mkdir(parents=True)
    (tmp_path / "labels/sub").mkdir(parents=True)
    Image.new("RGB", (40, 30)).save(tmp_path / "images/sub/a.jpg")
    return tmp_path


def put(folder, kind, content=None, name="sub/a"):
    (folder / "labels" / f"{name}.{SUFFIX[kind]}").write_text(CONTENT[kind] if content is None else content)


def command(folder, kind, *more):
    places = ["--images", str(folder / "images"), "--annotations", str(folder / "labels")]
    return ["convert-data", kind, *places, "--out", str(folder / "out/coco.json"), *more]


@pytest.mark.parametrize("kind", ["voc", "yolo", "labelme"])
def test_the_same_box_from_every_format(folder, kind, capsys):
    """A dog from the corner, 10 by 20 px; what is written passes the check of COCO files."""
    put(folder, kind)
    assert cli.main(command(folder, kind, "--classes", "cat", "dog", "--masks-from-boxes")) == 0
    coco = read_coco(folder / "out/coco.json", ["dog", "cat"], folder / "images", masks="required")
    assert list(coco.images.values()) == [{"id": 1, "file_name": "sub/a.jpg", "width": 40, "height": 30}]
    dog = next(a for a in coco.annotations[1] if coco.labels[a["category_id"]] == 0)
    assert dog["bbox"] == pytest.approx([0, 0, 10, 20], abs=1e-6)
    assert dog["area"] == pytest.approx(200)
    assert "next: convnext-dense check-data --coco" in capsys.readouterr().out


def test_difficult_objects_of_voc_are_marked(folder):
    put(folder, "voc")
    cat = to_coco("voc", folder / "images", folder / "labels")["annotations"][1]
    assert cat["bbox"] == [4, 5, 36, 25] and cat["ignore"] == 1 and "segmentation" not in cat


def test_polygons_groups_and_circles(folder):
    put(folder, "labelme")
    _, pair, circle = to_coco("labelme", folder / "images", folder / "labels")["annotations"]
    assert pair["segmentation"] == [[4, 5, 14, 5, 14, 9], [20, 5, 30, 5, 30, 9]]
    assert pair["bbox"] == [4, 5, 26, 4] and pair["area"] == 40
    assert circle["bbox"] == pytest.approx([17, 12, 6, 6]) and circle["area"] == pytest.approx(
        9 * np.pi, rel=0.01
    )


def test_a_polygon_of_yolo_in_pixels(folder):
    put(folder, "yolo")
    polygon = to_coco("yolo", folder / "images", folder / "labels", ["cat", "dog"])["annotations"][1]
    assert polygon["segmentation"][0] == pytest.approx([4, 3, 24, 3, 24, 15])
    assert polygon["area"] == pytest.approx(120)


def test_an_image_without_a_file_of_yolo_has_no_objects(folder):
    coco = to_coco("yolo", folder / "images", folder / "labels", ["cat"])
    assert len(coco["images"]) == 1 and coco["annotations"] == []


@pytest.mark.parametrize(
    ("kind", "content", "message"),
    [
        ("voc", "<annotation>", "not XML"),
        ("voc", VOC.replace("<xmin>1<", "<xmin>x<"), "object 1 has the box"),
        ("voc", VOC.replace("<name>dog</name>", ""), "object 1 has no name"),
        ("voc", VOC.replace("dog", "dgo"), "'dgo' is none of --classes; did you mean 'dog'"),
        ("yolo", "0 1 2 3 x", "line 1: .* is not all numbers"),
        ("yolo", "2 0.1 0.1 0.1 0.1", r"none of 0 … 1"),
        ("yolo", "0 10 10 5 5", "fractions of the image"),
        ("yolo", "0 0.1 0.1 0.1", "has 4 numbers"),
        ("labelme", "[]", "not a file of LabelMe"),
        ("labelme", json.dumps({**LABELME, "imageWidth": 41}), "an image of 41x30 px, the image has 40x30"),
        ("labelme", '{"shapes": [{"label": "a", "points": [[1, 2]], "shape_type": "point"}]}', "has no area"),
    ],
)
def test_what_is_not_understood_is_named_and_nothing_written(folder, capsys, kind, content, message):
    put(folder, kind, content)
    assert cli.main(command(folder, kind, "--classes", "cat", "dog")) == 2
    error = capsys.readouterr().err
    assert "sub/a" in error
    with pytest.raises(UserError, match=message):
        to_coco(kind, folder / "images", folder / "labels", ["cat", "dog"])
    assert not (folder / "out").exists()


def test_files_without_partner_are_named(folder):
    put(folder, "voc", name="b")
    with pytest.raises(UserError, match=r"2 faults(?s:.*)no such file for an image(?s:.*)b\.xml: no image"):
        to_coco("voc", folder / "images", folder / "labels")
    with pytest.raises(UserError, match="there are no images"):
        to_coco("voc", folder / "labels", folder / "labels")


def test_class_names_from_a_file(folder):
    put(folder, "yolo")
    (folder / "names.txt").write_text("cat\ndog\n")
    assert cli.main(command(folder, "yolo", "--classes", str(folder / "names.txt"))) == 0
    written = json.loads((folder / "out/coco.json").read_text())
    assert written["categories"] == [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]


TABLE = "# colours\n128 0 0  red roof\n0,128,0, tree\n0;0;0; ignore\n1 128 0 tree\n"


@pytest.fixture
def colored(tmp_path):
    (tmp_path / "masks/sub").mkdir(parents=True)
    (tmp_path / "colors.txt").write_text(TABLE)
    picture = np.array([[[128, 0, 0], [0, 128, 0]], [[0, 0, 0], [1, 128, 0]]], np.uint8)
    rgb = Image.fromarray(picture)
    rgb.save(tmp_path / "masks/a.png")
    rgb.convert("RGBA").save(tmp_path / "masks/sub/b.png")
    rgb.convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "masks/c.png")
    return tmp_path


def test_colours_become_labels(colored, capsys):
    out = colored / "labels"
    arguments = [
        "--masks",
        str(colored / "masks"),
        "--colors",
        str(colored / "colors.txt"),
        "--out",
        str(out),
    ]
    assert cli.main(["convert-data", "masks", *arguments]) == 0
    assert "0 red roof, 1 tree; 255 does not count" in capsys.readouterr().out
    for name in ("a.png", "sub/b.png", "c.png"):
        with Image.open(out / name) as image:
            assert image.mode == "L" and np.asarray(image).tolist() == [[0, 1], [255, 1]]


def test_a_colour_that_the_table_lacks_is_named_and_nothing_written(colored):
    Image.new("RGB", (3, 2), (9, 8, 7)).save(colored / "masks/d.png")
    with pytest.raises(UserError, match=r"d\.png: 6 pixels of 9 8 7"):
        convert_masks(colored / "masks", colored / "colors.txt", colored / "labels")
    assert not (colored / "labels").exists()
    with pytest.raises(UserError, match="would be overwritten"):
        convert_masks(colored / "masks", colored / "colors.txt", colored / "masks")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2 name", "is not `R G B name`"),
        ("1 2 300 a", "0 … 255"),
        ("1 2 3 a\n1 2 3 b", "repeats"),
        ("", "0 cl"),
    ],
)
def test_a_faulty_colour_table_is_told(tmp_path, text, message):
    (tmp_path / "colors.txt").write_text(text)
    with pytest.raises(UserError, match=message):
        read_color_table(tmp_path / "colors.txt")
