"""The published recipes, fitted to a data set and a machine: what `new-config` writes."""

from __future__ import annotations

import math
from dataclasses import dataclass

#: `--size` → arch. The four smallest are V2's, which V1 does not have.
SIZES = {
    **{name: f"v2_{name}" for name in ("atto", "femto", "pico", "nano")},
    **{name: name for name in ("tiny", "small", "base", "large")},
    "xl": "xlarge",
}
_URL = "https://dl.fbaipublicfiles.com/convnext"
#: Images for each device, as the recipes have it, and in all.
IMAGES_PER_DEVICE, PUBLISHED_BATCH = 2, 16
#: A run has so many iterations at least: less is over before the warm-up.
MIN_ITERATIONS = 1000
#: Share of a run that warms up at most.
MAX_WARM_UP = 0.05


@dataclass(frozen=True)
class Published:
    """A published schedule: rate at batch 16, passes over the data, warm-up in samples, decay of the rate."""

    lr: float
    epochs: int
    warm_up_samples: int
    decay_rate: float
    source: str


#: `--model` → schedule: COCO's 3x, and ADE20K's 160k iterations, which are 127 passes over 20,210 images.
PUBLISHED = {
    "mask_rcnn": Published(1e-4, 36, 16_000, 0.95, "COCO, 3x schedule (arXiv 2201.03545)"),
    "cascade_mask_rcnn": Published(2e-4, 36, 16_000, 0.7, "COCO, 3x schedule (arXiv 2201.03545)"),
    "upernet": Published(1e-4, 127, 24_000, 0.9, "ADE20K, 160k iterations (arXiv 2201.03545)"),
}
_DROP_PATH = {"tiny": 0.2, "small": 0.3, "base": 0.4, "large": 0.4, "xlarge": 0.4}


@dataclass(frozen=True)
class Recipe:
    """A schedule for one data set and machine.

    Attributes:
        batch: Images in each step, on all devices together.
        lr: Peak learning rate.
        epochs: Passes over the training images.
        iterations: Steps in all.
        warm_up: Steps of the warm-up.
        reasons: What differs from the published schedule and why, one line each.
    """

    batch: int
    lr: float
    epochs: int
    iterations: int
    warm_up: int
    reasons: tuple[str, ...]


def fit_recipe(
    model: str, images: int, devices: int, epochs: int | None = None, lr: float | None = None
) -> Recipe:
    """Fit a published schedule.

    Args:
        model: A key of `PUBLISHED`.
        images: Number of training images.
        devices: Number of GPUs (or 1 for a CPU).
        epochs: Passes over the data; None for the published number, or more where that is too short.
        lr: Peak learning rate; None for the published one, fitted to the batch.
    """
    known = PUBLISHED[model]
    batch = IMAGES_PER_DEVICE * devices
    reasons = [f"batch {batch} = {devices} x {IMAGES_PER_DEVICE}, published {PUBLISHED_BATCH} = 8 x 2"]
    if lr is not None:
        reasons.append(f"rate {lr:g} as asked for, published {known.lr:g}")
    else:
        lr = float(f"{known.lr * math.sqrt(batch / PUBLISHED_BATCH):.3g}")
    if lr != known.lr and len(reasons) == 1:
        reasons.append(f"rate {lr:g} = {known.lr:g} x sqrt({batch} / {PUBLISHED_BATCH}), the rule for AdamW")
    per_epoch = math.ceil(images / batch)
    if epochs is None:
        epochs = max(known.epochs, math.ceil(MIN_ITERATIONS / per_epoch))
        if epochs > known.epochs:
            reasons.append(f"{epochs} epochs instead of {known.epochs}, for {MIN_ITERATIONS:,} iterations")
    elif epochs != known.epochs:
        reasons.append(f"{epochs} epochs as asked for, published {known.epochs}")
    iterations = epochs * per_epoch
    warm_up = max(1, min(known.warm_up_samples // batch, int(MAX_WARM_UP * iterations)))
    if warm_up * batch != known.warm_up_samples:
        reasons.append(f"warm-up {warm_up} iterations, published {known.warm_up_samples:,} samples")
    return Recipe(batch, lr, epochs, iterations, warm_up, tuple(reasons))


def backbone_settings(size: str) -> tuple[str, tuple[int, ...], str, float, float, int]:
    """Return arch, widths, address of weights, layer scale, drop path and decay layers of a `--size`."""
    from ..models.arch import ARCHS  # here, as they load torch
    from ..optim import default_num_layers

    arch = SIZES[size]
    spec = ARCHS[arch]
    if spec.use_grn:
        weights = f"{_URL}/convnextv2/im1k/convnextv2_{size}_1k_224_ema.pt"
    else:
        weights = f"{_URL}/convnext_{arch}_{'1k' if arch in ('tiny', 'small') else '22k'}_224.pth"
    layers = default_num_layers(spec.depths)
    return arch, spec.dims, weights, 0.0 if spec.use_grn else 1.0, _DROP_PATH.get(arch, 0.1), layers
