"""Load a checkpoint into a model: map its names, verify that everything fits, only then fill.

Stock loading (`strict=False`) drops what does not match and starts training from noise. Here a backbone is
filled completely by a file that is used completely, or nothing is loaded.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from mmengine.logging import print_log
from mmengine.model import BaseTTAModel, is_model_wrapper
from torch import Tensor, nn

from ..errors import UserError
from ..models.convnext import ConvNeXt
from .families import Weights, arch_name, map_convnext
from .published import find_published
from .read import read_state_dict
from .report import (
    Misfit,
    WeightReport,
    refuse_convnext,
    refuse_incomplete,
    refuse_other,
    refuse_unknown,
)

#: ConvNeXt's norms of the returned maps, which classification files do not have.
_OUTPUT_NORM = re.compile(r"norm\d\.")
#: A counter of BatchNorm that nothing depends on, absent in old files.
_COUNTER = "num_batches_tracked"
#: A classifier's last layers, in backbones other than ConvNeXt.
_CLASSIFIER = re.compile(r"(fc|head|classifier)\.")


@dataclass(frozen=True)
class _Target:
    """A model's tensors: the backbone's by its own names, the others' by the whole model's."""

    net: nn.Module  # the backbone
    prefix: str  # of the backbone in the model
    backbone: Mapping[str, Tensor]
    heads: Mapping[str, Tensor]

    def may_lack(self, name: str) -> bool:
        """Whether a backbone tensor of that name may be missing on either side."""
        is_output_norm = isinstance(self.net, ConvNeXt) and _OUTPUT_NORM.match(name)
        return bool(is_output_norm) or name.endswith(_COUNTER)


@dataclass
class _Plan:
    """What goes where: all by the whole model's names but `unexpected`, which are the file's."""

    fills: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)  # the model's, the file's
    missing: list[str] = field(default_factory=list)
    reinitialised: dict[str, str] = field(default_factory=dict)  # name → both shapes
    unexpected: list[str] = field(default_factory=list)


def load_weights(
    model: nn.Module,
    source: str | os.PathLike[str] | Mapping[str, Any],
    *,
    heads: Literal["report", "require"] = "report",
    norm3_from_classifier: bool = False,
) -> WeightReport:
    """Load a checkpoint into a backbone or a whole model, or refuse it and leave the model as it is.

    Every backbone tensor of the model must be filled and every backbone tensor of the file used, with equal
    shapes once they are brought to the original ones (`shapes.py`). A ConvNeXt's output norms may be missing
    on either side: classification files have none. Values are cast to the model's dtype. The licence of
    published weights is logged.

    Args:
        model: A ConvNeXt, a detector or segmentor with a `backbone`, or any other module, whose own names the
            file must then have. Wrappers for distribution and test-time augmentation are looked through.
        source: A file (`.pth`, `.pt`, `.bin`, `.safetensors`), a Hugging Face folder, a URL, the short name
            of published weights (`convnext_tiny_1k`, see `published.py`) or a state dict.
        heads: What to do with tensors outside the backbone. `report`: load those that fit, leave the others
            as they are, report and log them. `require`: every parameter and buffer of the model must be
            filled.
        norm3_from_classifier: Start ConvNeXt's output norm `norm3` from the final LayerNorm of a
            classification file. The published dense results did not: the default leaves it as it is.

    Returns:
        What was loaded, left and not used.

    Raises:
        UserError: The file cannot be read or does not fit; the message names what differs and the config line
            to change. Nothing has been loaded then.
    """
    if heads not in ("report", "require"):
        raise ValueError(f"heads is {heads!r}; choose 'report' or 'require'")
    label = "the given state dict" if isinstance(source, Mapping) else os.fspath(source)
    target = _target(_unwrap(model))
    weights = _weights(target, read_state_dict(source), label)
    if norm3_from_classifier:
        weights = _with_norm3(weights, label)
    plan = _Plan()
    _plan_backbone(plan, target, weights, label)
    _plan_heads(plan, target, weights)
    report = _report(plan, target, weights, label)
    if heads == "require" and (report.missing or report.reinitialised):
        raise refuse_incomplete(report, plan.reinitialised)
    _check_values(plan, label)
    _apply(plan)
    if report.licence:
        print_log(f"licence of the weights {Path(label).name}: {report.licence}", "current")
    return report


def _apply(plan: _Plan) -> None:
    with torch.no_grad():
        for own, given in plan.fills.values():
            own.copy_(given)
    if plan.reinitialised:
        shapes = "; ".join(plan.reinitialised.values())
        print_log(
            f"heads left as initialised, as the checkpoint's do not fit: {shapes}", "current", logging.WARNING
        )


def _unwrap(model: nn.Module) -> nn.Module:
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.get_submodule("module")
    compiled = getattr(model, "_orig_mod", None)
    return compiled if isinstance(compiled, nn.Module) else model


def _target(model: nn.Module) -> _Target:
    tensors = {name.replace("_orig_mod.", ""): tensor for name, tensor in model.state_dict().items()}
    meta = next((name for name, tensor in tensors.items() if tensor.is_meta), None)
    if meta:
        raise UserError(
            f"the model has no memory yet: {meta} lies on the meta device",
            "load_weights",
            "call model.to_empty(device='cpu') first, or build the model on a real device",
        )
    backbone = getattr(model, "backbone", None)
    if isinstance(backbone, nn.Module):
        return _Target(_unwrap(backbone), "backbone.", *_split(tensors, "backbone."))
    return _Target(model, "", *_split(tensors, ""))


def _split(tensors: Mapping[str, Tensor], prefix: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Part tensors into the backbone's, their prefix removed, and the others."""
    backbone: dict[str, Tensor] = {}
    others: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name.startswith(prefix) and (prefix or not _CLASSIFIER.match(name)):
            backbone[name.removeprefix(prefix)] = tensor
        else:
            others[name] = tensor
    return backbone, others


