"""UperNet of the shipped configs against Hugging Face's, with the same weights."""

from __future__ import annotations

import pytest
import torch
from mmengine.config import Config
from torch import nn

from convnext_dense.weights import load_weights

from .shipped import CONFIGS, build_model

transformers = pytest.importorskip("transformers")

DEPTHS, DIMS, CHANNELS, NUM_CLASSES = (1, 2, 3, 1), (8, 16, 24, 40), 24, 13


@pytest.fixture(
    scope="module", params=[("upernet_convnext_t", "ConvNext"), ("upernet_convnextv2_b", "ConvNextV2")]
)
def pair(request, tmp_path_factory):
    """Hugging Face's model, and the config's with its weights read from the saved folder."""
    name, family = request.param
    torch.manual_seed(0)
    backbone = getattr(transformers, f"{family}Config")(
        depths=list(DEPTHS), hidden_sizes=list(DIMS), out_features=[f"stage{i}" for i in (1, 2, 3, 4)]
    )
    config = transformers.UperNetConfig(
        backbone_config=backbone,
        hidden_size=CHANNELS,
        num_labels=NUM_CLASSES,
        auxiliary_in_channels=DIMS[2],
        auxiliary_channels=CHANNELS,
    )
    theirs = transformers.UperNetForSemanticSegmentation(config)
    randomise(theirs)
    folder = tmp_path_factory.mktemp("upernet")
    theirs.save_pretrained(folder)

    cfg = Config.fromfile(CONFIGS / f"{name}.py")
    cfg.model.backbone.update(
        arch={"depths": DEPTHS, "dims": DIMS, "use_grn": family == "ConvNextV2"}, init_cfg=None
    )
    cfg.model.decode_head.update(in_channels=DIMS, channels=CHANNELS, num_classes=NUM_CLASSES)
    cfg.model.auxiliary_head.update(in_channels=DIMS[2], channels=CHANNELS, num_classes=NUM_CLASSES)
    ours = build_model(cfg)
    report = load_weights(ours, folder)
    assert not report.missing
    assert not report.unexpected
    return ours.eval(), theirs.eval()


def randomise(model: nn.Module) -> None:
    """Draw everything that starts at 0 or 1: a swapped or skipped one would not show otherwise."""
    for parameter in model.parameters():
        if parameter.ndim == 1 or parameter.numel() == max(parameter.shape):
            nn.init.normal_(parameter, std=0.5)
        else:
            nn.init.trunc_normal_(parameter, std=0.1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.5)
            nn.init.uniform_(module.running_var, 0.5, 2.0)


@pytest.mark.parametrize("size", [(128, 128), (109, 139)])
def test_the_logits_are_the_same(pair, size):
    ours, theirs = pair
    images = torch.randn(2, 3, *size)
    with torch.no_grad():
        logits = nn.functional.interpolate(ours(images), size=size, mode="bilinear", align_corners=False)
        expected = theirs(images).logits
    assert expected.abs().max() > 0.1
    assert expected.std(dim=(2, 3)).min() > 1e-3, "a constant map would show nothing"
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)


def test_the_auxiliary_logits_are_the_same(pair):
    ours, theirs = pair
    images = torch.randn(1, 3, 96, 128)
    with torch.no_grad():
        logits = ours.auxiliary_head(ours.extract_feat(images))
        expected = theirs.auxiliary_head(theirs.backbone.forward_with_filtered_kwargs(images).feature_maps)
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
