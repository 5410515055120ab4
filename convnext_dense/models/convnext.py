"""ConvNeXt, V1 and V2, as a multi-scale backbone.

Shapes: B images of H × W pixels; C is the width of a stage (`dims[i]`), h × w the size of its map,
H/4 × W/4 halved at each further stage and rounded down. All maps lie in channels_last memory.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from mmengine.model import BaseModule, initialize
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..errors import UserError
from .arch import ARCHS, NUM_STAGES, Arch, parse_arch, parse_checkpointed, parse_stages
from .depthwise import DepthwiseConv2d
from .fused_mlp import can_fuse, expand, expand_and_project, expand_and_project_responses, project
from .layers import GRN, DropPath, LayerNorm2d, pointwise
from .pretrained import split_init_cfg

__all__ = ["ARCHS", "Arch", "Block", "ConvNeXt"]

LAYER_NORM_EPS = 1e-6


class Block(nn.Module):
    """Residual block: depthwise 7×7 convolution, LayerNorm, C → 4C, GELU, (GRN), 4C → C, (layer scale).

    Args:
        dim: Channels C.
        drop_path: Probability of dropping the branch for a sample, in [0, 1).
        layer_scale_init_value: Initial value of the branch's scale per channel; 0 for no scale.
        use_grn: Whether to normalise the 4C channels with GRN (V2).
    """

    def __init__(
        self, dim: int, drop_path: float = 0.0, layer_scale_init_value: float = 1e-6, use_grn: bool = False
    ) -> None:
        super().__init__()
        self.layer_scale_init_value = layer_scale_init_value
        self.dwconv = DepthwiseConv2d(dim, kernel_size=7)
        self.norm = nn.LayerNorm(dim, eps=LAYER_NORM_EPS)
        self.pwconv1 = nn.Linear(dim, 4 * dim)
        self.grn = GRN(4 * dim) if use_grn else None
        self.pwconv2 = nn.Linear(4 * dim, dim)
        self.gamma = nn.Parameter(torch.empty(dim)) if layer_scale_init_value > 0 else None
        self.drop_path = DropPath(drop_path)
        self.reset_layer_scale()

    def reset_layer_scale(self) -> None:
        """Set the layer scale to its initial value."""
        if self.gamma is not None:
            nn.init.constant_(self.gamma, self.layer_scale_init_value)

    def forward(self, x: Tensor) -> Tensor:
        """Add the block's branch to `x` (B, C, h, w)."""
        if self.drop_path.drops:
            return self.drop_path.add_branch(x, self._branch)
        if can_fuse(x):
            return self._add_fused_branch(x)
        return x + self._branch(x)

    def _branch(self, x: Tensor) -> Tensor:
        y = self.norm(self.dwconv(x).permute(0, 2, 3, 1))  # (B, h, w, C)
        y = F.gelu(pointwise(y, self.pwconv1.weight, self.pwconv1.bias))  # (B, h, w, 4C)
        if self.grn is not None:
            y = self.grn(y)
        return self._project(y).permute(0, 3, 1, 2)  # (B, C, h, w)

    def _add_fused_branch(self, x: Tensor) -> Tensor:
        """Return x + branch without gradients, in fewer passes over the 4C channels."""
        residual = x.permute(0, 2, 3, 1)
        y = self.norm(self.dwconv(x).permute(0, 2, 3, 1))  # (B, h, w, C)
        expansion = self.pwconv1.weight, self.pwconv1.bias
        weight: Tensor = self.pwconv2.weight
        bias: Tensor = self.pwconv2.bias
        if self.gamma is not None:
            weight, bias = weight * self.gamma[:, None], bias * self.gamma
        if self.grn is None:
            out = expand_and_project(y, expansion, (weight, bias), residual)
        elif y.shape[1] * y.shape[2] > x.shape[1]:  # the hidden map is larger than the weight
            out = expand_and_project_responses(y, expansion, self.grn, (weight, bias), residual)
        else:
            out = project(self.grn(expand(y, *expansion)), weight, bias, residual)
        return out.permute(0, 3, 1, 2)

    def _project(self, y: Tensor) -> Tensor:
        """Map `y` (B, h, w, 4C) to (B, h, w, C) and scale its channels."""
        weight, bias = self.pwconv2.weight, self.pwconv2.bias
        if self.gamma is None:
            return pointwise(y, weight, bias)
        # float16 has no room for the product: 1e-6 · 0.02 is below its smallest number.
        if y.dtype == torch.float16:
            return pointwise(y, weight, bias) * self.gamma
        # Scaling the (C, 4C) weight instead of the map saves one pass over the map and one saved tensor.
        return pointwise(y, weight * self.gamma[:, None], bias * self.gamma)


