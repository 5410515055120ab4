"""Parameters and multiply-accumulates, counted as the published tables count them.

Parameters are those of the whole model as it is trained, auxiliary heads included. Multiply-accumulates
are those of one image in evaluation, where auxiliary heads do not run: of convolutions, linear layers and
matrix products. Norms, activations, interpolation and other elementwise work count nothing. The papers'
"FLOPs" are these. So counted, every row of ConvNeXt's ADE20K table is met to 0.1 % and every row of its
COCO table to 0.2 %.

A two-stage detector's cost depends on how many regions it looks at. The published convention: each stage's
box head on 1,000 regions and its mask head on 100, though a cascade predicts masks of its last boxes only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from .errors import UserError

BOX_REGIONS, MASK_REGIONS = 1000, 100  #: regions that each stage's heads are counted on


def count_params(model: nn.Module) -> int:
    """Count the parameters of a model on any device, each shared one once; buffers are none.

    The published column of UperNet includes the auxiliary head, which is trained with the rest.
    """
    return sum(p.numel() for p in model.parameters())


def count_macs(model: nn.Module, input_shape: Sequence[int]) -> int:
    """Count the multiply-accumulates of one forward pass in evaluation mode.

    Nothing is computed: shapes alone pass through the model, on the meta device. For a segmentor that is
    the backbone and the decode head, without the auxiliary head; of a `FusedUPerHead` the work in mmseg's
    order is counted, as published, which is more than it does. For a two-stage detector of mmdet it is the
    backbone, the neck, the RPN and the heads of every stage on `BOX_REGIONS` and `MASK_REGIONS`
    regions.

    Args:
        model: A module that takes one batch of images, or a two-stage detector; left as it is.
        input_shape: (C, H, W) of one image, e.g. (3, 512, 2048) for UperNet at a crop of 512 and
            (3, 800, 1280) for the detectors.

    Raises:
        UserError: `input_shape` is not three positive integers.
    """
    if len(input_shape) != 3 or any(side < 1 for side in input_shape):
        raise UserError(
            f"input_shape is {tuple(input_shape)}", "count_macs", "give (C, H, W), e.g. (3, 512, 2048)"
        )
    image = torch.empty(1, *input_shape, device="meta")
    modes = {module: module.training for module in model.modules()}
    fused: list[Any] = [module for module in model.modules() if getattr(module, "fused", None) is True]
    counter = FlopCounterMode(display=False)
    counted = _TwoStage(model) if hasattr(model, "roi_head") else model
    model.eval()
    for module in fused:
        module.fused = False
    try:
        with counter, torch.no_grad():
            functional_call(counted, _meta_state(counted), (image,))
    finally:
        for module, mode in modes.items():
            module.training = mode
        for module in fused:
            module.fused = True
    return counter.get_total_flops() // 2


class _TwoStage(nn.Module):
    """The parts of a two-stage detector without what depends on the image: choosing and cutting regions."""

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, images: Tensor) -> None:
        """Run backbone, neck and RPN on the images (B, C, H, W), the heads on regions of B images."""
        detector: Any = self.detector
        detector.rpn_head(detector.extract_feat(images))
        roi_head = detector.roi_head
        for kind, regions in (("bbox", BOX_REGIONS), ("mask", MASK_REGIONS)):
            if getattr(roi_head, f"with_{kind}"):
                extractors = _stages(getattr(roi_head, f"{kind}_roi_extractor"))
                for extractor, head in zip(
                    extractors, _stages(getattr(roi_head, f"{kind}_head")), strict=True
                ):
                    size = extractor.roi_layers[0].output_size
                    head(images.new_empty(regions * len(images), extractor.out_channels, *size))


def _stages(part: nn.Module) -> Sequence[Any]:
    """Return the modules of a cascade's stages, or the only one."""
    return list(part) if isinstance(part, nn.ModuleList) else [part]


def _meta_state(model: nn.Module) -> dict[str, Tensor]:
    """Return stand-ins without data for all parameters and buffers."""
    state = [*model.named_parameters(), *model.named_buffers()]
    return {name: torch.empty_like(tensor, device="meta") for name, tensor in state}
