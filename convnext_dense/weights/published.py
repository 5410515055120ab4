"""Published weights by short name: where they are, under which licence, and what they were reported to score.

A short name is taken wherever the path of a checkpoint is. Sources: the READMEs of facebookresearch/ConvNeXt,
ConvNeXt-V2 and dinov3, torchvision's `convnext.py`, the `metafile`s of mmdetection and mmsegmentation.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Licence:
    """A licence and where its text is; printed as one phrase."""

    name: str
    url: str

    def __str__(self) -> str:
        return f"{self.name}, {self.url}"


@dataclass(frozen=True)
class Published:
    """One published file.

    Attributes:
        name: Its short name.
        url: Its address; of gated weights the page that gives access to it.
        file: The file's name.
        licence: Its licence.
        score: What its publisher reports; '' for nothing.
        gated: Whether the file can only be had after agreeing to its licence.
    """

    name: str
    url: str
    file: str
    licence: Licence
    score: str = ""
    gated: bool = False

    @property
    def sha256(self) -> str | None:
        """The first digits of the file's SHA-256, where its publisher puts them at the end of its name."""
        match = re.search(r"-([0-9a-f]{8,64})\.\w+$", self.file)
        return match[1] if match else None

    @property
    def recipe(self) -> str | None:
        """The name of the shipped config of a fine-tuned original model; None of other weights."""
        pattern = r"((?:cascade_)?mask_rcnn|upernet)_convnext_(tiny|small|base|large|xlarge)_(1k|22k)_.+"
        match = re.fullmatch(pattern, self.name)
        if match is None:
            return None
        method, size, data = match.groups()
        letter = "xl" if size == "xlarge" else size[0]
        return f"{method}_convnext_{letter}{'_in22k' if data == '22k' else ''}"


_MIT = Licence("MIT", "https://github.com/facebookresearch/ConvNeXt/blob/main/LICENSE")
_CC_BY_NC = Licence(
    "CC BY-NC 4.0 (not for commercial use)",
    "https://github.com/facebookresearch/ConvNeXt-V2/blob/main/LICENSE",
)
_BSD = Licence("BSD 3-Clause", "https://github.com/pytorch/vision/blob/main/LICENSE")
_APACHE = Licence("Apache 2.0", "https://github.com/open-mmlab/mmdetection/blob/main/LICENSE")
_DINOV3 = Licence(
    "DINOv3 License (to be agreed to first)",
    "https://ai.meta.com/resources/models-and-libraries/dinov3-license/",
)
_META = "https://dl.fbaipublicfiles.com/convnext/"
_OPENMMLAB = "https://download.openmmlab.com/"
_CASCADE = "giou_4conv1f_fp16_ms-crop_3x_coco"
_TOP1 = "ImageNet-1k top-1"

