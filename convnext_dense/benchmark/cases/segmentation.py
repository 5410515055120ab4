"""UperNet from the normalised images to label maps or to the loss's gradients, and its head alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from mmengine.config import ConfigDict
from mmengine.structures import PixelData
from torch import Tensor, nn

from ...errors import UserError
from ...models.arch import parse_arch
from ..forms import Pass, in_forms
from ..peers import STOCK, TRANSFORMERS, build_segmentor
from ..setting import Setting
from ..stock import build_pair, shipped_model
from ..timing import OURS, Side
from ..weights import pick, randomise
from .case import Case, Comparison, compare_sides, missing

_FUSION = "decode_head.fpn_bottleneck.conv.weight"
_STEM = "backbone.downsample_layers.0.0.weight"
_PARTS = ("backbone", "decode_head")
#: Of training in fp32: through batch norm of a few random images and many ReLUs mmseg's own gradients are as
#: far from those in fp64.
_GRADIENT_TOLERANCE = 0.02


def compare_upernet(setting: Setting) -> list[Comparison]:
    """Compare UperNet with mmseg's and Hugging Face's; in training with the auxiliary head."""
    _check_batch(setting)
    cfg = shipped_model("upernet", setting.arch)
    cfg.test_cfg = ConfigDict(mode="whole")
    ours, stock = (model.to(setting.device) for model in build_pair("upernet", cfg))
    state = ours.state_dict()
    sides = list(_mmseg_sides(OURS, ours, setting))
    if setting.wants(STOCK):
        sides += _mmseg_sides(STOCK, stock, setting)
    notes: list[str] = []
    classes = cfg.decode_head.num_classes
    theirs = missing(TRANSFORMERS, setting, lambda: build_segmentor(setting, classes, state), notes)
    if theirs is not None:
        watched = [theirs.names[name] for name in (_STEM, _FUSION)]
        sides += _hugging_face_sides(theirs.model.to(setting.device), watched, classes, setting)
    tolerance = _GRADIENT_TOLERANCE if setting.trains and setting.dtype == "fp32" else None
    return [compare_sides(f"UperNet {setting.arch}", setting, sides, notes, tolerance=tolerance)]


def compare_upernet_head(setting: Setting) -> list[Comparison]:
    """Compare UperNet's head, given maps, with mmseg's; in training the gradients of its logits."""
    _check_batch(setting)
    from mmseg.models.decode_heads import UPerHead

    from ...segmentation import FusedUPerHead

    cfg = shipped_model("upernet", setting.arch).decode_head
    del cfg["type"]
    ours, stock = FusedUPerHead(**cfg), UPerHead(**cfg)
    randomise(ours)
    stock.load_state_dict(ours.state_dict())
    generator = setting.generator()
    maps = [
        torch.randn(
            setting.batch, dim, *(side // 4 // 2**i for side in setting.size), generator=generator
        ).to(setting.device)
        for i, dim in enumerate(parse_arch(setting.arch).dims)
    ]
    sides = []
    for name, head in ((OURS, ours), (STOCK, stock)):
        if name == OURS or setting.wants(name):
            for form, made, place in in_forms(name, head.to(setting.device), setting):
                # ConvNeXt gives channels_last maps to ours
                last = partial(torch.Tensor.contiguous, memory_format=torch.channels_last)
                placed = [(last if name == OURS else place)(map_) for map_ in maps]
                watched = pick(made, ["fpn_bottleneck.conv.weight"])
                sides.append(Pass(_logits(made, placed), made, watched, setting).side(name, form))
    return [compare_sides(f"UperNet {setting.arch}'s head", setting, sides)]


def _logits(head: nn.Module, maps: Sequence[Tensor]) -> Callable[[], Sequence[Tensor]]:
    return lambda: [head(maps)]


def _check_batch(setting: Setting) -> None:
    if setting.trains and setting.batch < 2:
        raise UserError(
            "UperNet cannot train on one image: pooled to one pixel, it has no variance for batch norm",
            f"--batch {setting.batch}",
            "give --batch 2 or more",
        )


def _labels(setting: Setting, classes: int) -> Tensor:
    shape = (setting.batch, *setting.size)
    return torch.randint(classes, shape, generator=setting.generator(1)).to(setting.device)


def _mmseg_sides(name: str, model: Any, setting: Setting) -> Iterator[Side]:
    images = setting.images()
    labels = _labels(setting, model.num_classes)
    parts = (*_PARTS, "auxiliary_head") if setting.trains else _PARTS
    for form, made, place in in_forms(name, model, setting, parts):
        call = (_train_mmseg if setting.trains else _predict_mmseg)(made, place(images), labels)
        compared = _logits_mmseg(made, place(images))
        yield Pass(call, made, pick(made, (_STEM, _FUSION)), setting, compared).side(name, form)


def _samples(labels: Tensor, with_truth: bool) -> list[Any]:
    from mmseg.structures import SegDataSample

    size = tuple(labels.shape[1:])
    meta = dict(ori_shape=size, img_shape=size, pad_shape=size)
    samples = [SegDataSample(metainfo=meta) for _ in labels]
    if with_truth:
        for sample, truth in zip(samples, labels, strict=True):
            sample.gt_sem_seg = PixelData(data=truth[None])
    return samples


def _predict_mmseg(model: Any, images: Tensor, labels: Tensor) -> Callable[[], Sequence[Tensor]]:
    def call() -> list[Tensor]:
        predicted = model.predict(images, _samples(labels, with_truth=False))
        return [sample.pred_sem_seg.data for sample in predicted]

    return call


def _logits_mmseg(model: Any, images: Tensor) -> Callable[[], Sequence[Tensor]]:
    """Return what gives the logits in the images' size: classes whose logits are equal may change places."""
    size = tuple(images.shape[2:])
    return lambda: [model.encode_decode(images, [dict(img_shape=size, ori_shape=size)] * len(images))]


def _train_mmseg(model: Any, images: Tensor, labels: Tensor) -> Callable[[], Sequence[Tensor]]:
    return lambda: [model.parse_losses(model.loss(images, _samples(labels, with_truth=True)))[0]]


def _hugging_face_sides(
    model: nn.Module, watched: Sequence[str], classes: int, setting: Setting
) -> Iterator[Side]:
    images, labels = setting.images(), _labels(setting, classes)
    for form, made, place in in_forms(TRANSFORMERS, model, setting):
        call, compared = _hugging_face(made, place(images), labels, setting)
        yield Pass(call, made, pick(made, watched), setting, compared).side(TRANSFORMERS, form)


def _hugging_face(
    model: nn.Module, images: Tensor, labels: Tensor, setting: Setting
) -> tuple[Callable[[], Sequence[Tensor]], Callable[[], Sequence[Tensor]]]:
    def logits() -> list[Tensor]:
        return [model(pixel_values=images).logits]

    if setting.trains:
        return lambda: [model(pixel_values=images, labels=labels).loss], logits
    return lambda: [logits()[0].argmax(1)], logits


_HEEDS = ("mode", "dtype", "arch", "size", "batch", "compile")
UPERNET = Case(compare_upernet, "UperNet, from images to label maps or to gradients", {}, _HEEDS)
UPERNET_HEAD = Case(compare_upernet_head, "UperNet's decode head", {}, _HEEDS)
