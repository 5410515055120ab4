"""The data set of COCO instances, through mmdet's own pipeline."""

from __future__ import annotations

import json
import logging

import cv2
import numpy as np
import pytest
from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS
from mmengine.registry import DefaultScope
from PIL import Image
from pycocotools import mask as coco_mask

from convnext_dense.data.shapes import write_shapes
from convnext_dense.detection import CocoInstances
from convnext_dense.errors import UserError

from .coco_samples import PIPELINE, build


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_shapes(tmp_path_factory.mktemp("shapes") / "data", n_train=6, n_val=1, size=96)


def edited(root, folder, edit):
    """Write the annotations with changes; return the file's path."""
    data = json.loads((root / "annotations/instances_train.json").read_text())
    edit(data)
    path = folder / "edited.json"
    path.write_text(json.dumps(data))
    return path


def names_of(sample, dataset):
    return [dataset.metainfo["classes"][i] for i in sample["data_samples"].gt_instances.labels]


def test_boxes_masks_and_sizes_are_those_of_mmdets_own_data_set(root):
    ours = build(root)
    assert isinstance(ours, CocoInstances)
    with DefaultScope.overwrite_default_scope("mmdet"):
        stock = CocoDataset(
            data_root=str(root),
            ann_file="annotations/instances_train.json",
            data_prefix=dict(img="images/train/"),
            metainfo=dict(classes=ours.metainfo["classes"]),
            pipeline=PIPELINE,
        )
    assert len(ours) == len(stock) == 6
    for mine, theirs in zip(ours, stock, strict=True):
        assert (mine["inputs"] == theirs["inputs"]).all()
        mine, theirs = mine["data_samples"], theirs["data_samples"]
        for key in ("img_id", "img_path", "ori_shape"):
            assert mine.metainfo[key] == theirs.metainfo[key]
        mine, theirs = mine.gt_instances, theirs.gt_instances
        assert (mine.bboxes.tensor == theirs.bboxes.tensor).all()
        assert (mine.labels == theirs.labels).all()
        assert (mine.masks.masks == theirs.masks.masks).all()


def test_labels_follow_the_classes_where_mmdets_follow_the_file(root):
    classes = list(reversed(build(root).metainfo["classes"]))
    by_file = build(root)
    by_config = build(root, metainfo=dict(classes=classes))
    assert by_config.metainfo["classes"] == tuple(classes)
    for one, other in zip(by_file, by_config, strict=True):
        assert names_of(one, by_file) == names_of(other, by_config)
        labels = one["data_samples"].gt_instances.labels + other["data_samples"].gt_instances.labels
        assert (labels == len(classes) - 1).all()


def test_polygons_and_run_lengths_give_the_same_mask(root, tmp_path):
    def as_polygons(data):
        for annotation in data["annotations"]:
            mask = coco_mask.decode(annotation["segmentation"])
            contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
            polygons = [(contour + 0.5).ravel().tolist() for contour in contours if len(contour) >= 3]
            height, width = mask.shape
            filled = coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
            annotation["segmentation"] = polygons
            annotation["expected"] = int(coco_mask.area(filled))

    path = edited(root, tmp_path, as_polygons)
    expected = [item["expected"] for item in json.loads(path.read_text())["annotations"]]
    bitmaps = [
        np.concatenate([s["data_samples"].gt_instances.masks.masks.sum((1, 2)) for s in build(root, path)])
    ]
    assert np.concatenate(bitmaps).tolist() == expected
    as_polygons_pipeline = [
        PIPELINE[0],
        dict(type="LoadAnnotations", with_bbox=True, with_mask=True, poly2mask=False),
        PIPELINE[2],
    ]
    for sample in build(root, path, as_polygons_pipeline):
        instances = sample["data_samples"].gt_instances
        assert len(instances.masks.masks) == len(instances)
    with pytest.raises(UserError, match="its mask is RLE"):
        build(root, pipeline=as_polygons_pipeline)


def test_crowds_are_ignored_and_not_learnt(root, tmp_path):
    def crowd(data):
        first = data["images"][0]["id"]
        (annotation, *_) = [item for item in data["annotations"] if item["image_id"] == first]
        annotation["iscrowd"] = 1
        size = annotation["segmentation"]["size"]
        annotation["segmentation"] = {"size": size, "counts": [0, size[0] * size[1]]}

    before = build(root)[0]["data_samples"]
    after = build(root, edited(root, tmp_path, crowd))[0]["data_samples"]
    assert len(after.ignored_instances) == 1
    assert len(after.gt_instances) == len(before.gt_instances) - 1
    assert after.ignored_instances.masks.masks.all()


