"""Toy segmentors: OpenMMLab's, and Hugging Face's UperNet saved in a folder."""

from __future__ import annotations

from pathlib import Path

from mmengine.registry import MODELS
from torch import nn
from transformers import ConvNextConfig, UperNetConfig, UperNetForSemanticSegmentation

import convnext_dense.register  # noqa: F401

from .toys import V1, randomise

CLASSES = 7
RESNET = {
    "type": "mmseg.ResNet",
    "depth": 18,
    "base_channels": 4,
    "stem_channels": 4,
    "norm_cfg": {"type": "BN"},
}


def segmentor(classes: int = CLASSES, encoder: dict | None = None, width: int = 16) -> nn.Module:
    import mmseg.models  # noqa: F401

    channels = list(V1["dims"]) if encoder is None else [4, 8, 16, 32]
    common = {
        "num_classes": classes,
        "norm_cfg": {"type": "BN"},
        "align_corners": False,
        "dropout_ratio": 0.1,
    }
    model = MODELS.build(
        {
            "type": "mmseg.EncoderDecoder",
            "backbone": encoder or {"type": "ConvNeXt", "arch": V1},
            "decode_head": {
                "type": "mmseg.UPerHead",
                "in_channels": channels,
                "in_index": [0, 1, 2, 3],
                "pool_scales": (1, 2, 3, 6),
                "channels": width,
                **common,
            },
            "auxiliary_head": {
                "type": "mmseg.FCNHead",
                "in_channels": channels[2],
                "in_index": 2,
                "channels": 12,
                "num_convs": 1,
                "concat_input": False,
                **common,
            },
        }
    )
    return model.eval()


def hugging_face_upernet(folder: Path) -> nn.Module:
    """Return Hugging Face's UperNet, which is saved in `folder`."""
    config = ConvNextConfig(
        depths=list(V1["depths"]),
        hidden_sizes=list(V1["dims"]),
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    theirs = UperNetForSemanticSegmentation(
        UperNetConfig(
            backbone_config=config,
            hidden_size=16,
            auxiliary_in_channels=V1["dims"][2],
            auxiliary_channels=12,
            num_labels=CLASSES,
        )
    )
    randomise(theirs).save_pretrained(folder)
    return theirs
