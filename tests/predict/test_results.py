import json
import pickle

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from convnext_dense.engine.libraries import load_libraries
from convnext_dense.errors import UserError
from convnext_dense.predict import Detections, SegmentationMap
from convnext_dense.predict.labels import find_labels
from convnext_dense.predict.results import encode_mask
from convnext_dense.predict.saved_config import PredictConfig

SIZE = (20, 30)
CLASSES, PALETTE = ("cat", "dog"), ((255, 0, 0), (0, 0, 255))


@pytest.fixture
def masks():
    masks = np.zeros((2, *SIZE), bool)
    masks[0, 2:10, 3:9] = True
    masks[1, 5:18, 12:28] = np.random.default_rng(0).random((13, 16)) > 0.3
    return masks


@pytest.fixture
def found(masks):
    return Detections(
        boxes=np.array([[3, 2, 9, 10], [12.5, 5, 28, 18.25]], np.float32),
        labels=np.array([1, 0]),
        scores=np.array([0.9, 0.2], np.float32),
        masks=[encode_mask(mask) for mask in masks],
        classes=CLASSES,
        image_size=SIZE,
        palette=PALETTE,
        category_ids=(7, 3),
        source="folder/a.jpg",
    )


def test_masks_are_encoded_as_pycocotools_does(masks):
    for mask in (*masks, np.zeros(SIZE, bool), np.ones(SIZE, bool)):
        expected = coco_mask.encode(np.asfortranarray(mask, np.uint8))
        assert encode_mask(mask) == {"size": list(SIZE), "counts": expected["counts"].decode()}


def test_coco_results_have_the_data_sets_ids_and_boxes_by_width_and_height(found):
    first, second = found.to_coco(42)
    assert (first["image_id"], first["category_id"]) == (42, 3)
    assert first["bbox"] == [3, 2, 6, 8]
    assert second["bbox"] == [12.5, 5, 15.5, 13.25]
    assert second["category_id"] == 7
    assert json.loads(json.dumps(first)) == first


def test_a_saved_file_is_a_coco_data_set_and_its_annotations_are_results(found, masks, tmp_path):
    found.save(tmp_path / "new" / "a.json")
    data = COCO(str(tmp_path / "new" / "a.json"))
    assert data.imgs[1]["file_name"] == "folder/a.jpg"
    assert (data.imgs[1]["height"], data.imgs[1]["width"]) == SIZE
    assert {category["name"]: id_ for id_, category in data.cats.items()} == {"cat": 7, "dog": 3}
    for annotation, mask in zip(data.loadAnns(data.getAnnIds()), masks, strict=True):
        np.testing.assert_array_equal(data.annToMask(annotation), mask)
        assert annotation["area"] == mask.sum()
    results = data.loadRes(data.dataset["annotations"])
    assert len(results.anns) == 2


def test_what_is_below_a_score_is_left_out_with_its_mask(found):
    kept = found.above(0.5)
    assert len(kept) == 1
    assert len(found) == 2
    assert kept.to_coco(1) == found.to_coco(1)[:1]
    assert len(found.above(0.95).to_coco(1)) == 0


def test_a_detector_without_masks_gives_boxes_only(found, tmp_path):
    boxes = Detections(**{**vars(found), "masks": None})
    assert "segmentation" not in boxes.to_coco(1)[0]
    boxes.save(tmp_path / "a.json")
    assert json.loads((tmp_path / "a.json").read_text())["annotations"][0]["area"] == 48
    assert boxes.draw(np.zeros((*SIZE, 3), np.uint8)).any()


def test_drawing_needs_the_image_of_the_prediction(found):
    with pytest.raises(UserError, match="no image to draw on"):
        found.draw()
    with pytest.raises(UserError, match=r"\(20, 30, 3\) uint8"):
        found.draw(np.zeros((30, 20, 3), np.uint8))


@pytest.fixture
def label_map():
    labels = np.random.default_rng(1).integers(2, size=SIZE).astype(np.uint8)
    return SegmentationMap(labels, CLASSES, PALETTE)


def test_a_label_map_is_saved_as_class_indices(label_map, tmp_path):
    label_map.save(tmp_path / "map.png")
    saved = cv2.imread(str(tmp_path / "map.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(saved, label_map.labels)
    with pytest.raises(UserError, match="PNG"):
        label_map.save(tmp_path / "map.jpg")


def test_a_file_that_cannot_be_written_is_named(label_map, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written") as error:
        label_map.save(tmp_path / "file" / "map.png")
    assert "map.png" in error.value.where


def test_the_masks_of_a_label_map_make_up_the_image(label_map):
    results = label_map.to_coco(5)
    assert [result["category_id"] for result in results] == [1, 2]
    for result in results:
        mask = coco_mask.decode(result["segmentation"])
        np.testing.assert_array_equal(mask, label_map.labels == result["category_id"] - 1)


def test_a_label_map_is_drawn_in_the_palette_over_the_image(label_map):
    image = np.zeros((*SIZE, 3), np.uint8)
    picture = label_map.draw(image)
    assert not image.any()
    assert (picture[label_map.labels == 0][:, 2] > 100).all()  # red, in BGR
    assert (picture[label_map.labels == 1][:, 0] > 100).all()


def test_results_can_be_sent_to_another_process(segmentor, segment, detector, detect):
    for predict, image in ((segment, segmentor.images[0]), (detect, detector.images[0])):
        result = predict(image)[0]
        copy = pickle.loads(pickle.dumps(result))
        assert copy.to_coco(1) == result.to_coco(1)


def _config(**dataset):
    return PredictConfig("mmdet", {}, (), dataset, "test")


def test_cocos_own_classes_have_cocos_own_ids():
    load_libraries("mmdet")
    labels = find_labels({}, _config(type="CocoDataset"))
    ids = dict(zip(labels.classes, labels.category_ids, strict=True))
    assert len(ids) == 80
    known = {"person": 1, "stop sign": 13, "handbag": 31, "wine glass": 46, "dining table": 67, "toilet": 70}
    known |= {"tv": 72, "book": 84, "toothbrush": 90}
    assert {name: ids[name] for name in known} == known


def test_labels_of_the_checkpoint_come_first_and_colors_are_made_where_there_are_none():
    saved = {"classes": ["a", "b", "c"], "category_ids": [4, 9, 1]}
    labels = find_labels({"dataset_meta": saved}, _config(metainfo={"classes": ("x",)}))
    assert labels.classes == ("a", "b", "c")
    assert labels.category_ids == (4, 9, 1)
    assert len(set(labels.palette)) == 3
    old = find_labels({"CLASSES": ("x", "y"), "PALETTE": [[1, 2, 3], [4, 5, 6]]}, _config())
    assert old == (("x", "y"), ((1, 2, 3), (4, 5, 6)), (1, 2))
    with pytest.raises(UserError, match="names the classes"):
        find_labels({}, _config())
