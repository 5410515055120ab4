"""What each family of checkpoints calls the parts of a ConvNeXt: one table, read in both directions.

In the templates i is a stage and j a block, both from 0; n = i + 1, a = 2 i, b = 2 i + 1. Sources of the
names: the code of facebookresearch/ConvNeXt and ConvNeXt-V2, facebookresearch/dinov3, transformers, timm,
torchvision and mmpretrain.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

from ..models.arch import NUM_STAGES

#: The parts of a block by their names here, in the order of `Layout.parts`.
PARTS = ("dwconv", "norm", "pwconv1", "pwconv2", "gamma", "grn.gamma", "grn.beta")
_FLAT_GRN = (("grn.gamma", (-1,)), ("grn.beta", (-1,)))


@dataclass(frozen=True)
class Layout:
    """The names of one family, without the prefix that its files put before the backbone's.

    Attributes:
        stem: The stem's convolution and LayerNorm.
        down: The LayerNorm and the convolution before stage i ≥ 1.
        block: Block j of stage i.
        parts: Of a block, in the order of `PARTS`; '' for what this family has no place for.
        final_norm: The LayerNorm between the last stage and the classifier.
        classifier: The linear layer after it, which stands outside the prefix.
        output_norm: The LayerNorm of stage i's returned map; '' if maps are returned without.
        shapes: Shapes of parts that differ from the original's, as `Tensor.reshape` takes them; 0 keeps a
            dimension as it is.
        kernel: What the weights of convolutions are called.
        aliases: (name here, name there) of what some files call otherwise; read, never written.
    """

    stem: tuple[str, str]
    down: tuple[str, str]
    block: str
    parts: tuple[str, ...]
    final_norm: str = ""
    classifier: str = ""
    output_norm: str = ""
    shapes: tuple[tuple[str, tuple[int, ...]], ...] = ()
    kernel: str = "weight"
    aliases: tuple[tuple[str, str], ...] = ()

    @property
    def mark(self) -> str:
        """The name of the first block's depthwise weight, by which a file of this layout is recognised."""
        return f"{self.block}.{self.parts[0]}.{self.kernel}".format(j=0, **_indices(0))

    @property
    def has_one_name_for_two_norms(self) -> bool:
        """Whether the classifier's LayerNorm is called as the last output's is."""
        return self.final_norm == self.output_norm.format(**_indices(NUM_STAGES - 1)) != ""

    def rows(self) -> Iterator[tuple[str, str]]:
        """Yield (name here, name there) of every part; block numbers are left as `{j}`."""
        yield "downsample_layers.0.0", self.stem[0]
        yield "downsample_layers.0.1", self.stem[1]
        for i in range(NUM_STAGES):
            at = {"j": "{j}", **_indices(i)}
            if i:
                for k, name in enumerate(self.down):
                    yield f"downsample_layers.{i}.{k}", name.format(**at)
            for ours, theirs in zip(PARTS, self.parts, strict=True):
                if theirs:
                    yield f"stages.{i}.{{j}}.{ours}", f"{self.block}.{theirs}".format(**at)
            if self.output_norm:
                yield f"norm{i}", self.output_norm.format(**at)
        yield from (
            (ours, theirs)
            for ours, theirs in (("norm", self.final_norm), ("head", self.classifier))
            if theirs
        )

    def to_ours(self, name: str) -> str | None:
        """Return the original name of a tensor of this layout, prefix removed; None if it is no part."""
        return _renamed(name, _patterns(self, inverse=True))

    def to_theirs(self, name: str) -> str | None:
        """Return this layout's name of a tensor by its original one, without prefix; None if it has none."""
        return _renamed(name, _patterns(self, inverse=False))


def _indices(i: int) -> dict[str, int]:
    return {"i": i, "n": i + 1, "a": 2 * i, "b": 2 * i + 1}


def _renamed(name: str, patterns: tuple[tuple[re.Pattern[str], str], ...]) -> str | None:
    for pattern, replacement in patterns:
        if match := pattern.match(name):
            return match.expand(replacement) + name[match.end() :]
    return None


@cache
def _patterns(layout: Layout, inverse: bool) -> tuple[tuple[re.Pattern[str], str], ...]:
    rows = [(ours, theirs) for ours, theirs in layout.rows()]
    if inverse:
        rows = [(theirs, ours) for ours, theirs in (*rows, *layout.aliases)]
    return tuple(
        (
            re.compile(re.escape(source).replace(r"\{j\}", r"(\d+)") + r"(?=\.|$)"),
            target.replace("{j}", r"\1"),
        )
        for source, target in rows
    )


