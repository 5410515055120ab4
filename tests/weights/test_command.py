"""`convnext-dense convert-weights`: what its user sees."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from convnext_dense import cli
from convnext_dense.cli import weights as verb
from convnext_dense.weights import describe_weights, load_weights
from convnext_dense.weights.convert import FORMATS

from . import foreign
from .toys import V1, V2, assert_same, backbone, classifier_state, randomise, save, state_of


def _run(capsys: pytest.CaptureFixture, *words: object) -> tuple[int, str]:
    code = cli.main(["convert-weights", *map(str, words)])
    captured = capsys.readouterr()
    return code, captured.out + captured.err


def test_the_formats_of_the_command_line_are_all() -> None:
    assert verb.FORMATS == FORMATS


def test_a_file_is_converted_and_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    source = randomise(backbone(V2))
    file = save({"model": classifier_state(source)}, tmp_path / "net.pth")
    code, text = _run(capsys, file, tmp_path / "timm.safetensors", "--to", "timm")
    assert code == 0 and "original" in text and "classifier" in text and "stem (4)" in text
    load_weights(backbone(V2), tmp_path / "timm.safetensors")

    again = (file, tmp_path / "timm.safetensors", "--to", "timm")
    code, text = _run(capsys, *again)
    assert code == 2 and "is there already" in text and "--overwrite" in text
    assert _run(capsys, *again, "--overwrite")[0] == 0


def test_lossy_says_what_it_left_out(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    file = save(state_of(backbone(V1)), tmp_path / "net.pth")
    assert _run(capsys, file, tmp_path / "out.pth", "--to", "torchvision")[0] == 2
    code, text = _run(capsys, file, tmp_path / "out.pth", "--to", "torchvision", "--lossy")
    assert code == 0 and "left out, as torchvision has no place for it: 8 tensors: norm0 (2)" in text


def test_the_licence_of_published_weights_is_told(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    file = save({"model": classifier_state(backbone(V2))}, tmp_path / "convnextv2_atto_1k_224_ema.pt")
    for words in (("--inspect",), (tmp_path / "out.pth", "--to", "timm")):
        code, text = _run(capsys, file, *words)
        assert code == 0 and "CC BY-NC 4.0 (not for commercial use)" in text


def test_the_list_of_published_weights(capsys: pytest.CaptureFixture) -> None:
    code, text = _run(capsys, "--list")
    assert code == 0
    assert "cascade_mask_rcnn_convnext_xlarge_22k_3x   MIT             COCO box AP 55.2, mask AP 47.7" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no checkpoint is named"),
        (["net.pth"], "OUT is missing"),
        (["net.pth", "out.pth"], "--to is missing"),
        (["net.pth", "out.pth", "--inspect"], "--inspect writes nothing"),
        (["absent.pth", "out.pth", "--to", "timm"], "no such weights file"),
        (["convnext_tiny_2k", "--inspect"], "did you mean 'convnext_tiny_22k'?"),
    ],
)
def test_mistakes(words: list[str], message: str, capsys: pytest.CaptureFixture) -> None:
    code, text = _run(capsys, *words)
    assert code == 2 and message in text and "Traceback" not in text


def _dense(state: dict, **heads: torch.Tensor) -> dict:
    return {f"backbone.{n}": t for n, t in state.items()} | {
        n.replace("__", "."): t for n, t in heads.items()
    }


SEGMENTOR = _dense(state_of(backbone(V1)), decode_head__conv_seg__weight=torch.ones(3, 8, 1, 1))
DETECTOR = _dense(foreign.mmpretrain(backbone(V1)), roi_head__bbox_head__0__fc_cls__weight=torch.ones(81, 8))
INSPECTED: dict[str, tuple[dict, list[str]]] = {
    "original": (
        {"model": classifier_state(backbone("v2_atto"))},
        ["original", "'v2_atto': ConvNeXt V2, without layer scale", "classification", "stem (40, 3, 4, 4)"],
    ),
    "torchvision": (
        foreign.torchvision(backbone(V1)),
        ["torchvision", "depths=(1, 1, 2, 1)", "with layer scale", "classification", "classes       5"],
    ),
    "FCMAE": ({"model": foreign.fcmae(backbone(V2))}, ["FCMAE", "masked pre-training", "decoder"]),
    "segmentor": (
        {"state_dict": SEGMENTOR, "meta": {"CLASSES": ("sky", "road", "car")}, "optimizer": {}},
        ["semantic segmentation", "norm0, norm1, norm2, norm3", "3: sky, road, car", "meta, optimizer"],
    ),
    "detector": (
        {"state_dict": DETECTOR},
        ["OpenMMLab with mmpretrain's backbone", "instance detection", "classes       80"],
    ),
    "resnet": (
        {"conv1.weight": torch.ones(64, 3, 7, 7)},
        ["no ConvNeXt of a known family", "conv1.weight (64, 3, 7, 7)"],
    ),
}


@pytest.mark.parametrize("kind", INSPECTED)
def test_what_inspecting_shows(tmp_path: Path, kind: str) -> None:
    content, expected = INSPECTED[kind]
    text = describe_weights(save(content, tmp_path / "net.pth"))
    for part in expected:
        assert part in text, text


def test_the_tool_is_the_verb(tmp_path: Path) -> None:
    source = randomise(backbone(V1))
    file = save({"model": classifier_state(source)}, tmp_path / "net.pth")
    tool = Path(__file__).parents[2] / "tools" / "convert_weights.py"
    out = tmp_path / "hf"
    subprocess.run([sys.executable, str(tool), str(file), str(out), "--to", "hf"], check=True)
    net, again = backbone(V1), backbone(V1)
    load_weights(net, file)
    load_weights(again, out)
    assert_same(net, again.state_dict())