@MODELS.register_module()
class ConvNeXt(BaseModule):
    """ConvNeXt (arXiv 2201.03545) and ConvNeXt V2 (arXiv 2301.00808) with one map per chosen stage.

    The names in the state dict are those of the original code, so the published files fit as they are.

    Args:
        arch: A name of `ARCHS`, or `dict(depths=..., dims=..., use_grn=...)` with four stages.
        in_channels: Channels of the images.
        drop_path_rate: Stochastic depth of the last block, in [0, 1); it rises linearly from 0 at the first.
        layer_scale_init_value: Initial layer scale; 0 for none. None means 1e-6 without GRN (V1) and no
            layer scale with it (V2).
        out_indices: Stages to return, from 0 to 3 or negative from the end; maps come in the stages' order.
        frozen_stages: k ≥ 1 freezes the stem and stages 0 … k−1, each with the downsampling before it and
            its output norm: no gradients, and `train()` leaves them in evaluation mode. 0 freezes nothing.
        with_cp: Recompute blocks in the backward pass instead of keeping their activations: all (True), none,
            or those of the named stages. The first stages keep the most and cost the least to recompute.
        init_cfg: mmengine's initialisation config. `dict(type='Pretrained', checkpoint=...)` reads any
            ConvNeXt checkpoint through `convnext_dense.load_weights`, which refuses one that does not fit;
            with `norm3_from_classifier=True` the last output's norm starts from the classifier's.

    Attributes:
        out_channels: Channels of each returned map.
        out_strides: Image pixels per position of each returned map.
        checkpointed: Stages whose blocks are recomputed in the backward pass.

    Raises:
        UserError: An argument is unknown or out of range.
    """

    def __init__(
        self,
        arch: str | Mapping[str, Any] | Arch = "tiny",
        in_channels: int = 3,
        drop_path_rate: float = 0.0,
        layer_scale_init_value: float | None = None,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        frozen_stages: int = 0,
        with_cp: bool | Collection[int] = False,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.arch = parse_arch(arch)
        if layer_scale_init_value is None:
            layer_scale_init_value = 0.0 if self.arch.use_grn else 1e-6
        _check_range("in_channels", in_channels, in_channels >= 1, "1 or more")
        _check_range("drop_path_rate", drop_path_rate, 0 <= drop_path_rate < 1, "in [0, 1)")
        _check_range("layer_scale_init_value", layer_scale_init_value, layer_scale_init_value >= 0, "≥ 0")
        _check_range("frozen_stages", frozen_stages, 0 <= frozen_stages <= NUM_STAGES, "0 (none) to 4 (all)")
        self.in_channels = in_channels
        self.frozen_stages = frozen_stages
        self.checkpointed = parse_checkpointed(with_cp)
        self.out_indices = parse_stages(out_indices, "out_indices")
        self.out_channels = tuple(self.arch.dims[i] for i in self.out_indices)
        self.out_strides = tuple(4 * 2**i for i in self.out_indices)

        self.downsample_layers = _downsample_layers(in_channels, self.arch.dims)
        self.stages = _stages(self.arch, drop_path_rate, layer_scale_init_value)
        for i, channels in zip(self.out_indices, self.out_channels, strict=True):
            self.add_module(f"norm{i}", LayerNorm2d(channels, eps=LAYER_NORM_EPS))
        self.reset_parameters()
        for module in self._frozen_modules():
            module.requires_grad_(False)

    is_init: bool  # a property of BaseModule

    def reset_parameters(self) -> None:
        """Draw fresh weights as the original code does: truncated normal, std 0.02, biases 0."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.LayerNorm):
                module.reset_parameters()
            elif isinstance(module, GRN):
                nn.init.zeros_(module.gamma)
                nn.init.zeros_(module.beta)
            elif isinstance(module, Block):
                module.reset_layer_scale()

    def init_weights(self) -> None:
        """Draw fresh weights, apply `init_cfg`, and load its pretrained checkpoint last.

        Raises:
            UserError: The checkpoint is missing, or it does not fill the backbone completely.
        """
        if self.is_init:
            print_log("ConvNeXt: init_weights was called before; left as it is", "current", logging.WARNING)
            return
        self.reset_parameters()
        cfgs, pretrained = split_init_cfg(self.init_cfg, "ConvNeXt, argument `init_cfg`")
        initialize(self, cfgs)
        for source, from_classifier in pretrained:
            from ..weights import load_weights  # deferred: it needs the backbone

            report = load_weights(self, source, norm3_from_classifier=from_classifier)
            print_log(str(report), "current")
        self.is_init = True

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Compute the maps of the chosen stages.

        Args:
            images: (B, in_channels, H, W), normalised.

        Returns:
            One layer-normed map (B, dims[i], h, w) per stage of `out_indices`, in channels_last memory.

        Raises:
            UserError: The images have another number of channels, or are smaller than the last stride.
        """
        self._check_images(images)
        x = images.contiguous(memory_format=torch.channels_last)
        maps = []
        for i in range(self.out_indices[-1] + 1):
            x = self.downsample_layers[i](x)
            recompute = i in self.checkpointed and torch.is_grad_enabled()
            for block in self.stages[i].children():
                x = checkpoint(block, x, use_reentrant=False) if recompute else block(x)
            if i in self.out_indices:
                maps.append(getattr(self, f"norm{i}")(x))
        return tuple(maps)

    def train(self, mode: bool = True) -> ConvNeXt:
        """Set training or evaluation mode, but for the frozen stages, which stay in evaluation mode."""
        super().train(mode)
        for module in self._frozen_modules():
            module.eval()
        return self

    def _frozen_modules(self) -> Iterable[nn.Module]:
        for i in range(self.frozen_stages):
            yield self.downsample_layers[i]
            yield self.stages[i]
            if i in self.out_indices:
                yield getattr(self, f"norm{i}")

    def _check_images(self, images: Tensor) -> None:
        shape = tuple(images.shape)
        if len(shape) != 4 or shape[1] != self.in_channels:
            raise UserError(
                f"ConvNeXt expects images of shape (B, {self.in_channels}, H, W) and got {shape}",
                "ConvNeXt.forward",
                f"give images of {self.in_channels} channels, or build the backbone with in_channels=…",
            )
        stride = self.out_strides[-1]
        if min(shape[2:]) < stride:
            raise UserError(
                f"an image of {shape[2]}x{shape[3]} px is too small: stage {self.out_indices[-1]} has one "
                f"position per {stride}x{stride} px, so its map would be empty",
                "ConvNeXt.forward",
                f"pad or enlarge the images to {stride} px or more",
            )


def _downsample_layers(in_channels: int, dims: Sequence[int]) -> nn.ModuleList:
    """Build the stem (4×4 patches) and the three halvings between stages."""
    stem = nn.Sequential(
        nn.Conv2d(in_channels, dims[0], kernel_size=4, stride=4), LayerNorm2d(dims[0], eps=LAYER_NORM_EPS)
    )
    halvings = [
        nn.Sequential(LayerNorm2d(dims[i], eps=LAYER_NORM_EPS), nn.Conv2d(dims[i], dims[i + 1], 2, stride=2))
        for i in range(NUM_STAGES - 1)
    ]
    return nn.ModuleList([stem, *halvings])


def _stages(arch: Arch, drop_path_rate: float, layer_scale_init_value: float) -> nn.ModuleList:
    """Build the four stages of blocks."""
    last_block = sum(arch.depths) - 1
    stages = nn.ModuleList()
    for i, (depth, dim) in enumerate(zip(arch.depths, arch.dims, strict=True)):
        first = sum(arch.depths[:i])
        stages.append(
            nn.Sequential(
                *(
                    Block(
                        dim, drop_path_rate * (first + j) / last_block, layer_scale_init_value, arch.use_grn
                    )
                    for j in range(depth)
                )
            )
        )
    return stages


def _check_range(name: str, value: float, valid: bool, allowed: str) -> None:
    if not valid:
        raise UserError(f"{name} is {value!r}", f"ConvNeXt, argument `{name}`", f"give a value {allowed}")
