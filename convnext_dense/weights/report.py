"""What became of a file's tensors and of a model's: the report of a load, and the refusal of one."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from ..errors import UserError
from ..models.arch import Arch
from ..models.convnext import ConvNeXt
from .families import FAMILIES, Weights, arch_name, map_convnext
from .resolve import shorten

_LAYER_SCALE = re.compile(r"stages\.\d+\.\d+\.gamma")
_NEXT_LINE = "\n"  # UserError sets it below the text after `where:`


@dataclass(frozen=True)
class WeightReport:
    """The outcome of `load_weights`; `print(report)` shows it as a short table.

    Attributes:
        source: The file, folder or URL that was read.
        family: The family of checkpoints that it belongs to.
        arch: The size of ConvNeXt in it, as a config's `arch` has it; None for another backbone.
        loaded: The model's tensors that were filled.
        reshaped: Those of `loaded` whose shape in the file has other dimensions of size 1.
        missing: The model's tensors that the file lacks and that keep their values: output norms, heads.
        reinitialised: The model's head tensors that keep their values since the file's do not fit, e.g. for
            another number of classes.
        unexpected: The file's tensors that the model has no place for: a classifier, other heads.
        licence: The licence of published weights; None of others.
    """

    source: str
    family: str
    arch: str | None
    loaded: tuple[str, ...]
    reshaped: tuple[str, ...]
    missing: tuple[str, ...]
    reinitialised: tuple[str, ...]
    unexpected: tuple[str, ...]
    licence: str | None = None

    def __str__(self) -> str:
        rows = [
            ("weights", self.source),
            ("family", self.family),
            ("arch", self.arch or ""),
            ("loaded", _tensors(len(self.loaded))),
            ("reshaped", layers(self.reshaped)),
            ("not in the file", summary(self.missing)),
            ("re-initialised", layers(self.reinitialised)),
            ("not used", summary(self.unexpected)),
        ]
        return "\n".join(f"{label:<16}{text}" for label, text in rows if text)


def summary(names: Iterable[str]) -> str:
    """Say how many tensors there are and of which parts: `8 tensors: backbone.norm0 (2), decode_head (6)`."""
    parts = [name.split(".") for name in names]
    groups = Counter(".".join(p[: 2 if p[0] == "backbone" else 1]) for p in parts)
    return (
        f"{_tensors(len(parts))}: {shorten([f'{group} ({n})' for group, n in groups.items()])}"
        if parts
        else ""
    )


def layers(names: Iterable[str]) -> str:
    """Say how many tensors there are and of which layers: `2 tensors: decode_head.conv_seg`."""
    names = list(names)
    unique = dict.fromkeys(name.rpartition(".")[0] for name in names)
    return f"{_tensors(len(names))}: {shorten(list(unique))}" if names else ""


def _tensors(count: int) -> str:
    return f"{count} tensor" if count == 1 else f"{count} tensors"


@dataclass(frozen=True)
class Misfit:
    """The backbone tensors of both sides that found no counterpart of their shape."""

    model: Mapping[str, Tensor]
    file: Mapping[str, Tensor]

    def __bool__(self) -> bool:
        return bool(self.model or self.file)

    def lines(self) -> str:
        """List up to ten names of each side with their shapes."""
        sides = (("the model's, not filled", self.model), ("the file's, not used", self.file))
        return "".join(f"{_NEXT_LINE}{label} ({len(side)}): {_keys(side)}" for label, side in sides if side)


def _keys(tensors: Mapping[str, Tensor]) -> str:
    return shorten([f"{name} {tuple(tensor.shape)}" for name, tensor in tensors.items()])


def refuse_convnext(net: ConvNeXt, weights: Weights, misfit: Misfit, source: str) -> UserError:
    """Say how a checkpoint's ConvNeXt differs from the model's, and which config line to change."""
    wanted, found = net.arch, weights.arch
    if found is None:
        difference = f"ConvNeXt with a stage missing; the model is {_size(wanted)}"
        fix = "the checkpoint is incomplete: get it again"
    elif found != wanted:
        difference = f"{_size(found)}; the model is {_size(wanted)}"
        fix = f"set model.backbone.arch={arch_name(found)}"
        if found.dims != wanted.dims:
            fix += f", and the heads' or neck's in_channels to {list(found.dims)}"
        fix += f"; or give a checkpoint of arch={arch_name(wanted)}"
    else:
        detail, fix = _difference(net, weights)
        difference = f"{_size(found)}, as the model is, but {detail}"
    what = f"the checkpoint ({weights.family}) holds {difference}"
    return UserError(what, source + misfit.lines(), fix)


def _difference(net: ConvNeXt, weights: Weights) -> tuple[str, str]:
    """Say in what else but its size a checkpoint's ConvNeXt differs, and how to mend it."""
    stem = weights.backbone.get("downsample_layers.0.0.weight")
    if stem is not None and stem.ndim == 4 and stem.shape[1] != net.in_channels:
        channels = stem.shape[1]
        return (
            f"for images of {channels} channels, not {net.in_channels}",
            f"set model.backbone.in_channels={channels}",
        )
    option = "model.backbone.layer_scale_init_value"
    in_model, in_file = (
        any(map(_LAYER_SCALE.fullmatch, side)) for side in (net.state_dict(), weights.backbone)
    )
    if in_file and not in_model:
        return "with layer scale (gamma), which the model lacks", f"set {option}=1.0"
    if in_model and not in_file:
        return "without layer scale (gamma), which the model has", f"set {option}=0"
    return "some tensors are missing, of another shape or of another name", "get the checkpoint again"


