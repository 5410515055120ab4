"""Mask R-CNN and Cascade Mask R-CNN from normalised images to boxes and masks, or to the loss's gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import torch
from mmengine.structures import InstanceData
from torch import Tensor, nn

from ..forms import Pass, in_forms
from ..peers import COMPILED_MMCV, STOCK
from ..setting import Setting
from ..stock import build_pair, compiled_operators, how_to_compile, operators, shipped_model
from ..timing import OURS, Side
from .boxes import random_boxes
from .case import Case, Comparison, compare_sides

#: Boxes of each image that come to the last NMS, before which a trained detector has some hundreds.
CANDIDATES = 1000
#: Standard deviation that the classifier's logits are brought to: some classes are likely, most not.
LOGITS_STD = 2.0
#: How far the proposals move from their anchors.
PROPOSAL_SHIFT = 0.1
OBJECTS = 10  #: of each training image
#: Share of the detections that may have no counterpart: a sum in another order turns some comparisons.
UNPAIRED = 0.05
#: Of training, where losses are compared and no gradients: another proposal at the margin shuffles the
#: samples of the second stage anew.
_LOSS_TOLERANCE = 0.05
_PARTS = ("backbone", "neck", "rpn_head")


def compare_detector(kind: str, setting: Setting) -> list[Comparison]:
    """Compare a detector with mmdet's, whose operators are compiled ones where there are any."""
    pair: list[Any] = list(build_pair(kind, shipped_model(kind, setting.arch)))
    ours, stock = (model.to(setting.device) for model in pair)
    threshold = _make_decided(ours.eval(), setting)
    stock.load_state_dict(ours.state_dict())
    for model in (ours, stock):
        model.roi_head.test_cfg.score_thr = threshold
    compiled = compiled_operators()
    notes = [f"{STOCK}: operators of {'compiled mmcv' if compiled else 'convnext_dense.ops, in PyTorch'}"]
    if compiled is None:
        notes.append(f"missing: {COMPILED_MMCV}: {how_to_compile()}")
    sides = list(_sides(OURS, ours, None, setting))
    if setting.wants(STOCK):
        sides += _sides(STOCK, stock, compiled, setting)
    whole = setting.dtype == "fp32" and not setting.trains
    compare = partial(compare_detections, notes=notes) if whole else None
    tolerance = _LOSS_TOLERANCE if setting.trains and setting.dtype == "fp32" else None
    title = f"{'Cascade ' if 'cascade' in kind else ''}Mask R-CNN {setting.arch}"
    return [compare_sides(title, setting, sides, notes, compare, tolerance)]


def compare_detections(
    ours: Sequence[Tensor], theirs: Sequence[Tensor], notes: list[str]
) -> tuple[float, float]:
    """Pair the detections of both sides, and return how far those of a pair lie apart.

    Args:
        ours: Of each image in turn boxes (N, 4) px, scores (N,), labels (N,) and masks (N, H, W).
        theirs: Theirs.
        notes: Gets a line if some have no counterpart: same label, box within a pixel.

    Returns:
        The largest distance of boxes in px; and the largest of box distance by image side, score difference
        and share of differing mask pixels, or the share of detections without counterpart, if that is more
        than `UNPAIRED`.
    """
    distance = relative = 0.0
    unpaired = total = 0
    for image in range(0, len(ours), 4):
        boxes, scores, labels, masks = ours[image : image + 4]
        their_boxes, their_scores, their_labels, their_masks = theirs[image : image + 4]
        total += max(len(boxes), len(their_boxes))
        apart = (boxes[:, None] - their_boxes).abs().amax(-1)
        apart = torch.where(labels[:, None] == their_labels, apart, torch.inf)
        free = torch.ones(len(their_boxes), dtype=torch.bool)
        pairs = []
        for index, row in enumerate(apart):
            nearest = int(torch.where(free, row, torch.inf).argmin()) if free.any() else -1
            if nearest >= 0 and free[nearest] and row[nearest] < 1:
                free[nearest] = False
                pairs.append((index, nearest))
        unpaired += max(len(boxes), len(their_boxes)) - len(pairs)
        if pairs:
            mine, other = (torch.tensor(side) for side in zip(*pairs, strict=True))
            far = apart[mine, other].max().item()
            pixels = (masks[mine] != their_masks[other]).float().mean().item()
            score = (scores[mine] - their_scores[other]).abs().max().item()
            distance, relative = max(distance, far), max(relative, far / max(masks.shape[1:]), score, pixels)
    if unpaired:
        notes.append(f"{unpaired} of {total} detections have no counterpart")
    share = unpaired / max(total, 1)
    return distance, max(relative, share if share > UNPAIRED else 0.0)


