"""The families of ConvNeXt checkpoints: how each names its tensors, in this toolkit's names.

A family is one entry of `FAMILIES`. Names on the right are the original ones, which `ConvNeXt` has; a dense
model's have `backbone.` before them and its heads' beside them, as in OpenMMLab.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from ..models.arch import ARCHS, NUM_STAGES, Arch

Rules = tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...]


@dataclass(frozen=True)
class Family:
    """One way of naming the tensors of a ConvNeXt.

    Attributes:
        name: What reports call it.
        mark: Regular expression of the name of the first block's depthwise convolution, by which the family
            is recognised. What comes before it in the file is the backbone's prefix there.
        requires: Regular expression that some name of the file must match as well.
        rules: Substitutions applied one after another to a backbone tensor's name, prefix removed.
        head_rules: The same for the names outside the prefix.
    """

    name: str
    mark: str
    requires: str = ""
    rules: Rules = ()
    head_rules: Rules = ()

    def prefix_in(self, names: Iterable[str]) -> str | None:
        """Return the backbone's prefix in a file with these names; None if the file is of another family."""
        names = list(names)
        pattern = re.compile(rf"(.*?){self.mark}")
        prefixes = [match[1] for match in map(pattern.fullmatch, names) if match]
        if not prefixes or not any(re.search(self.requires, name) for name in names):
            return None
        return min(prefixes, key=len)


ORIGINAL = Family("original", mark=r"stages\.0\.0\.dwconv\.weight")
HUGGING_FACE = Family(
    "Hugging Face",
    mark=r"(?:convnext(?:v2)?\.)?encoder\.stages\.0\.layers\.0\.dwconv\.weight",
    rules=(
        (r"^convnext(v2)?\.", ""),
        (r"^embeddings\.patch_embeddings\.", "downsample_layers.0.0."),
        (r"^embeddings\.layernorm\.", "downsample_layers.0.1."),
        (r"^encoder\.stages\.(\d+)\.downsampling_layer\.", r"downsample_layers.\1."),
        (r"^encoder\.stages\.(\d+)\.layers\.", r"stages.\1."),
        (r"^hidden_states_norms\.stage(\d+)\.", lambda match: f"norm{int(match[1]) - 1}."),
        (r"^hidden_states_norms\.(\d+)\.", r"norm\1."),  # as converted in 2022
        (r"(^|\.)layernorm\.", r"\1norm."),
        (r"\.layer_scale_parameter$", ".gamma"),
        (r"\.grn\.weight$", ".grn.gamma"),
        (r"\.grn\.bias$", ".grn.beta"),
        (r"^classifier\.", "head."),
    ),
    head_rules=(
        (r"\.batch_norm\.", ".bn."),
        (r"^(decode_head|auxiliary_head)\.classifier\.", r"\1.conv_seg."),
    ),
)
#: Of two families that name the backbone alike, the one that requires more comes first.
FAMILIES = (
    # This toolkit's checkpoints, and the original repository's fine-tuned detectors and segmentors.
    replace(ORIGINAL, name="OpenMMLab", requires=r"^backbone\."),
    ORIGINAL,
    replace(HUGGING_FACE, name="Hugging Face UperNet", requires=r"^decode_head\."),
    HUGGING_FACE,
)
#: The classifier of an ImageNet file: its final LayerNorm and its linear layer.
_CLASSIFIER = re.compile(r"(norm|head)\.")


@dataclass(frozen=True)
class Weights:
    """A file's tensors under this toolkit's names.

    Attributes:
        family: The name of the family that they come from.
        arch: The size that they are of; None if they do not show it.
        backbone: The backbone's, by the names of `ConvNeXt.state_dict()`.
        heads: All others: `decode_head.*`, …, and of a classifier `norm.*` and `head.*`.
    """

    family: str
    arch: Arch | None
    backbone: Mapping[str, Tensor]
    heads: Mapping[str, Tensor]


def map_convnext(state: Mapping[str, Tensor]) -> Weights | None:
    """Rename a file's tensors; None if it holds no ConvNeXt of a known family."""
    for family in FAMILIES:
        prefix = family.prefix_in(state)
        if prefix is None:
            continue
        backbone: dict[str, Tensor] = {}
        heads: dict[str, Tensor] = {}
        for name, tensor in state.items():
            if not name.startswith(prefix):
                heads[_rename(name, family.head_rules)] = tensor
                continue
            renamed = _rename(name.removeprefix(prefix), family.rules)
            (heads if _CLASSIFIER.match(renamed) else backbone)[renamed] = tensor
        return Weights(family.name, infer_arch(backbone), backbone, heads)
    return None


def _rename(name: str, rules: Rules) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def infer_arch(backbone: Mapping[str, Tensor]) -> Arch | None:
    """Return the size that a backbone's tensors show; None if a stage is missing."""
    dims, depths = [], []
    for i in range(NUM_STAGES):
        weight = backbone.get(f"stages.{i}.0.dwconv.weight")
        if weight is None or weight.ndim != 4:
            return None
        dims.append(weight.shape[0])
        blocks = map(re.compile(rf"stages\.{i}\.(\d+)\.").match, backbone)
        depths.append(1 + max(int(match[1]) for match in blocks if match))
    return Arch(tuple(depths), tuple(dims), use_grn=any(".grn." in name for name in backbone))


def arch_name(arch: Arch | None) -> str:
    """Return the value of `arch` in a config that builds this size: `'base'`, or `dict(depths=…, …)`."""
    if arch is None:
        return "unknown"
    for name, published in ARCHS.items():
        if arch == published:
            return repr(name)
    grn = ", use_grn=True" if arch.use_grn else ""
    return f"dict(depths={arch.depths}, dims={arch.dims}{grn})"
