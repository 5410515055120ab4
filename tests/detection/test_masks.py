"""Masks as run-length codes: the pixels are mmdet's, the memory is not."""

import itertools

import numpy as np
import pycocotools.mask
import pytest
import torch
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData

from convnext_dense.detection import WindowedMaskHead, masks

from .allocations import peak_bytes

CLASSES = 4


def encoded(array):
    """Codes of full masks (N, H, W) by pycocotools."""
    return [pycocotools.mask.encode(np.asfortranarray(mask.astype(np.uint8))) for mask in array]


def random_windows(rng, height, width, density):
    """Yield windows of every kind of position, the whole image and single rows and columns included."""
    for _ in range(20):
        top, bottom = np.sort(rng.integers(0, height + 1, 2))
        left, right = np.sort(rng.integers(0, width + 1, 2))
        if rng.random() < 0.4:
            top, bottom = 0, height
        yield rng.random((bottom - top, right - left)) < density, int(top), int(left)


@pytest.mark.parametrize("density", [0.0, 0.05, 0.6, 1.0])
@pytest.mark.parametrize("size", [(13, 17), (1, 9), (9, 1), (64, 48)])
def test_the_code_of_a_window_is_that_of_the_whole_image(size, density):
    windows = list(random_windows(np.random.default_rng(0), *size, density))
    full = np.zeros((len(windows), *size), dtype=bool)
    for image, (window, top, left) in zip(full, windows, strict=True):
        image[top : top + window.shape[0], left : left + window.shape[1]] = window
    assert [masks.encode_window(*window, size) for window in windows] == encoded(full)
    assert np.array_equal(masks.decode(encoded(full), size), full)


def test_no_codes_no_masks():
    assert masks.paste(torch.zeros(0, 28, 28), torch.zeros(0, 4), (4, 5), 0.5) == []
    assert masks.decode([], (4, 5)).shape == (0, 4, 5)


def random_boxes(n, height, width):
    """Boxes within the image, partly outside, over all of it, thinner than a pixel and without any area."""
    size = torch.tensor([width, height])
    first = torch.rand(n, 2) * size
    extent = torch.rand(n, 2) ** 3 * size
    boxes = torch.cat((first - extent / 2, first + extent / 2), 1)
    boxes[0] = torch.tensor([-3.0, -2.5, width + 4.25, height + 1.0])
    boxes[1] = torch.tensor([0.0, 0.0, width, height])
    boxes[2, :2], boxes[2, 2:] = first[2], first[2] + 0.3
    boxes[3, 0], boxes[3, 2] = first[3, 0], first[3, 0] + 1e-4
    boxes[4] = torch.cat((first[4].floor(), first[4].floor() + 1))
    boxes[5, :2] = boxes[5, 2:] = first[5].floor() + 0.5
    return boxes


def predict(head_type, logits, boxes, labels, meta, rescale, threshold, activate_map=False, agnostic=False):
    head = head_type(num_convs=0, in_channels=2, num_classes=CLASSES, class_agnostic=agnostic)
    results = InstanceData(bboxes=boxes.clone(), labels=labels, scores=torch.linspace(0.1, 0.9, len(labels)))
    if activate_map:
        logits = logits.sigmoid()
    config = ConfigDict(mask_thr_binary=threshold)
    return head.predict_by_feat((logits,), [results], [meta], config, rescale, activate_map)[0]


def both(*arguments, **options):
    return tuple(predict(head, *arguments, **options) for head in (FCNMaskHead, WindowedMaskHead))


CASES = list(itertools.product([0.0, 0.3, 0.5, 0.9], [True, False], [True, False]))


@pytest.mark.parametrize(("threshold", "rescale", "activate_map"), CASES)
@pytest.mark.parametrize("agnostic", [True, False])
def test_every_pixel_is_that_of_the_stock_head(threshold, rescale, activate_map, agnostic):
    torch.manual_seed(int(threshold * 10))
    for (height, width), scale in [((61, 83), (1.0, 1.0)), ((45, 37), (1.7, 1.6)), ((90, 20), (0.51, 0.5))]:
        count = 12
        boxes = random_boxes(count, height * scale[1], width * scale[0])
        logits = torch.randn(count, 1 if agnostic else CLASSES, 28, 28) * 3
        labels = torch.randint(CLASSES, (count,))
        meta = {"ori_shape": (height, width), "scale_factor": scale}
        stock, ours = both(logits, boxes, labels, meta, rescale, threshold, activate_map, agnostic)
        assert ours.masks == encoded(stock.masks.numpy())
        assert torch.equal(ours.bboxes, stock.bboxes)


def test_mixed_precision_gives_the_stock_pixels():
    torch.manual_seed(0)
    boxes, logits = random_boxes(8, 50, 40), torch.randn(8, CLASSES, 14, 14).bfloat16()
    meta = {"ori_shape": (50, 40), "scale_factor": (1.0, 1.0)}
    stock, ours = both(logits, boxes, torch.zeros(8).long(), meta, True, 0.5)
    assert ours.masks == encoded(stock.masks.numpy())