ORIGINAL = Layout(
    stem=("downsample_layers.0.0", "downsample_layers.0.1"),
    down=("downsample_layers.{i}.0", "downsample_layers.{i}.1"),
    block="stages.{i}.{j}",
    parts=PARTS,
    final_norm="norm",
    classifier="head",
    output_norm="norm{i}",
)
#: FCMAE's encoder on sparse tensors: layers are wrapped, and a kernel's positions are one dimension.
SPARSE = Layout(
    stem=("downsample_layers.0.0", "downsample_layers.0.1"),
    down=("downsample_layers.{i}.0.ln", "downsample_layers.{i}.1"),
    block="stages.{i}.{j}",
    parts=("dwconv", "norm.ln", "pwconv1.linear", "pwconv2.linear", "", "grn.gamma", "grn.beta"),
    kernel="kernel",
)
MMPRETRAIN = Layout(
    stem=("downsample_layers.0.0", "downsample_layers.0.1"),
    down=("downsample_layers.{i}.0", "downsample_layers.{i}.1"),
    block="stages.{i}.{j}",
    parts=(
        "depthwise_conv",
        "norm",
        "pointwise_conv1",
        "pointwise_conv2",
        "gamma",
        "grn.gamma",
        "grn.beta",
    ),
    final_norm="norm3",  # one name for two: the classifier's and the last output's
    classifier="head.fc",
    output_norm="norm{i}",
    shapes=_FLAT_GRN,
)
TIMM = Layout(
    stem=("stem.0", "stem.1"),
    down=("stages.{i}.downsample.0", "stages.{i}.downsample.1"),
    block="stages.{i}.blocks.{j}",
    parts=("conv_dw", "norm", "mlp.fc1", "mlp.fc2", "gamma", "mlp.grn.weight", "mlp.grn.bias"),
    final_norm="head.norm",
    classifier="head.fc",
    shapes=_FLAT_GRN,
    aliases=(("norm", "norm_pre"),),  # of models that normalise before they pool
)
#: timm's sizes up to nano have 1×1 convolutions for linear layers: `conv_mlp=True`.
TIMM_CONVOLUTIONS = replace(
    TIMM, shapes=(*_FLAT_GRN, ("pwconv1.weight", (0, 0, 1, 1)), ("pwconv2.weight", (0, 0, 1, 1)))
)
#: timm's `features_only=True`, which makes one name of the first two.
TIMM_FEATURES = Layout(
    stem=("stem_0", "stem_1"),
    down=("stages_{i}.downsample.0", "stages_{i}.downsample.1"),
    block="stages_{i}.blocks.{j}",
    parts=TIMM.parts,
    shapes=_FLAT_GRN,
)
TORCHVISION = Layout(
    stem=("features.0.0", "features.0.1"),
    down=("features.{a}.0", "features.{a}.1"),
    block="features.{b}.{j}",
    parts=("block.0", "block.2", "block.3", "block.5", "layer_scale", "", ""),
    final_norm="classifier.0",
    classifier="classifier.2",
    shapes=(("gamma", (0, 1, 1)),),
)
HUGGING_FACE = Layout(
    stem=("embeddings.patch_embeddings", "embeddings.layernorm"),
    down=("encoder.stages.{i}.downsampling_layer.0", "encoder.stages.{i}.downsampling_layer.1"),
    block="encoder.stages.{i}.layers.{j}",
    parts=("dwconv", "layernorm", "pwconv1", "pwconv2", "layer_scale_parameter", "grn.weight", "grn.bias"),
    final_norm="layernorm",
    classifier="classifier",
    output_norm="hidden_states_norms.stage{n}",
    aliases=tuple((f"norm{i}", f"hidden_states_norms.{i}") for i in range(NUM_STAGES)),  # as of 2022
)
HUGGING_FACE_DINOV3 = Layout(
    stem=("stages.0.downsample_layers.0", "stages.0.downsample_layers.1"),
    down=("stages.{i}.downsample_layers.0", "stages.{i}.downsample_layers.1"),
    block="stages.{i}.layers.{j}",
    parts=("depthwise_conv", "layer_norm", "pointwise_conv1", "pointwise_conv2", "gamma", "", ""),
    final_norm="layer_norm",
)