def _weights(target: _Target, state: Mapping[str, Tensor], label: str) -> Weights:
    """Name a checkpoint's tensors as the model does."""
    if isinstance(target.net, ConvNeXt):
        weights = map_convnext(state)
        if weights is None:
            raise refuse_unknown(target.net, state, label)
        return weights
    prefix = "backbone." if any(name.startswith("backbone.") for name in state) else ""
    return Weights(f"{type(target.net).__name__}, by its own names", None, *_split(state, prefix))


def _with_norm3(weights: Weights, label: str) -> Weights:
    """Take a classifier's final LayerNorm for the last output's."""
    norm = {"norm3." + name[5:]: tensor for name, tensor in weights.heads.items() if name.startswith("norm.")}
    if not norm:
        raise UserError(
            "the checkpoint has no classifier's final LayerNorm to start norm3 from",
            label,
            "leave out norm3_from_classifier, or give a classification checkpoint",
        )
    heads = {name: tensor for name, tensor in weights.heads.items() if not name.startswith("norm.")}
    return replace(weights, backbone={**weights.backbone, **norm}, heads=heads)


def _plan_backbone(plan: _Plan, target: _Target, weights: Weights, label: str) -> None:
    """Plan the backbone's tensors; those of both sides that need not be there are noted."""
    unfilled: dict[str, Tensor] = {}
    used = set()
    for name, own in target.backbone.items():
        given = weights.backbone.get(name)
        if given is not None and _fits(own, given):
            plan.fills[target.prefix + name] = (own, given)
            used.add(name)
        elif target.may_lack(name):
            plan.missing += [] if name.endswith(_COUNTER) else [target.prefix + name]
        else:
            unfilled[name] = own
    left = {name: tensor for name, tensor in weights.backbone.items() if name not in used}
    plan.unexpected += [name for name in left if target.may_lack(name)]
    misfit = Misfit(unfilled, {name: tensor for name, tensor in left.items() if not target.may_lack(name)})
    if misfit and isinstance(target.net, ConvNeXt):
        raise refuse_convnext(target.net, weights, misfit, label)
    if misfit:
        raise refuse_other(type(target.net).__name__, weights, misfit, label)


def _plan_heads(plan: _Plan, target: _Target, weights: Weights) -> None:
    """Plan the tensors outside the backbone; a layer with a tensor that does not fit is left as a whole."""
    given = weights.heads
    shared = [name for name in target.heads if name in given]
    differing = {_layer(name) for name in shared if not _fits(target.heads[name], given[name])}
    for name, own in target.heads.items():
        if name not in given:
            if not name.endswith(_COUNTER):
                plan.missing.append(name)
        elif _layer(name) in differing:
            shapes = f"{tuple(given[name].shape)} in the file, {tuple(own.shape)} in the model"
            plan.reinitialised[name] = f"{name} {shapes}"
        else:
            plan.fills[name] = (own, given[name])
    plan.unexpected += [name for name in given if name not in target.heads]


def _fits(own: Tensor, given: Tensor) -> bool:
    return own.is_floating_point() == given.is_floating_point() and own.shape == given.shape


def _layer(name: str) -> str:
    return name.rpartition(".")[0]


def _report(plan: _Plan, target: _Target, weights: Weights, label: str) -> WeightReport:
    published = find_published(label)
    return WeightReport(
        source=label,
        family=weights.family,
        arch=arch_name(weights.arch).strip("'") if weights.arch else None,
        loaded=tuple(plan.fills),
        reshaped=tuple(n for n in plan.fills if n.removeprefix(target.prefix) in weights.reshaped),
        missing=tuple(plan.missing),
        reinitialised=tuple(plan.reinitialised),
        unexpected=tuple(plan.unexpected),
        licence=str(published.licence) if published else None,
    )


def _check_values(plan: _Plan, label: str) -> None:
    """Refuse a file with a value that is not finite, or that is not in the model's dtype."""
    for name, (own, given) in plan.fills.items():
        if own.is_floating_point() and not torch.isfinite(given.to(own.dtype)).all():
            finite = bool(torch.isfinite(given).all())
            kind = f"is too large for {own.dtype}" if finite else "is not finite (NaN or infinite)"
            raise UserError(
                f"a value of {name} {kind}",
                label,
                "load it into a float32 model"
                if finite
                else "the weights are damaged: use another checkpoint",
            )
