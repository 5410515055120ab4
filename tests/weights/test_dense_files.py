"""Files of whole detectors and segmentors of other repositories, and converting them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn
from transformers import UperNetForSemanticSegmentation

from convnext_dense import UserError
from convnext_dense.engine.config import load_config
from convnext_dense.engine.libraries import load_libraries
from convnext_dense.testing import shrink
from convnext_dense.weights import convert_weights, load_weights

from . import foreign
from .segmentors import hugging_face_upernet, segmentor
from .toys import assert_same, backbone, images, randomise, save, state_of

transformers.utils.logging.disable_progress_bar()
CONFIGS = Path(__file__).parents[2] / "configs"
DETECTORS = ["mask_rcnn_convnext_t", "cascade_mask_rcnn_convnext_t"]


def _detector(config: str, folder: Path) -> nn.Module:
    load_libraries("mmdet")
    cfg = shrink(load_config(CONFIGS / f"{config}.py"), folder)
    cfg.model.backbone.init_cfg = None
    with DefaultScope.overwrite_default_scope("mmdet"):
        return randomise(MODELS.build(cfg.model))


def _names_of_2021(config: str) -> list[str]:
    """Return the layers of the heads in the original repository's files, of mmdetection 2.x."""
    necks = [f"neck.{part}.{k}.conv" for part in ("lateral_convs", "fpn_convs") for k in range(4)]
    rpn = [f"rpn_head.{part}" for part in ("rpn_conv", "rpn_cls", "rpn_reg")]
    if config.startswith("mask"):
        stages, shared = [""], ["shared_fcs.0", "shared_fcs.1"]
    else:
        stages = [".0", ".1", ".2"]
        shared = [f"shared_convs.{k}.{part}" for k in range(4) for part in ("conv", "bn")] + ["shared_fcs.0"]
    box = [f"roi_head.bbox_head{s}.{part}" for s in stages for part in (*shared, "fc_cls", "fc_reg")]
    convs = [f"convs.{k}.conv" for k in range(4)]
    mask = [f"roi_head.mask_head{s}.{part}" for s in stages for part in (*convs, "upsample", "conv_logits")]
    return [*necks, *rpn, *box, *mask]