#: Short name, file, ImageNet-1k top-1 in %. Dense recipes start from the weights without moving average.
_V1 = (
    ("convnext_tiny_1k", "convnext_tiny_1k_224.pth", None),
    ("convnext_small_1k", "convnext_small_1k_224.pth", None),
    ("convnext_base_1k", "convnext_base_1k_224.pth", None),
    ("convnext_large_1k", "convnext_large_1k_224.pth", None),
    ("convnext_tiny_1k_ema", "convnext_tiny_1k_224_ema.pth", 82.1),
    ("convnext_small_1k_ema", "convnext_small_1k_224_ema.pth", 83.1),
    ("convnext_base_1k_ema", "convnext_base_1k_224_ema.pth", 83.8),
    ("convnext_large_1k_ema", "convnext_large_1k_224_ema.pth", 84.3),
    ("convnext_base_1k_384", "convnext_base_1k_384.pth", 85.1),
    ("convnext_large_1k_384", "convnext_large_1k_384.pth", 85.5),
    ("convnext_tiny_22k", "convnext_tiny_22k_224.pth", None),
    ("convnext_small_22k", "convnext_small_22k_224.pth", None),
    ("convnext_base_22k", "convnext_base_22k_224.pth", None),
    ("convnext_large_22k", "convnext_large_22k_224.pth", None),
    ("convnext_xlarge_22k", "convnext_xlarge_22k_224.pth", None),
    ("convnext_tiny_22k_1k", "convnext_tiny_22k_1k_224.pth", 82.9),
    ("convnext_small_22k_1k", "convnext_small_22k_1k_224.pth", 84.6),
    ("convnext_base_22k_1k", "convnext_base_22k_1k_224.pth", 85.8),
    ("convnext_large_22k_1k", "convnext_large_22k_1k_224.pth", 86.6),
    ("convnext_xlarge_22k_1k", "convnext_xlarge_22k_1k_224_ema.pth", 87.0),
    ("convnext_tiny_22k_1k_384", "convnext_tiny_22k_1k_384.pth", 84.1),
    ("convnext_small_22k_1k_384", "convnext_small_22k_1k_384.pth", 85.8),
    ("convnext_base_22k_1k_384", "convnext_base_22k_1k_384.pth", 86.8),
    ("convnext_large_22k_1k_384", "convnext_large_22k_1k_384.pth", 87.5),
    ("convnext_xlarge_22k_1k_384", "convnext_xlarge_22k_1k_384_ema.pth", 87.8),
)
#: V2 by size: ImageNet-1k top-1 in % at 224 px, and after ImageNet-22k by resolution.
_V2: tuple[tuple[str, float, dict[int, float]], ...] = (
    ("atto", 76.7, {}),
    ("femto", 78.5, {}),
    ("pico", 80.3, {}),
    ("nano", 81.9, {224: 82.1, 384: 83.4}),
    ("tiny", 83.0, {224: 83.9, 384: 85.1}),
    ("base", 84.9, {224: 86.8, 384: 87.7}),
    ("large", 85.8, {224: 87.3, 384: 88.2}),
    ("huge", 86.3, {384: 88.7, 512: 88.9}),
)
#: Short name, box AP, mask AP on COCO val2017.
_DETECTORS = (
    ("mask_rcnn_convnext_tiny_1k_3x", 46.2, 41.7),
    ("cascade_mask_rcnn_convnext_tiny_1k_3x", 50.4, 43.7),
    ("cascade_mask_rcnn_convnext_small_1k_3x", 51.9, 45.0),
    ("cascade_mask_rcnn_convnext_base_1k_3x", 52.7, 45.6),
    ("cascade_mask_rcnn_convnext_base_22k_3x", 54.0, 46.9),
    ("cascade_mask_rcnn_convnext_large_22k_3x", 54.8, 47.6),
    ("cascade_mask_rcnn_convnext_xlarge_22k_3x", 55.2, 47.7),
)
#: Short name, mIoU on ADE20K validation: single scale, multi-scale with flip.
_SEGMENTORS = (
    ("upernet_convnext_tiny_1k_512x512", 46.0, 46.7),
    ("upernet_convnext_small_1k_512x512", 48.7, 49.6),
    ("upernet_convnext_base_1k_512x512", 49.1, 49.9),
    ("upernet_convnext_base_22k_640x640", 52.6, 53.1),
    ("upernet_convnext_large_22k_640x640", 53.2, 53.7),
    ("upernet_convnext_xlarge_22k_640x640", 53.6, 54.0),
)
#: Short name, file, ImageNet-1k top-1 in %.
_TORCHVISION = (
    ("torchvision_convnext_tiny", "convnext_tiny-983f1562.pth", 82.520),
    ("torchvision_convnext_small", "convnext_small-0c510722.pth", 83.616),
    ("torchvision_convnext_base", "convnext_base-6075fbad.pth", 84.062),
    ("torchvision_convnext_large", "convnext_large-ea097f82.pth", 84.414),
)
#: Method and size, what its file's name has between both and the date, date and hash, box AP, mask AP.
_MMDETECTION = (
    ("mask_rcnn", "tiny", "fp16_ms-crop_3x_coco", "20220426_154953-050731f4", 46.2, 41.7),
    ("cascade_mask_rcnn", "tiny", _CASCADE, "20220509_204200-8f07c40b", 50.3, 43.6),
    ("cascade_mask_rcnn", "small", _CASCADE, "20220510_201004-3d24f5a4", 51.8, 44.8),
)
#: Size, crop in px, date and hash, mIoU single scale, multi-scale with flip.
_MMSEGMENTATION = (
    ("tiny", 512, "20220227_124553-cad485de", 46.11, 46.62),
    ("small", 512, "20220227_131208-1b1e394f", 48.56, 49.02),
    ("base", 512, "20220227_181227-02a24fc6", 48.71, 49.54),
    ("base", 640, "20220227_182859-9280e39b", 52.13, 52.66),
    ("large", 640, "20220226_040532-e57aa54d", 53.16, 53.38),
    ("xlarge", 640, "20220226_080344-95fc38c2", 53.58, 54.11),
)
#: Size, hash, mIoU of a linear probe on ADE20K.
_DINO = (
    ("tiny", "21b726bb", 42.7),
    ("small", "296db49d", 44.8),
    ("base", "801f2ba9", 46.3),
    ("large", "61fa432d", 47.8),
)


