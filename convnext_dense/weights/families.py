"""The families of ConvNeXt checkpoints: recognised, and renamed to this toolkit's names.

A family is one entry of `FAMILIES`, its names are one `Layout`. Names here are the original ones, which
`ConvNeXt` has; a dense model's have `backbone.` before them and its heads' beside them, as in OpenMMLab.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from ..models.arch import ARCHS, NUM_STAGES, Arch
from . import layouts
from .layouts import Layout
from .shapes import dense_bias, dense_kernel, original_shape


@dataclass(frozen=True)
class Family:
    """One kind of file.

    Attributes:
        name: What reports call it.
        layout: Its names.
        requires: Regular expression that some name of the file must match as well.
        dropped: Regular expression of what is taken out of every name first.
        head_words: (word here, word there) in the names of a dense model's heads.
    """

    name: str
    layout: Layout
    requires: str = ""
    dropped: str = ""
    head_words: tuple[tuple[str, str], ...] = ()

    def names(self, state: Iterable[str]) -> dict[str, str]:
        """Return the names of a file as the layout spells them, each with the file's."""
        return {re.sub(self.dropped, "", name) if self.dropped else name: name for name in state}

    def prefix_in(self, state: Iterable[str]) -> str | None:
        """Return the backbone's prefix in a file with these names; None if the file is of another family."""
        names = self.names(state)
        pattern = re.compile(rf"((?:.*\.)?){re.escape(self.layout.mark)}")
        prefixes = [match[1] for match in map(pattern.fullmatch, names) if match]
        if not prefixes or not any(re.search(self.requires, name) for name in names):
            return None
        return min(prefixes, key=len)

    def head_name(self, name: str) -> str:
        """Return this toolkit's name of a tensor outside the backbone."""
        renamed = self.layout.to_ours(name)
        if renamed and _CLASSIFIER.match(renamed):
            return renamed
        words = {theirs: ours for ours, theirs in self.head_words}
        return ".".join(words.get(word, word) for word in name.split("."))


ORIGINAL = Family("original", layouts.ORIGINAL)
MMPRETRAIN = Family("mmpretrain", layouts.MMPRETRAIN)
HUGGING_FACE = Family(
    "Hugging Face",
    layouts.HUGGING_FACE,
    dropped=r"(?:(?<=\.)|^)convnext(?:v2)?\.",
    head_words=(("bn", "batch_norm"), ("conv_seg", "classifier")),
)
HUGGING_FACE_DINOV3 = Family("Hugging Face DINOv3", layouts.HUGGING_FACE_DINOV3)
TIMM = Family("timm", layouts.TIMM)
TORCHVISION = Family("torchvision", layouts.TORCHVISION)
DINOV3 = replace(ORIGINAL, name="DINOv3", requires=r"(?:^|\.)norms\.3\.")
#: Of two families that name the backbone alike, the one that requires more comes first.
FAMILIES = (
    DINOV3,
    # This toolkit's checkpoints, and the original repository's fine-tuned detectors and segmentors.
    replace(ORIGINAL, name="OpenMMLab", requires=r"^backbone\."),
    ORIGINAL,
    Family("FCMAE", layouts.SPARSE),
    # mmdetection's and mmsegmentation's checkpoints.
    replace(MMPRETRAIN, name="OpenMMLab with mmpretrain's backbone", requires=r"^(?!backbone\.|head\.)"),
    MMPRETRAIN,
    replace(HUGGING_FACE, name="Hugging Face UperNet", requires=r"^decode_head\."),
    HUGGING_FACE,
    HUGGING_FACE_DINOV3,
    TIMM,
    replace(TIMM, name="timm, features only", layout=layouts.TIMM_FEATURES),
    TORCHVISION,
)
#: What a classification file has beside the backbone: its final LayerNorm, of which DINOv3 has a second copy,
#: and its linear layer.
_CLASSIFIER = re.compile(r"(norm|norms\.3|head)\.")
#: What every name of a backbone's part begins with.
_BACKBONE = re.compile(r"(stages|downsample_layers|norm\d)\.")


@dataclass(frozen=True)
class Weights:
    """A file's tensors under this toolkit's names, the backbone's in the original shapes.

    Attributes:
        family: The name of the family that they come from.
        arch: The size that they are of; None if they do not show it.
        backbone: The backbone's, by the names of `ConvNeXt.state_dict()`.
        heads: All others: `decode_head.*`, …, and of a classifier `norm.*` and `head.*`.
        reshaped: Names of the backbone's tensors that have another shape in the file.
    """

    family: str
    arch: Arch | None
    backbone: Mapping[str, Tensor]
    heads: Mapping[str, Tensor]
    reshaped: frozenset[str] = frozenset()


def map_convnext(state: Mapping[str, Tensor]) -> Weights | None:
    """Rename a file's tensors; None if it holds no ConvNeXt of a known family."""
    for family in FAMILIES:
        prefix = family.prefix_in(state)
        if prefix is not None:
            return _map(family, prefix, state)
    return None


def _map(family: Family, prefix: str, state: Mapping[str, Tensor]) -> Weights:
    backbone: dict[str, Tensor] = {}
    heads: dict[str, Tensor] = {}
    reshaped = set()
    for name, in_file in family.names(state).items():
        given = state[in_file]
        inner = name.removeprefix(prefix) if name.startswith(prefix) else ""
        renamed = family.layout.to_ours(inner) or inner
        if _CLASSIFIER.match(renamed):
            _put(heads, renamed, in_file, given)
        elif inner and (prefix or _BACKBONE.match(renamed)):
            renamed, tensor = _as_original(family.layout, renamed, given)
            _put(backbone, renamed, in_file, tensor)
            if tensor.shape != given.shape:
                reshaped.add(renamed)
        else:
            _put(heads, family.head_name(name), in_file, given)
    if family.layout.has_one_name_for_two_norms:
        _tell_final_norm(backbone, heads)
    return Weights(family.name, infer_arch(backbone), backbone, heads, frozenset(reshaped))


def _put(tensors: dict[str, Tensor], name: str, in_file: str, tensor: Tensor) -> None:
    """Add a tensor; a second one of a name keeps the file's, so that it is seen and not lost."""
    tensors[in_file if name in tensors else name] = tensor


def _as_original(layout: Layout, name: str, tensor: Tensor) -> tuple[str, Tensor]:
    if layout.kernel != "weight":
        if name.endswith(f".{layout.kernel}"):
            return name.removesuffix(layout.kernel) + "weight", dense_kernel(tensor)
        if name.endswith(".bias"):
            tensor = dense_bias(tensor)
    return name, original_shape(name, tensor)


def _tell_final_norm(backbone: dict[str, Tensor], heads: dict[str, Tensor]) -> None:
    """Take `norm3` of a classification file of mmpretrain for what it is: the classifier's LayerNorm.

    A dense model has the other output norms as well, or heads of its own.
    """
    is_dense = any(map(re.compile(r"norm[0-2]\.").match, backbone)) or any(
        not _CLASSIFIER.match(name) for name in heads
    )
    if not is_dense:
        for part in ("weight", "bias"):
            if f"norm3.{part}" in backbone:
                heads[f"norm.{part}"] = backbone.pop(f"norm3.{part}")


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
