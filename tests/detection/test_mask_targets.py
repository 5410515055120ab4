"""Targets of the mask loss: mmdet's numbers without a mask per RoI."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData

from convnext_dense.detection import WindowedMaskHead
from convnext_dense.detection.masks import bitmap_targets

from ..ops import reference
from .allocations import peak_bytes

HEIGHT, WIDTH = 50, 70


def blobs(rng, count, height=HEIGHT, width=WIDTH):
    """Masks of ellipses and their tight boxes."""
    y, x = np.mgrid[:height, :width] + 0.5
    centre = rng.random((count, 2)) * (height, width)
    radius = (0.05 + 0.3 * rng.random((count, 2))) * (height, width)
    reach = ((y - centre[:, :1, None]) / radius[:, :1, None]) ** 2
    reach = reach + ((x - centre[:, 1:, None]) / radius[:, 1:, None]) ** 2
    boxes = np.concatenate((centre - radius, centre + radius), 1)[:, [1, 0, 3, 2]]
    return (reach < 1).astype(np.uint8), torch.from_numpy(boxes).float()


def sampled(boxes, rng, count):
    """Positive RoIs: objects' boxes moved a little, some beyond the image, and which object each is of."""
    assigned = torch.from_numpy(rng.integers(0, len(boxes), count))
    moved = boxes[assigned] + torch.from_numpy(rng.normal(0, 4, (count, 4))).float()
    moved[0] = torch.tensor([-5.0, -3, WIDTH + 6, HEIGHT + 2])
    moved[1] = boxes[assigned[1]].round()
    moved[2, 2:] = moved[2, :2] + 0.2
    return SimpleNamespace(pos_priors=moved, pos_assigned_gt_inds=assigned)


def targets(head_type, samples, masks, **config):
    head = head_type(num_convs=0, in_channels=2, num_classes=2)
    samples = [
        SimpleNamespace(pos_priors=s.pos_priors.clone(), pos_assigned_gt_inds=s.pos_assigned_gt_inds)
        for s in samples
    ]
    instances = [InstanceData(masks=of_image) for of_image in masks]
    return head.get_targets(samples, instances, ConfigDict(mask_size=28, **config))


@pytest.mark.parametrize("seed", range(4))
def test_bitmaps_give_the_stock_targets(seed):
    rng = np.random.default_rng(seed)
    images = [blobs(rng, count) for count in (7, 2)]
    samples = [sampled(boxes, rng, count) for (_, boxes), count in zip(images, (40, 5), strict=True)]
    masks = [BitmapMasks(array, HEIGHT, WIDTH) for array, _ in images]
    stock, ours, stock_soft, ours_soft = (
        targets(head, samples, masks, soft_mask_target=soft)
        for soft in (False, True)
        for head in (FCNMaskHead, WindowedMaskHead)
    )
    torch.testing.assert_close(ours_soft, stock_soft, rtol=0, atol=1e-6)
    assert ((ours_soft > 0) & (ours_soft < 1)).any()

    assert ours.dtype == stock.dtype
    assert ours.shape == (45, 28, 28)
    assert ours.unique().tolist() == [0, 1]
    decided = (stock_soft - 0.5).abs() > 1e-6
    assert decided.float().mean() > 0.99
    assert torch.equal(ours[decided], stock[decided])


def test_coverage_is_that_of_the_definition():
    """The mean of bilinear samples, by the scalar reference, in float64."""
    rng = np.random.default_rng(0)
    masks, boxes = blobs(rng, 3, 20, 24)
    boxes = boxes.double().clamp(min=0).minimum(torch.tensor([24.0, 20, 24, 20]))
    assigned = torch.tensor([2, 0, 1])
    ours = bitmap_targets(masks, boxes[assigned], assigned, (5, 4), threshold=None)
    for target, index in zip(ours, assigned.tolist(), strict=True):
        roi = np.r_[0, boxes[index].numpy()][None]
        expected = reference.roi_align(masks[index][None, None].astype(float), roi, (5, 4), 1.0, 0, True)
        np.testing.assert_allclose(target.numpy(), expected[0, 0], rtol=0, atol=1e-12)


def test_polygons_are_cropped_by_mmdet():
    rng = np.random.default_rng(0)
    boxes = torch.tensor([[5.0, 6, 40, 30], [20, 3, 60, 45]])
    corners = [[np.array([x1, y1, x2, y1, x2, y2], dtype=float)] for x1, y1, x2, y2 in boxes.tolist()]
    masks, samples = [PolygonMasks(corners, HEIGHT, WIDTH)], [sampled(boxes, rng, 12)]
    stock, ours = (targets(head, samples, masks) for head in (FCNMaskHead, WindowedMaskHead))
    assert torch.equal(ours, stock)
    assert 0 < ours.mean() < 1


def test_images_without_positives_or_objects():
    none = SimpleNamespace(pos_priors=torch.zeros(0, 4), pos_assigned_gt_inds=torch.zeros(0).long())
    masks = [BitmapMasks(np.zeros((count, HEIGHT, WIDTH), np.uint8), HEIGHT, WIDTH) for count in (0, 3)]
    assert targets(WindowedMaskHead, [none, none], masks).shape == (0, 28, 28)


def test_rois_are_left_as_they_are():
    rois = torch.tensor([[-9.0, -9, 30, 30]])
    bitmap_targets(np.ones((1, HEIGHT, WIDTH), np.uint8), rois, torch.tensor([0]), (28, 28))
    assert rois.tolist() == [[-9, -9, 30, 30]]


def test_no_copy_of_a_mask_per_roi():
    height, width, count = 400, 600, 64
    rng = np.random.default_rng(0)
    masks = [BitmapMasks(blobs(rng, 4, height, width)[0], height, width)]
    corner = torch.rand(count, 2) * 300
    small = SimpleNamespace(
        pos_priors=torch.cat((corner, corner + 30), 1), pos_assigned_gt_inds=torch.arange(count) % 4
    )
    stock, ours = (
        peak_bytes(lambda head=head: targets(head, [small], masks))
        for head in (FCNMaskHead, WindowedMaskHead)
    )
    copies = 4 * height * width * count
    assert stock > copies
    assert ours < copies / 4
