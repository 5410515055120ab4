"""The `config.json` that makes a folder of weights one that transformers' `from_pretrained` reads."""

from __future__ import annotations

import re
from typing import Any

from ..models.arch import NUM_STAGES, Arch
from .families import Weights


def hugging_face_config(weights: Weights, arch: Arch, *, is_dinov3: bool) -> dict[str, Any]:
    """Return the config of the Hugging Face model that holds these weights.

    Weights do not show the scales of UperNet's pyramid pooling: with four they are taken for 1, 2, 3, 6, its
    published ones, otherwise for 1, 2, 3, ….

    Args:
        weights: A backbone, a classifier or an UperNet.
        arch: Its size.
        is_dinov3: Whether the model is one of DINOv3.
    """
    family = "DINOv3ConvNext" if is_dinov3 else f"ConvNext{'V2' if arch.use_grn else ''}"
    config: dict[str, Any] = {
        "model_type": "dinov3_convnext" if is_dinov3 else family.lower(),
        "num_channels": weights.backbone["downsample_layers.0.0.weight"].shape[1],
        "depths": list(arch.depths),
        "hidden_sizes": list(arch.dims),
    }
    if not arch.use_grn:
        config["layer_scale_init_value"] = 1e-6 if "stages.0.0.gamma" in weights.backbone else 0.0
    outputs = [i for i in range(NUM_STAGES) if f"norm{i}.weight" in weights.backbone]
    if outputs:
        config["out_features"] = [f"stage{i + 1}" for i in outputs]
    if any(name.startswith("decode_head.") for name in weights.heads):
        return _upernet(weights, {**config, "architectures": [f"{family}Backbone"]})
    if "head.weight" in weights.heads:
        config.update(_labels(weights.heads["head.weight"].shape[0]))
        return {"architectures": [f"{family}ForImageClassification"], **config}
    return {"architectures": [f"{family}{'Backbone' if outputs else 'Model'}"], **config}


def _upernet(weights: Weights, backbone: dict[str, Any]) -> dict[str, Any]:
    heads = weights.heads
    classifier = heads["decode_head.conv_seg.weight"]  # (classes, channels, 1, 1)
    scales = 1 + max(
        int(m[1]) for m in map(re.compile(r"decode_head\.psp_modules\.(\d+)\.").match, heads) if m
    )
    config = {
        "architectures": ["UperNetForSemanticSegmentation"],
        "model_type": "upernet",
        "backbone_config": backbone,
        "hidden_size": classifier.shape[1],
        "pool_scales": [1, 2, 3, 6] if scales == 4 else list(range(1, scales + 1)),
        **_labels(classifier.shape[0]),
    }
    first = heads.get("auxiliary_head.convs.0.conv.weight")  # (channels, channels of a map, 3, 3)
    config["use_auxiliary_head"] = first is not None
    if first is not None:
        convs = [name for name in heads if re.fullmatch(r"auxiliary_head\.convs\.\d+\.conv\.weight", name)]
        config.update(
            auxiliary_channels=first.shape[0],
            auxiliary_in_channels=first.shape[1],
            auxiliary_num_convs=len(convs),
            auxiliary_concat_input="auxiliary_head.conv_cat.conv.weight" in heads,
        )
    return config


def _labels(count: int) -> dict[str, Any]:
    names = {str(i): f"LABEL_{i}" for i in range(count)}
    return {"id2label": names, "label2id": {name: int(i) for i, name in names.items()}}