def _old_checkpoint(state: dict[str, Tensor]) -> dict:
    """Return what mmcv 1.x and apex saved."""
    return {
        "meta": {"mmcv_version": "1.3.9", "config": "model = dict()", "CLASSES": ("a", "b"), "PALETTE": None},
        "state_dict": state,
        "optimizer": {"state": {0: {"step": 3, "exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 1e-4}]},
        "amp": {"loss_scaler0": {"loss_scale": 65536.0, "unskipped": 1}},
    }


@pytest.mark.parametrize("config", DETECTORS)
def test_a_fine_tuned_detector_of_the_original_repository(config: str, tmp_path: Path) -> None:
    source = _detector(config, tmp_path)
    state = state_of(source)
    heads = {name.rpartition(".")[0] for name in state if not name.startswith("backbone.")}
    assert heads == set(_names_of_2021(config))
    ours = _detector(config, tmp_path)
    report = load_weights(ours, save(_old_checkpoint(state), tmp_path / "net.pth"), heads="require")
    assert not (report.missing or report.unexpected or report.reinitialised)
    assert_same(ours, state)


@pytest.mark.parametrize("config", DETECTORS)
def test_a_detector_of_mmdetection(config: str, tmp_path: Path) -> None:
    """Its backbone is mmpretrain's."""
    source = _detector(config, tmp_path)
    heads = {name: t for name, t in state_of(source).items() if not name.startswith("backbone.")}
    body = {f"backbone.{name}": t for name, t in foreign.mmpretrain(source.backbone).items()}
    ours = _detector(config, tmp_path)
    report = load_weights(ours, save(_old_checkpoint(body | heads), tmp_path / "net.pth"), heads="require")
    assert report.family == "OpenMMLab with mmpretrain's backbone"
    assert_same(ours, source.state_dict())

    convert_weights(tmp_path / "net.pth", tmp_path / "original.pth", "original")
    converted = torch.load(tmp_path / "original.pth")
    assert set(converted["state_dict"]) == set(source.state_dict())
    assert converted["meta"] == {"CLASSES": ("a", "b"), "PALETTE": None}
    convert_weights(tmp_path / "original.pth", tmp_path / "again.pth", "mmpretrain")
    again = torch.load(tmp_path / "again.pth")["state_dict"]
    assert set(again) == set(body | heads)
    assert all(torch.equal(again[name], tensor) for name, tensor in (body | heads).items())


def test_a_fine_tuned_segmentor_of_the_original_repository(tmp_path: Path) -> None:
    source = randomise(segmentor())
    state = {n: t for n, t in state_of(source).items() if not n.endswith("num_batches_tracked")}
    layers = {name.rpartition(".")[0].removesuffix(".conv").removesuffix(".bn") for name in state}
    assert {name for name in layers if not name.startswith("backbone.")} == {
        *(f"decode_head.psp_modules.{k}.1" for k in range(4)),
        *(f"decode_head.{part}.{k}" for part in ("lateral_convs", "fpn_convs") for k in range(3)),
        *("decode_head.bottleneck", "decode_head.fpn_bottleneck", "decode_head.conv_seg"),
        *("auxiliary_head.convs.0", "auxiliary_head.conv_seg"),
    }
    ours = segmentor()
    load_weights(ours, save(_old_checkpoint(state), tmp_path / "net.pth"), heads="require")
    assert_same(ours, source.state_dict())


def test_a_segmentor_of_mmsegmentation(tmp_path: Path) -> None:
    """Its backbone is mmpretrain's: other names for the same layers, its heads are the same."""
    source = randomise(segmentor())
    heads = {name: t for name, t in state_of(source).items() if not name.startswith("backbone.")}
    state = {f"backbone.{name}": t for name, t in foreign.mmpretrain(source.backbone).items()} | heads
    file = save({"state_dict": state, "meta": {"CLASSES": ["a"], "PALETTE": None}}, tmp_path / "net.pth")
    ours = segmentor()
    report = load_weights(ours, file, heads="require")
    assert report.family == "OpenMMLab with mmpretrain's backbone"
    assert_same(ours, source.state_dict())


def test_a_segmentor_of_mmsegmentation_that_returns_one_map() -> None:
    """Its `norm3` is the last map's, not a classifier's."""
    source = randomise(backbone(out_indices=(3,)))
    state = {f"backbone.{name}": t for name, t in foreign.mmpretrain(source).items()}
    net = backbone(out_indices=(3,))
    load_weights(net, state | {"decode_head.conv_seg.weight": torch.ones(5, 32, 1, 1)})
    assert_same(net, source.state_dict())


def test_upernet_is_converted_both_ways(tmp_path: Path) -> None:
    """To OpenMMLab's form and back, to what Hugging Face itself reads; and between the OpenMMLab forms."""
    folder = tmp_path / "upernet"
    theirs = hugging_face_upernet(folder)
    convert_weights(folder, tmp_path / "original.pth", "original")
    assert list(torch.load(tmp_path / "original.pth")) == ["state_dict"]
    load_weights(segmentor(), tmp_path / "original.pth", heads="require")

    convert_weights(tmp_path / "original.pth", tmp_path / "mm.pth", "mmpretrain")
    ours = segmentor()
    report = load_weights(ours, tmp_path / "mm.pth", heads="require")
    assert report.family == "OpenMMLab with mmpretrain's backbone"

    assert "UperNet" in convert_weights(folder, tmp_path / "again.pth", "original")
    convert_weights(tmp_path / "mm.pth", tmp_path / "back", "hf")
    again = UperNetForSemanticSegmentation.from_pretrained(tmp_path / "back").eval()
    assert_same(again, theirs.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(
            again(images(96, 80)).logits, theirs(images(96, 80)).logits, rtol=0, atol=0
        )


def test_a_checkpoint_of_ours_stays_one_that_predicts(tmp_path: Path) -> None:
    """Classes and the config as data go along when the names change; text that is code does not."""
    meta = {"dataset_meta": {"classes": ["a"]}, "config_json": "{}", "cfg": "model = dict()", "iter": 3}
    file = save({"state_dict": state_of(segmentor()), "meta": meta}, tmp_path / "iter_3.pth")
    convert_weights(file, tmp_path / "mm.pth", "mmpretrain")
    kept = torch.load(tmp_path / "mm.pth")["meta"]
    assert kept == {"dataset_meta": {"classes": ["a"]}, "config_json": "{}"}


@pytest.mark.parametrize("to", ["timm", "hf", "torchvision"])
def test_a_detector_has_no_place_in_other_libraries(to: str, tmp_path: Path) -> None:
    state = {f"backbone.{name}": t for name, t in state_of(backbone()).items() if not name.startswith("norm")}
    file = save(state | {"rpn_head.rpn_conv.weight": torch.ones(2)}, tmp_path / "net.pth")
    out = tmp_path / ("net.bin" if to == "hf" else "net_2.pth")
    with pytest.raises(UserError, match=rf"{to} has no place for 1 tensor: rpn_head"):
        convert_weights(file, out, to)
    convert_weights(file, out, to, lossy=True)
    net = backbone()
    load_weights(net, out)
    assert torch.equal(net.stages[3][0].pwconv1.weight, state["backbone.stages.3.0.pwconv1.weight"])