def _from_url(name: str, url: str, licence: Licence, score: str = "") -> Published:
    return Published(name, url, url.rpartition("/")[2], licence, score)


def _originals() -> Iterable[Published]:
    for name, file, top1 in _V1:
        yield _from_url(name, _META + file, _MIT, f"{_TOP1} {top1}" if top1 else "")
    folder = _META + "convnextv2/"
    for size, top1, after_22k in _V2:
        net = f"convnextv2_{size}"
        yield _from_url(f"{net}_fcmae", f"{folder}pt_only/{net}_1k_224_fcmae.pt", _CC_BY_NC)
        yield _from_url(f"{net}_1k", f"{folder}im1k/{net}_1k_224_ema.pt", _CC_BY_NC, f"{_TOP1} {top1}")
        for px, top1_22k in after_22k.items():
            name = f"{net}_22k" if px == 224 else f"{net}_22k_{px}"
            url = f"{folder}im22k/{net}_22k_{px}_ema.pt"
            yield _from_url(name, url, _CC_BY_NC, f"{_TOP1} {top1_22k}")
    for name, box, mask in _DETECTORS:
        yield _from_url(name, f"{_META}coco/{name}.pth", _MIT, f"COCO box AP {box}, mask AP {mask}")
    for name, single, multi in _SEGMENTORS:
        yield _from_url(name, f"{_META}ade20k/{name}.pth", _MIT, f"ADE20K mIoU {single}, ms+flip {multi}")


def _others() -> Iterable[Published]:
    for name, file, top1 in _TORCHVISION:
        yield _from_url(name, f"https://download.pytorch.org/models/{file}", _BSD, f"{_TOP1} {top1:.1f}")
    for method, size, recipe, dated, box, mask in _MMDETECTION:
        name = f"mmdet_{method}_convnext_{size}_3x"
        stem = f"{method}_convnext-{size[0]}_p4_w7_fpn_{recipe}"
        url = f"{_OPENMMLAB}mmdetection/v2.0/convnext/{stem}/{stem}_{dated}.pth"
        yield _from_url(name, url, _APACHE, f"COCO box AP {box}, mask AP {mask}")
    for size, px, dated, single, multi in _MMSEGMENTATION:
        stem = f"upernet_convnext_{size}_fp16_{px}x{px}_160k_ade20k"
        url = f"{_OPENMMLAB}mmsegmentation/v0.5/convnext/{stem}/{stem}_{dated}.pth"
        score = f"ADE20K mIoU {single}, ms+flip {multi}"
        yield _from_url(f"mmseg_upernet_convnext_{size}_{px}x{px}", url, _APACHE, score)
    for size, digest, probe in _DINO:
        file = f"dinov3_convnext_{size}_pretrain_lvd1689m-{digest}.pth"
        page = f"https://huggingface.co/facebook/dinov3-convnext-{size}-pretrain-lvd1689m"
        score = f"ADE20K mIoU {probe} (linear probe)"
        yield Published(f"dinov3_convnext_{size}", page, file, _DINOV3, score, gated=True)


@cache
def published_weights() -> dict[str, Published]:
    """Return all published weights by short name."""
    return {entry.name: entry for entry in (*_originals(), *_others())}


def find_published(source: str | os.PathLike[str]) -> Published | None:
    """Return the published weights that a short name, a URL or a file of their published name stands for."""
    text = os.fspath(source)
    if text in published_weights():
        return published_weights()[text]
    file = Path(urlsplit(text).path if "://" in text else text).name
    return next((entry for entry in published_weights().values() if entry.file == file), None)


def top1_of(arch: str) -> tuple[float | None, float | None]:
    """Return the published ImageNet-1k top-1 of a size in %: trained on it alone, and after ImageNet-22k.

    Args:
        arch: As in the backbone's `arch`, e.g. `tiny` or `v2_tiny`. At 224 px where there is such a figure.
    """
    if arch.startswith("v2_"):
        alone, after_22k = next((top1, after) for size, top1, after in _V2 if f"v2_{size}" == arch)
        return alone, next(iter(after_22k.values()), None)
    scores = {name: top1 for name, _, top1 in _V1}
    return scores.get(f"convnext_{arch}_1k_ema"), scores.get(f"convnext_{arch}_22k_1k")


def listing() -> str:
    """Return the table of published weights: short name, licence, score."""
    rows = [
        (entry.name, entry.licence.name.partition(" (")[0], entry.score)
        for entry in published_weights().values()
    ]
    widths = [max(len(row[k]) for row in rows) for k in range(2)]
    return "\n".join(
        f"{name:<{widths[0]}}  {licence:<{widths[1]}}  {score}".rstrip() for name, licence, score in rows
    )
