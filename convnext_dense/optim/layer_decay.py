"""Layer-wise learning-rate decay for ConvNeXt: the closer a layer is to the image, the lower its rate.

Two ways to number the layers (facebookresearch/ConvNeXt, `object_detection` and `semantic_segmentation`):

- `layer_wise`: the stem is 0, stage 0 is 1, stage 1 is 2, every three blocks of stage 2 are one layer from 3
  on, stage 3 is n = 3 + ⌈depth of stage 2 / 3⌉; a downsampling belongs to the layer after it;
- `stage_wise`: the stem and the downsamplings are 0, stage i is i + 1.

Everything else (output norms, neck, heads) is n + 1 and learns at the full rate; layer k learns at
decay_rate^(n + 1 − k) of it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from ..errors import UserError, did_you_mean, nearest
from ..models import GRN, ConvNeXt
from .group_table import Group, log_group_table

DECAY_TYPES = ("layer_wise", "stage_wise")
_OPTIONS = ("decay_rate", "decay_type", "num_layers", "custom_keys")
_CUSTOM_OPTIONS = ("lr_mult", "decay_mult")
_WHERE = "optim_wrapper.paramwise_cfg"
_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, GRN)
_PART = re.compile(r"(downsample_layers|stages)\.(\d+)\.(\d+)\.")


def default_num_layers(depths: Sequence[int]) -> int:
    """Return n, the number of the last stage's layer: 6 for 9 blocks in stage 2, 12 for 27."""
    return 3 + math.ceil(depths[2] / 3)


def layer_id(
    name: str, depths: Sequence[int], decay_type: str = "layer_wise", num_layers: int | None = None
) -> int:
    """Return the layer that a parameter of ConvNeXt belongs to.

    Args:
        name: Name of the parameter in the backbone's state dict; `module.` and `backbone.` before it are
            ignored. A name that is not of the stem, a downsampling or a stage counts as a head's.
        depths: Blocks of the four stages.
        decay_type: 'layer_wise' or 'stage_wise'.
        num_layers: n; None for `default_num_layers(depths)`.

    Returns:
        From 0, the first to see the image, to n + 1, which learns at the full rate.
    """
    n = default_num_layers(depths) if num_layers is None else num_layers
    part = _PART.match(name.removeprefix("module.").removeprefix("backbone."))
    if part is None:
        return n + 1
    is_stage, i, block = part[1] == "stages", int(part[2]), int(part[3])
    if decay_type == "stage_wise":
        return i + 1 if is_stage else 0
    if i == 3:
        return n
    if is_stage:
        return i + 1 if i < 2 else 3 + block // 3
    return i if i == 0 else i + 1


