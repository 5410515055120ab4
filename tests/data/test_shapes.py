from __future__ import annotations

import hashlib
import json
import os
from collections import Counter

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from convnext_dense.data import shapes
from convnext_dense.data.shapes import CLASSES, make_scene, write_shapes
from convnext_dense.errors import UserError

SMALL = dict(n_train=5, n_val=3, size=96)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_shapes(tmp_path_factory.mktemp("data") / "deep" / "shapes", **SMALL)


def digests(folder) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_tree(root):
    names = set(digests(root))
    assert {"shapes.json", "annotations/instances_train.json", "annotations/instances_val.json"} < names
    assert {f"images/train/train_{n:04d}.jpg" for n in range(1, 6)} < names
    assert {f"labels/val/val_{n:04d}.png" for n in range(1, 4)} < names
    assert len(names) == 3 + 2 * 8 and os.listdir(root.parent) == ["shapes"]


def test_the_same_seed_gives_the_same_bytes_whatever_the_number(root, tmp_path):
    again = digests(write_shapes(tmp_path / "again", **SMALL))
    assert again == digests(root)
    fewer = digests(write_shapes(tmp_path / "fewer", n_train=2, n_val=1, size=96))
    assert {k: v for k, v in fewer.items() if "0" in k} == {k: again[k] for k in fewer if "0" in k}
    other = digests(write_shapes(tmp_path / "other", **SMALL, seed=1))
    assert not set(other.values()) & set(again.values())


@pytest.mark.parametrize("split", ["train", "val"])
def test_both_forms_say_the_same(root, split, capsys):
    coco = COCO(root / "annotations" / f"instances_{split}.json")
    assert [c["name"] for c in coco.loadCats([1 + i for i in range(len(CLASSES))])] == list(CLASSES)
    for image in coco.loadImgs(coco.getImgIds()):
        stem = image["file_name"].removesuffix(".jpg")
        picture = cv2.imread(str(root / "images" / split / image["file_name"]))
        labels = cv2.imread(str(root / "labels" / split / f"{stem}.png"), cv2.IMREAD_UNCHANGED)
        assert picture.shape == (image["height"], image["width"], 3) and labels.shape == picture.shape[:2]
        expected = np.ones_like(labels)
        for annotation in coco.loadAnns(coco.getAnnIds(image["id"])):
            mask = coco.annToMask(annotation).astype(bool)
            rows, columns = np.nonzero(mask)
            x, y, w, h = annotation["bbox"]
            assert (x, y, x + w, y + h) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            assert annotation["area"] == mask.sum() and annotation["iscrowd"] == 0
            assert (expected[mask] == 1).all()  # no other instance has these pixels
            expected[mask] = annotation["category_id"] + 1
        assert np.array_equal(np.where(labels, expected, 0), labels)


def test_the_files_hold_the_scenes(root):
    scene = make_scene((0, 1, 2), 96)
    assert np.array_equal(cv2.imread(str(root / "labels/val/val_0002.png"), -1), scene.label_map())
    picture = cv2.imread(str(root / "images/val/val_0002.jpg")).astype(int)
    assert np.abs(picture - scene.image).mean() < 6


def test_annotation_ids_are_unique_and_refer_to_images(root):
    coco = json.loads((root / "annotations" / "instances_train.json").read_text())
    ids = [a["id"] for a in coco["annotations"]]
    assert ids == list(range(1, len(ids) + 1))
    assert {a["image_id"] for a in coco["annotations"]} == {i["id"] for i in coco["images"]}


def test_a_complete_set_is_left_alone(root):
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert write_shapes(root, **SMALL) == root
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


@pytest.mark.parametrize("stop_at", [0, 1, 4, 9])
def test_an_interrupted_generation_is_mended(root, tmp_path, monkeypatch, stop_at):
    calls, write = Counter(), shapes.write_whole

    def interrupted(path, content):
        calls["n"] += 1
        if calls["n"] > stop_at:
            path.with_name(path.name + ".part").write_bytes(content[: len(content) // 2])
            raise KeyboardInterrupt
        write(path, content)

    monkeypatch.setattr(shapes, "write_whole", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_shapes(tmp_path / "s", **SMALL)
    monkeypatch.setattr(shapes, "write_whole", write)
    write_shapes(tmp_path / "s", **SMALL)
    assert digests(tmp_path / "s") == digests(root)


def test_a_lost_file_is_mended(tmp_path, root):
    mine = write_shapes(tmp_path / "s", **SMALL)
    (mine / "labels" / "val" / "val_0001.png").unlink()
    write_shapes(mine, **SMALL)
    assert digests(mine) == digests(root)


def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path):
    (tmp_path / "holiday.jpg").write_bytes(b"me")
    with pytest.raises(UserError, match="holds other files"):
        write_shapes(tmp_path, **SMALL)
    assert os.listdir(tmp_path) == ["holiday.jpg"]
    with pytest.raises(UserError, match="is a file"):
        write_shapes(tmp_path / "holiday.jpg", **SMALL)
    with pytest.raises(UserError, match="cannot write"):
        write_shapes(tmp_path / "holiday.jpg" / "shapes", **SMALL)


def test_another_set_is_refused_with_the_difference(root):
    with pytest.raises(UserError, match="seed 0 instead of 7, size 96 instead of 64, val 3 instead of 4"):
        write_shapes(root, n_train=5, n_val=4, size=64, seed=7)
    manifest = json.loads((root / "shapes.json").read_text())
    assert manifest["complete"] is True and manifest["seed"] == 0


@pytest.mark.parametrize("content", ["", "[]", '{"seed": 0}', '{"complete": true, "counts": 3}'])
def test_a_damaged_manifest_is_told(tmp_path, content):
    (tmp_path / "shapes.json").write_text(content)
    with pytest.raises(UserError, match="manifest of the data set is damaged"):
        write_shapes(tmp_path, **SMALL)


@pytest.mark.parametrize("wrong", [dict(n_train=0), dict(n_val=-1), dict(size=10), dict(seed=-1)])
def test_numbers_out_of_range_are_refused_before_anything_is_written(tmp_path, wrong):
    with pytest.raises(UserError):
        write_shapes(tmp_path / "s", **wrong)
    assert not (tmp_path / "s").exists()


def test_mmdet_and_mmseg_read_it(root):
    import convnext_dense.register  # noqa: F401

    # isort: split
    from mmdet.datasets import CocoDataset
    from mmseg.datasets import BaseSegDataset

    detection = CocoDataset(
        metainfo=dict(classes=CLASSES),
        ann_file=str(root / "annotations" / "instances_val.json"),
        data_prefix=dict(img=str(root / "images" / "val")),
        pipeline=[
            dict(type="mmdet.LoadImageFromFile"),
            dict(type="mmdet.LoadAnnotations", with_bbox=True, with_mask=True),
        ],
    )
    segmentation = BaseSegDataset(
        metainfo=dict(classes=shapes.SEMANTIC_CLASSES),
        reduce_zero_label=True,
        data_root=str(root),
        data_prefix=dict(img_path="images/val", seg_map_path="labels/val"),
        pipeline=[dict(type="mmseg.LoadAnnotations")],
    )
    assert len(detection) == len(segmentation) == 3
    for index in range(3):
        instances, semantic = detection[index], segmentation[index]["gt_seg_map"]
        scene = make_scene((0, 1, index + 1), 96)
        assert instances["gt_bboxes_labels"].tolist() == [i.category for i in scene.instances]
        assert np.array_equal(instances["gt_masks"].masks, [i.mask for i in scene.instances])
        assert set(np.unique(semantic)) == {0, 255, *(i.category + 1 for i in scene.instances)}