def refuse_other(model_name: str, weights: Weights, misfit: Misfit, source: str) -> UserError:
    """Say that a file does not fit a backbone that is no ConvNeXt."""
    convnext = map_convnext(weights.backbone)
    found = f"; it holds {_size(convnext.arch)} ({convnext.family})" if convnext and convnext.arch else ""
    return UserError(
        f"the checkpoint does not fit the model's {model_name}{found}",
        source + misfit.lines(),
        "give a checkpoint of the same backbone, with the same tensor names",
    )


def refuse_unknown(net: ConvNeXt, state: Mapping[str, Tensor], source: str) -> UserError:
    """Say that a file holds no ConvNeXt, where the model is one."""
    return refuse_no_convnext(state, source, f"; the model is {_size(net.arch)}")


def refuse_no_convnext(state: Mapping[str, Tensor], source: str, wanted: str = "") -> UserError:
    """Say that a file holds no ConvNeXt at all."""
    known = ", ".join(family.name for family in FAMILIES)
    return UserError(
        f"the checkpoint holds no ConvNeXt of a known family{wanted}",
        f"{source}{_NEXT_LINE}its tensors ({len(state)}): {_keys(state)}",
        f"give a ConvNeXt checkpoint of one of these families: {known}",
    )


def refuse_incomplete(report: WeightReport, shapes: Mapping[str, str]) -> UserError:
    """Say which tensors of a whole model a file does not fill, where all are needed."""
    left = [*report.missing, *report.reinitialised]
    keys = shorten([shapes.get(name, name) for name in left])
    if report.reinitialised:
        fix = "test with the config that the checkpoint was trained with: its heads or classes differ"
    else:
        fix = "give a trained detector's or segmentor's checkpoint, with the config that it was trained with"
    return UserError(
        f"the checkpoint leaves {len(left)} of the model's tensors unfilled ({summary(left)})",
        f"{report.source}{_NEXT_LINE}the model's, not filled ({len(left)}): {keys}",
        fix,
    )


def _size(arch: Arch) -> str:
    return f"ConvNeXt {'V2' if arch.use_grn else 'V1'}, arch={arch_name(arch)}"