def lr_multiplier(
    name: str,
    depths: Sequence[int],
    decay_rate: float,
    decay_type: str = "layer_wise",
    num_layers: int | None = None,
) -> float:
    """Return the share of the base learning rate that a parameter gets; see `layer_id` for the arguments."""
    n = default_num_layers(depths) if num_layers is None else num_layers
    return decay_rate ** (n + 1 - layer_id(name, depths, decay_type, n))


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class ConvNeXtLayerDecay(DefaultOptimWrapperConstructor):
    """Build an optimizer whose learning rate decays from the heads down to the stem of a ConvNeXt.

    Norms, biases, layer scale and every other parameter of one dimension take no weight decay. Frozen
    parameters are left out. The groups are logged once, as a table.

    Options in `paramwise_cfg`:

    - `decay_rate`: in (0, 1];
    - `decay_type`: 'layer_wise' (default) or 'stage_wise';
    - `num_layers`: n as defined above; taken from the backbone's depths if left out. 'layer_wise' takes no
      other value, 'stage_wise' any from 3 on (the published recipes have 6 for T and 12 for S to XL);
    - `custom_keys`: part of a parameter name → `dict(lr_mult=..., decay_mult=...)`. The longest key that a
      name contains counts (the first in the alphabet among equals), in backbone and heads alike. It
      multiplies what the rules above give, so a norm stays without weight decay.

    Example::

        optim_wrapper = dict(
            type='OptimWrapper',
            optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
            constructor='ConvNeXtLayerDecay',
            paramwise_cfg=dict(decay_rate=0.9, decay_type='stage_wise', num_layers=6))

    Raises:
        UserError: An option is unknown or out of range, a custom key matches no parameter, or the model
            has no ConvNeXt.
    """

    def add_params(self, params: list[dict], module: nn.Module, prefix: str = "", **_: Any) -> None:
        """Append to `params` the parameter groups of the model `module`, lowest learning rate first."""
        backbones = _find_backbones(module)
        custom = self.paramwise_cfg.get("custom_keys") or {}
        _check_custom_keys(custom, [name for name, _ in module.named_parameters()])
        groups: dict[tuple[float, float], Group] = {}
        frozen: list[nn.Parameter] = []
        for name, owner, param in _unique_parameters(module):
            if not param.requires_grad:
                frozen.append(param)
                continue
            key = _longest_key(name, custom)
            own = custom[key] if key is not None else {}
            lr_mult = self._layer_multiplier(name, backbones) * own.get("lr_mult", 1.0)
            decays = param.ndim > 1 and not isinstance(owner, _NORMS)
            decay_mult = own.get("decay_mult", 1.0) if decays else 0.0
            group = groups.setdefault((lr_mult, decay_mult), Group(lr_mult, decay_mult))
            group.names.append(name)
            group.params.append(param)
        if not groups:
            raise UserError("every parameter of the model is frozen", "optim_wrapper", "freeze fewer of them")
        ordered = sorted(groups.values(), key=lambda group: (group.lr_mult, -group.decay_mult))
        params.extend(group.settings(self.base_lr, self.base_wd) for group in ordered)
        log_group_table(ordered, frozen, self.base_lr, self.base_wd, self._title())

    def _layer_multiplier(self, name: str, backbones: Mapping[str, ConvNeXt]) -> float:
        """Return the share of the learning rate for the parameter `name` of the whole model."""
        for prefix, backbone in backbones.items():
            if name.startswith(prefix):
                n = self._num_layers(backbone)
                return lr_multiplier(
                    name[len(prefix) :], backbone.arch.depths, self._decay_rate, self._decay_type, n
                )
        return 1.0

    def _num_layers(self, backbone: ConvNeXt) -> int:
        expected = default_num_layers(backbone.arch.depths)
        n = self.paramwise_cfg.get("num_layers")
        if n is None or n == expected or self._decay_type == "stage_wise":
            return expected if n is None else n
        raise UserError(
            f"num_layers is {n}, but this ConvNeXt of depths {backbone.arch.depths} has {expected} layers",
            f"{_WHERE}.num_layers",
            f"give num_layers={expected}, or leave it out",
        )

    @property
    def _decay_rate(self) -> float:
        return self.paramwise_cfg["decay_rate"]

    @property
    def _decay_type(self) -> str:
        return self.paramwise_cfg.get("decay_type", "layer_wise")

    def _title(self) -> str:
        return f"{self._decay_type} learning-rate decay {self._decay_rate:g}"

    def _validate_cfg(self) -> None:
        """Check the options' names and values; mmengine's own options have no meaning here."""
        cfg = self.paramwise_cfg
        _check_keys(cfg, _OPTIONS, _WHERE)
        for key in ("lr", "weight_decay"):
            if self.optimizer_cfg.get(key) is None:
                raise UserError(f"the optimizer has no {key}", "optim_wrapper.optimizer", f"give {key}=…")
        if "decay_rate" not in cfg:
            raise UserError("paramwise_cfg has no decay_rate", _WHERE, "give decay_rate in (0, 1], e.g. 0.9")
        rate = cfg["decay_rate"]
        if not isinstance(rate, int | float) or not 0 < rate <= 1:
            raise UserError(f"decay_rate is {rate!r}", f"{_WHERE}.decay_rate", "give a number in (0, 1]")
        if self._decay_type not in DECAY_TYPES:
            fix = did_you_mean(self._decay_type, DECAY_TYPES)
            raise UserError(f"unknown decay_type {self._decay_type!r}", f"{_WHERE}.decay_type", fix)
        n = cfg.get("num_layers")
        if n is not None and (type(n) is not int or n < 3):
            fix = "give an integer from 3 on, or leave it out"
            raise UserError(f"num_layers is {n!r}", f"{_WHERE}.num_layers", fix)


def _find_backbones(model: nn.Module) -> dict[str, ConvNeXt]:
    """Return each ConvNeXt of the model with the prefix of its parameters' names."""
    modules = list(model.named_modules())
    backbones = {f"{name}." if name else "": m for name, m in modules if isinstance(m, ConvNeXt)}
    if not backbones:
        kind = type(getattr(model, "backbone", model)).__name__
        raise UserError(
            f"ConvNeXtLayerDecay needs a ConvNeXt in the model, and its backbone is {kind}",
            "optim_wrapper.constructor",
            "use model.backbone.type='ConvNeXt', or leave out `constructor` and `paramwise_cfg`",
        )
    return backbones


def _unique_parameters(model: nn.Module) -> Iterator[tuple[str, nn.Module, nn.Parameter]]:
    """Yield name, owning module and parameter, a shared parameter once."""
    seen = set()
    for prefix, module in model.named_modules():
        for name, param in module.named_parameters(prefix=prefix, recurse=False):
            if param not in seen:
                seen.add(param)
                yield name, module, param


def _check_keys(cfg: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    for key in cfg:
        if key not in known:
            raise UserError(f"unknown option {key!r}", where, did_you_mean(key, known))


def _check_custom_keys(custom: Mapping[str, Mapping[str, float]], names: Sequence[str]) -> None:
    """Refuse keys that match no parameter name and options that are not known."""
    for key, own in custom.items():
        where = f"{_WHERE}.custom_keys[{key!r}]"
        if not isinstance(own, Mapping) or not all(isinstance(value, int | float) for value in own.values()):
            raise UserError(
                f"{key!r} stands for {own!r}", where, "give dict(lr_mult=…, decay_mult=…), numbers"
            )
        _check_keys(own, _CUSTOM_OPTIONS, where)
        if not any(key in name for name in names):
            parts = sorted({part for name in names for part in name.split(".") if not part.isdigit()})
            close = nearest(key, parts)
            hint = f"did you mean {close!r}? " if close else ""
            raise UserError(
                f"{key!r} is part of no parameter's name", where, f"{hint}correct the key or remove it"
            )


def _longest_key(name: str, custom: Mapping[str, Any]) -> str | None:
    """Return the longest key that is part of `name`, the first in the alphabet among equals."""
    return min((key for key in custom if key in name), key=lambda key: (-len(key), key), default=None)