def _sides(name: str, model: Any, extension: ModuleType | None, setting: Setting) -> Iterator[Side]:
    images = setting.images()
    for form, made, place in in_forms(name, model, setting, _PARTS):
        placed = place(images)
        if setting.trains:
            call, compared = _train(made, placed, setting), None
        else:
            call = partial(_predict, made, placed)
            compared = (
                partial(_detections, call)
                if setting.dtype == "fp32"  # in half precision other boxes win, but the maps may be compared
                else partial(made.extract_feat, placed)
            )
        call = partial(_with_operators, extension, call)
        compared = partial(_with_operators, extension, compared) if compared else None
        yield Pass(call, made, (), setting, compared).side(name, form)


def _with_operators(extension: ModuleType | None, call: Callable[[], Any]) -> Any:
    with operators(extension):
        return call()


def _sample(size: Sequence[int]) -> Any:
    from mmdet.structures import DetDataSample

    return DetDataSample(
        metainfo=dict(
            img_shape=size, ori_shape=size, pad_shape=size, batch_input_shape=size, scale_factor=(1.0, 1.0)
        )
    )


def _predict(model: Any, images: Tensor) -> list[Any]:
    """Return the samples with boxes and masks; gives no tensors, so that `compared` must."""
    samples = [_sample(tuple(images.shape[2:])) for _ in images]
    return model.predict(images, samples, rescale=True)


def _detections(call: Callable[[], list[Any]]) -> list[Tensor]:
    from ...detection.masks import decode

    outputs = []
    for sample in call():
        found = sample.pred_instances
        masks = found.masks
        if isinstance(masks, list):
            masks = torch.from_numpy(decode(masks, sample.ori_shape))
        outputs += [t.detach().cpu() for t in (found.bboxes, found.scores, found.labels, masks)]
    return outputs


def _train(model: Any, images: Tensor, setting: Setting) -> Callable[[], list[Tensor]]:
    samples = _truth(setting)

    def call() -> list[Tensor]:
        torch.manual_seed(0)  # the second stage's samples are drawn
        return [model.parse_losses(model.loss(images, samples))[0]]

    return call


def _truth(setting: Setting) -> list[Any]:
    """Return samples with `OBJECTS` elliptic objects each."""
    from mmdet.structures.mask import BitmapMasks

    height, width = setting.size
    rows, columns = np.mgrid[:height, :width]
    samples = []
    for image in range(setting.batch):
        boxes = random_boxes(OBJECTS, setting.size, seed=image)
        masks = [
            ((columns - (x0 + x1) / 2) / (x1 - x0)) ** 2 + ((rows - (y0 + y1) / 2) / (y1 - y0)) ** 2 <= 0.25
            for x0, y0, x1, y1 in boxes.tolist()
        ]
        sample = _sample(setting.size)
        sample.gt_instances = InstanceData(
            bboxes=boxes.to(setting.device),
            labels=torch.arange(OBJECTS, device=setting.device),
            masks=BitmapMasks(np.stack(masks).astype(np.uint8), height, width),
        )
        samples.append(sample)
    return samples


@torch.no_grad()
def _make_decided(model: Any, setting: Setting) -> float:
    """Scale the last layers so that random weights detect about as much as trained ones.

    Returns:
        The score threshold with `CANDIDATES` boxes of each image above it, midway between two scores.
    """
    model.rpn_head.rpn_reg.weight.mul_(PROPOSAL_SHIFT)
    head: Any = model.roi_head.bbox_head
    heads: list[Any] = list(head) if isinstance(head, nn.ModuleList) else [head]
    logits: dict[Any, Tensor] = {}
    hooks = [
        head.fc_cls.register_forward_hook(lambda layer, _, output: logits.update({layer: output}))
        for head in heads
    ]
    _all_scores(model, setting)
    for hook in hooks:
        hook.remove()
    for layer, output in logits.items():
        layer.weight.mul_(LOGITS_STD / output.std())
        layer.bias.zero_()
    scores = _all_scores(model, setting).sort(descending=True).values
    last = min(CANDIDATES * setting.batch, len(scores) - 1)
    return scores[last - 1 : last + 1].mean().item()


def _all_scores(model: Any, setting: Setting) -> Tensor:
    """Return the scores of all proposals and classes."""
    images = setting.images()
    metas = [_sample(setting.size).metainfo for _ in images]
    samples = [_sample(setting.size) for _ in images]
    maps = model.extract_feat(images)
    proposals = model.rpn_head.predict(maps, samples, rescale=False)
    found = model.roi_head.predict_bbox(maps, metas, proposals, rcnn_test_cfg=None)
    return torch.cat([of_image.scores[:, :-1].flatten() for of_image in found])


_HEEDS = ("mode", "dtype", "arch", "size", "batch", "compile")
_SIZE = {"size": (800, 1216)}
MASK_RCNN = Case(
    partial(compare_detector, "mask_rcnn"), "Mask R-CNN, from images to boxes and masks", _SIZE, _HEEDS
)
CASCADE = Case(
    partial(compare_detector, "cascade_mask_rcnn"), "Cascade Mask R-CNN, likewise (4conv1fc)", _SIZE, _HEEDS
)