def test_pasting_over_the_whole_image_as_on_gpus_gives_the_same():
    """mmdet samples every pixel of the image there, and a threshold of 0.5 leaves none outside of the box."""
    from mmdet.models.roi_heads.mask_heads.fcn_mask_head import _do_paste_mask

    torch.manual_seed(0)
    boxes, probabilities = random_boxes(30, 60, 70), torch.rand(30, 28, 28).round(decimals=1)
    boxes[:, 2:] = boxes[:, 2:].maximum(boxes[:, :2] + 0.1)  # without an area every pixel would be inside
    pasted, _ = _do_paste_mask(probabilities[:, None], boxes, 60, 70, skip_empty=False)
    assert masks.paste(probabilities, boxes, (60, 70), 0.5) == encoded((pasted >= 0.5).numpy())


def test_negative_threshold_keeps_the_grey_values():
    torch.manual_seed(0)
    boxes, logits = random_boxes(7, 40, 50), torch.randn(7, CLASSES, 28, 28)
    meta = {"ori_shape": (40, 50), "scale_factor": (1.0, 1.0)}
    stock, ours = both(logits, boxes, torch.zeros(7).long(), meta, True, -1)
    assert ours.masks.dtype == torch.uint8
    assert torch.equal(ours.masks, stock.masks)


@pytest.mark.parametrize(
    "box", [[90.0, 5, 95, 9], [-20, 5, -10, 9], [5, -9, 9, -4], [5, 70, 9, 80], [torch.nan, 1, 5, 5]]
)
def test_boxes_off_the_image_have_empty_masks(box):
    codes = masks.paste(torch.ones(2, 28, 28), torch.tensor([box, [1.0, 1, 5, 5]]), (60, 80), 0.5)
    assert [pycocotools.mask.area(code) for code in codes] == [0, 16]


def detections(count=6):
    torch.manual_seed(0)
    meta = {"ori_shape": (40, 50), "scale_factor": (1.0, 1.0)}
    logits = torch.randn(count, CLASSES, 28, 28) + 1
    return both(logits, random_boxes(count, 40, 50), torch.arange(count) % CLASSES, meta, True, 0.5)


def test_lists_of_codes_follow_their_instances():
    _, found = detections()
    keep = torch.tensor([True, False, True, False, False, True])
    assert found[keep].masks == [found.masks[i] for i in (0, 2, 5)]
    assert found[found.scores > 2].masks == []
    assert found[torch.tensor([4, 1])].masks == [found.masks[4], found.masks[1]]
    assert found[1:3].masks == found.masks[1:3]
    assert InstanceData.cat([found, found[keep]]).masks == found.masks + found[keep].masks
    sample = DetDataSample(pred_instances=found)
    assert sample.cpu().numpy().to_dict()["pred_instances"]["masks"] == found.masks


def test_images_without_detections_have_an_empty_list():
    head = WindowedMaskHead(num_convs=0, in_channels=2, num_classes=CLASSES)
    empty = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0).long(), scores=torch.zeros(0))
    meta = {"ori_shape": (40, 50), "scale_factor": (1.0, 1.0)}
    config = ConfigDict(mask_thr_binary=0.5)
    found = head.predict_by_feat((torch.zeros(0, CLASSES, 28, 28),), [empty], [meta], config, rescale=True)
    assert found[0].masks == []


def test_memory_does_not_grow_with_the_image():
    count, (height, width) = 50, (3000, 4000)
    boxes = torch.tensor([[10.0, 20, 60, 90]]).repeat(count, 1)
    probabilities = torch.rand(count, 28, 28)

    def peak(size):
        return peak_bytes(lambda: masks.paste(probabilities, boxes, size, 0.5))

    peak((120, 100))  # imports and caches
    assert peak((height, width)) < 1.5 * peak((120, 100)) < height * width / 10


def test_memory_does_not_grow_with_the_number_of_instances():
    def peak(count):
        boxes = torch.tensor([[10.0, 20, 360, 390]]).repeat(count, 1)
        probabilities = torch.ones(count, 28, 28)
        return peak_bytes(lambda: masks.paste(probabilities, boxes, (400, 400), 0.5))

    assert peak(40) < 1.2 * peak(4) < 40 * 400 * 400


def test_pictures_are_those_of_stock_masks():
    from mmdet.visualization import DetLocalVisualizer

    from convnext_dense.detection import InstanceVisualizer

    stock, ours = detections()
    pictures = []
    for visualizer, found in ((DetLocalVisualizer(), stock), (InstanceVisualizer(), ours)):
        visualizer.dataset_meta = {
            "classes": list("abcd"),
            "palette": [(i * 60, 9, 99) for i in range(CLASSES)],
        }
        np.random.seed(0)  # mmdet jitters the colours
        sample = DetDataSample(pred_instances=found.clone())
        visualizer.add_datasample(
            "x", np.zeros((40, 50, 3), np.uint8), sample, draw_gt=False, pred_score_thr=0.2
        )
        pictures.append(visualizer.get_image())
    assert pictures[0].any()
    assert np.array_equal(*pictures)
    assert isinstance(ours.masks, list)
