"""Errors of every kind are planted in a data set, and the check finds each, with its file and id."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convnext_dense import cli
from convnext_dense.data import check as checking
from convnext_dense.data.check import check_splits
from convnext_dense.data.check_coco import CocoSplit
from convnext_dense.data.check_masks import MaskSplit
from convnext_dense.data.check_table import CHECKS
from convnext_dense.errors import UserError

from .coco_file import rle

WIDTH, HEIGHT = 64, 48
NAMES = ("cat", "dog")


def picture(seed=0, mode="RGB"):
    noise = np.random.default_rng(seed).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    return Image.fromarray(noise).convert(mode)


class Coco:
    """Two images with objects of two classes each; the second of each class has run lengths."""

    def __init__(self, folder: Path, name="train", seed=0) -> None:
        self.folder, self.name, self.images = folder, name, folder / name
        self.images.mkdir(parents=True)
        annotations = []
        for number in range(20):
            annotations.append(
                {
                    "id": number + 1,
                    "image_id": 7 + number % 2,
                    "category_id": 5 if number % 4 < 2 else 3,
                    "bbox": [10, 5, 20, 15],
                    "area": 300.0,
                    "segmentation": [[10.0, 5.0, 30.0, 5.0, 30.0, 20.0]]
                    if number % 3
                    else rle(HEIGHT, WIDTH),
                }
            )
        self.data = {
            "images": [
                {"id": 7 + i, "file_name": f"{'ab'[i]}.jpg", "width": WIDTH, "height": HEIGHT} for i in (0, 1)
            ],
            "categories": [{"id": 5, "name": "cat"}, {"id": 3, "name": "dog"}],
            "annotations": annotations,
        }
        for i in (0, 1):
            picture(seed + i).save(self.images / f"{'ab'[i]}.jpg")

    def split(self, **options) -> CocoSplit:
        path = self.folder / f"{self.name}.json"
        path.write_text(json.dumps(self.data))
        return CocoSplit(self.name, path, self.images, **options)

    def first(self, **changes) -> None:
        self.data["annotations"][0].update(changes)


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


def findings(*splits, full=False):
    return {group.kind: group for group in check_splits(splits, full=full).groups}


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


class Masks:
    """Three images with label maps of two classes, 0 and 1, and 255."""

    def __init__(self, folder: Path) -> None:
        self.images, self.masks = folder / "images", folder / "masks"
        for path in (self.images, self.masks):
            path.mkdir(parents=True)
        for name in "abc":
            picture(ord(name)).save(self.images / f"{name}.jpg")
            self.put(name, 0, 1, 255)

    def put(self, name, *values, dtype=np.uint8, size=(WIDTH, HEIGHT)):
        mask = np.resize(np.array(values, dtype), size[::-1])
        Image.fromarray(mask).save(self.masks / f"{name}.png")

    def split(self, **options) -> MaskSplit:
        return MaskSplit("train", self.images, self.masks, NAMES, **options)


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


def test_decoding_finds_damage_in_the_middle(tmp_path):
    coco = Coco(tmp_path)
    picture(1).save(coco.images / "a.png")
    coco.data["images"][0]["file_name"] = "a.png"
    content = bytearray((coco.images / "a.png").read_bytes())
    content[3000:3200] = bytes(200)
    (coco.images / "a.png").write_bytes(content)
    assert "image truncated" not in findings(coco.split())
    assert "image truncated" in findings(coco.split(), full=True)


def command(coco, out, *more):
    split = coco.split()
    paths = ["--coco", str(split.annotations), "--images", str(split.images), "--out", str(out)]
    return ["check-data", *paths, *more]


@pytest.mark.parametrize(("plant", "code"), [(None, 0), ("note", 0), ("warning", 1), ("error", 2)])
def test_exit_code_reports_and_table(tmp_path, capsys, plant, code):
    coco = Coco(tmp_path / "data")
    if plant == "note":
        save("L")(coco)
    elif plant == "warning":
        picture().save(coco.images / "<b>.png")
    elif plant == "error":
        coco.first(bbox=[30, 5, 0, 15])
    assert cli.main(command(coco, tmp_path / "out")) == code
    out = capsys.readouterr().out
    assert "train: 2 images, 2 classes, median size 64x48 px; " in out
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert [finding["severity"] for finding in report["findings"]] == ([plant] if plant else [])
    assert report["statistics"]["train"]["classes"]["cat"] == {"instances": 10, "images": 2}
    page = (tmp_path / "out/report.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 2 and page.count("data:image/png;base64,") == 1
    assert "http" not in page.replace("base64", "") and "<b>" not in page
    if plant:
        assert report["findings"][0]["kind"] in page and report["findings"][0]["kind"].split()[0] in out


def test_masks_by_hand(tmp_path, capsys):
    data = Masks(tmp_path)
    paths = ["--images", str(data.images), "--masks", str(data.masks), "--out", str(tmp_path / "out")]
    assert cli.main(["check-data", *paths, "--classes", *NAMES, "--full"]) == 0
    assert cli.main(["check-data", *paths, "--classes", "cat"]) == 2
    assert "label beyond the classes" in (tmp_path / "out/report.html").read_text()
    pixels = json.loads((tmp_path / "out/report.json").read_text())["statistics"]["masks"]["classes"]
    assert pixels["cat"] == {"pixels": WIDTH * HEIGHT, "images": 3}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "what to check?"),
        (["--coco", "a.json"], "0 folders of images for 1 of --coco"),
        (["--masks", "a", "--images", "b"], "--masks needs --classes"),
        (["--masks", "a", "--images", "b", "--classes", "c"], "the folder does not exist"),
        (["no.py"], "config file not found"),
    ],
)
def test_mistakes_on_the_command_line(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["check-data", *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.fixture
def config(tmp_path, monkeypatch):
    from tests.engine.conftest import write_toy_config

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return write_toy_config(tmp_path)


def test_a_training_is_not_begun_with_faulty_masks(config, tmp_path, capsys, monkeypatch):
    mask = next((tmp_path / "data/labels/train").glob("*.png"))
    good = mask.read_bytes()
    with Image.open(mask) as image:
        values = np.array(image)
    values[:5, :5] = 77
    Image.fromarray(values).save(mask)
    train = ["train", str(config), "--work-dir", str(tmp_path / "run")]
    assert cli.main(train) == 2
    error = capsys.readouterr().err
    assert f"{mask} has 77 (25 pixels)" in error and "--skip-check" in error
    assert not list((tmp_path / "run").glob("*.pth"))

    mask.write_bytes(good)
    assert cli.main(["check-data", str(config), "--out", str(tmp_path / "out")]) < 2
    assert cli.main(train) == 0

    # Unchanged data are looked at once, and not at all with --skip-check.
    def fails(*args, **kwargs):
        raise AssertionError

    monkeypatch.setattr(checking, "check_splits", fails)
    assert cli.main(train) == 0
    mask.touch()
    with pytest.raises(AssertionError):
        cli.main(train)
    assert cli.main([*train, "--skip-check"]) == 0


def test_a_data_set_that_the_check_does_not_know_is_told(config, capsys):
    options = [f"{split}_dataloader.dataset.type=BaseDataset" for split in ("train", "val")]
    assert cli.main(["check-data", str(config), "--cfg-options", *options]) == 2
    assert "does not know the data set type" in capsys.readouterr().err
    with pytest.raises(UserError, match="what to check"):
        checking.run(cli.build_parser().parse_args(["check-data"]))