def empty_first(data):
    first = data["images"][0]["id"]
    data["annotations"] = [item for item in data["annotations"] if item["image_id"] != first]


@pytest.mark.parametrize(("filter_empty_gt", "number"), [(True, 5), (False, 6)])
def test_empty_images_are_a_choice(root, tmp_path, filter_empty_gt, number):
    path = edited(root, tmp_path, empty_first)
    dataset = build(root, path, filter_cfg=dict(filter_empty_gt=filter_empty_gt, min_size=32))
    assert len(dataset) == number
    if not filter_empty_gt:
        instances = dataset[0]["data_samples"].gt_instances
        assert instances.bboxes.tensor.shape == (0, 4)
        assert instances.masks.masks.shape == (0, 96, 96)
    evaluated = build(root, path, filter_cfg=dict(filter_empty_gt=filter_empty_gt), test_mode=True)
    assert len(evaluated) == 6, "evaluation keeps every image"


def test_what_is_left_out_is_said(root, tmp_path, caplog):
    from mmengine.logging import MMLogger

    logger = MMLogger.get_instance("filter")
    logger.addHandler(caplog.handler)
    with caplog.at_level(logging.INFO):
        build(root, edited(root, tmp_path, empty_first), filter_cfg=dict(filter_empty_gt=True))
        build(root, metainfo=dict(classes=["star"]))
    messages = [record.getMessage() for record in caplog.records]
    assert "edited.json: 5 of 6 images; left out 1 without instances of the classes" in messages
    assert any("not among the classes" in message for message in messages)


def remove_annotations(data):
    data["annotations"] = []


@pytest.mark.parametrize(
    ("edit", "filter_cfg", "message"),
    [
        (remove_annotations, dict(filter_empty_gt=True), "6 without instances of the classes"),
        (lambda data: None, dict(min_size=97), "6 smaller than 97 px"),
    ],
)
def test_a_data_set_is_never_silently_empty(root, tmp_path, edit, filter_cfg, message):
    with pytest.raises(UserError, match=f"no image is left of 6: {message}"):
        build(root, edited(root, tmp_path, edit), filter_cfg=filter_cfg)


def test_mistakes_in_the_config_are_named(root, tmp_path):
    with pytest.raises(UserError, match="did you mean 'star'"):
        build(root, metainfo=dict(classes=["stra", "ring"]))
    with pytest.raises(UserError, match="filter_cfg has min_sise"):
        build(root, filter_cfg=dict(min_sise=3))
    with pytest.raises(UserError, match="check_images is 'all'"):
        build(root, check_images="all")
    with pytest.raises(UserError, match="the folder of the images does not exist"):
        build(root, data_prefix=dict(img="pictures"))
    with pytest.raises(UserError, match="image missing"):
        build(root, data_prefix=dict(img="images/val"))
    build(root, data_prefix=dict(img="images/val"), check_images="none")


def test_faulty_annotations_are_left_out_where_that_was_asked_for(root, tmp_path):
    def flatten(data):
        data["annotations"][0]["bbox"][2] = 0

    path = edited(root, tmp_path, flatten)
    with pytest.raises(UserError, match="box without area"):
        build(root, path)
    number = len(build(root)[0]["data_samples"].gt_instances)
    assert len(build(root, path, faulty="skip")[0]["data_samples"].gt_instances) == number - 1


def test_full_checks_find_damage_in_the_middle(root, tmp_path):
    """Header and end of the file are whole, so that only decoding tells."""
    folder = tmp_path / "images"
    folder.mkdir()
    for path in (root / "images/train").iterdir():
        Image.open(path).save(folder / path.name, "PNG")
    victim = next(folder.iterdir())
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 0xFF
    victim.write_bytes(content)
    build(root, data_prefix=dict(img=str(folder)))
    with pytest.raises(UserError, match=rf"{victim.name} is cut short or damaged"):
        build(root, data_prefix=dict(img=str(folder)), check_images="full")


def test_several_annotation_files_train_together(root):
    part = dict(
        type="CocoInstances",
        data_root=str(root),
        ann_file="annotations/instances_train.json",
        data_prefix=dict(img="images/train/"),
        pipeline=PIPELINE,
    )
    other = {**part, "ann_file": "annotations/instances_val.json", "data_prefix": dict(img="images/val/")}
    with DefaultScope.overwrite_default_scope("mmdet"):
        both = DATASETS.build(dict(type="ConcatDataset", datasets=[part, other]))
    assert len(both) == 7
    assert len(both[6]["data_samples"].gt_instances) > 0


def test_the_annotation_file_reaches_the_metric(root):
    dataset = build(root, test_mode=True)
    assert dataset.metainfo["ann_file"] == str(root / "annotations/instances_train.json")
