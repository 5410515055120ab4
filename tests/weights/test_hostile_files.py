"""A hostile file through every entry: its payload never runs, and the message says what it refers to."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.fileio import load
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import CheckpointLoader

from convnext_dense import Predictor, UserError
from convnext_dense.cli import main
from convnext_dense.engine.libraries import load_libraries
from convnext_dense.engine.loaders import closed_loaders

from ..engine.conftest import write_toy_config
from .test_reading import Payload
from .toys import save, state_of


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """What the payload writes when it runs."""
    return tmp_path / "ran"


@pytest.fixture
def hostile(tmp_path: Path, marker: Path) -> Path:
    """A run's checkpoint in all but one entry."""
    state = {"decode_head.conv_seg.bias": torch.ones(3)}
    content = {"state_dict": state, "meta": {}, "optimizer": Payload(marker)}
    return save(content, tmp_path / "hostile.pth")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shrunk config with its data, for a training of one step."""
    changes = {"train_cfg.max_iters": 1, "train_cfg.val_interval": 1}
    return write_toy_config(tmp_path_factory.mktemp("toy"), **changes)


def _commands(config: Path, folder: Path, hostile: Path) -> dict[str, list[str]]:
    train = ["train", str(config), "--work-dir", str(folder / "run")]
    init = "model.backbone.init_cfg.type=Pretrained"
    cv2.imwrite(str(folder / "photo.png"), np.zeros((64, 64, 3), np.uint8))
    predict = ["predict", str(hostile), str(folder / "photo.png"), "--out", str(folder / "out")]
    convert = ["convert-weights", str(hostile)]
    return {
        "load_from": [*train, "--load-from", str(hostile)],
        "resume": [*train, "--resume", str(hostile)],
        "init_cfg": [*train, "--cfg-options", init, f"model.backbone.init_cfg.checkpoint={hostile}"],
        "init_cfg of a head": [
            *train,
            "--cfg-options",
            init.replace("backbone", "decode_head"),
            f"model.decode_head.init_cfg.checkpoint={hostile}",
        ],
        "test": ["test", str(config), str(hostile), "--work-dir", str(folder / "test")],
        "predict": predict,
        "predict by a config": [*predict, "--config", str(config)],
        "convert": [*convert, str(folder / "out.pth"), "--to", "original"],
        "convert the container": [*convert, str(folder / "out.safetensors"), "--to", "safetensors"],
        "inspect": ["convert-weights", str(hostile), "--inspect"],
    }


ENTRIES = [
    "load_from",
    "resume",
    "init_cfg",
    "init_cfg of a head",
    "test",
    "predict",
    "predict by a config",
    "convert",
    "convert the container",
    "inspect",
]


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_payload_in_a_checkpoint_never_runs(
    entry: str, config: Path, tmp_path: Path, hostile: Path, marker: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(_commands(config, tmp_path, hostile)[entry]) == 2
    message = capsys.readouterr().err
    assert not marker.exists()
    assert "it refers to code, which loading it could run: builtins.eval" in message
    assert "Only if you trust whoever made the file" in message

    pickle.loads(pickle.dumps(Payload(marker)))
    assert marker.exists(), "the payload works where it is let"


@pytest.mark.parametrize("entry", ["load_from", "test", "predict", "convert", "inspect"])
def test_config_text_in_a_checkpoint_is_not_executed(
    entry: str, config: Path, tmp_path: Path, marker: Path, capsys: pytest.CaptureFixture
) -> None:
    """mmengine executes such text when it resumes or predicts; resuming is tested with the engine."""
    file = tmp_path / "net.pth"
    command = _commands(config, tmp_path, file)[entry]
    load_libraries("mmseg")
    with DefaultScope.overwrite_default_scope("mmseg"):
        model = MODELS.build(Config.fromfile(config).model)
    text = f"open({str(marker)!r}, 'w').close()\nmodel = dict(type='EncoderDecoder')\n"
    save({"state_dict": state_of(model), "meta": {"cfg": text, "config": text}}, file)
    assert main(command) == (2 if entry == "predict" else 0), capsys.readouterr().err
    assert not marker.exists()
    if entry == "predict":
        assert "holds its config as Python code only, which is not run" in capsys.readouterr().err
    if entry == "convert":
        assert "meta" not in torch.load(tmp_path / "out.pth"), "the text does not travel on"

    exec(text)
    assert marker.exists(), "the text works where it is let"


def test_the_libraries_own_loaders_are_closed(tmp_path: Path, hostile: Path, marker: Path) -> None:
    """A stock data set reads its annotations, and a distilled model its teacher, through mmengine alone."""
    annotations = tmp_path / "annotations.pkl"
    annotations.write_bytes(pickle.dumps(Payload(marker)))
    plain = save({"state_dict": {"a": torch.ones(2)}, "meta": {}}, tmp_path / "plain.pth")
    with closed_loaders():
        with pytest.raises(UserError, match=r"builtins\.eval"):
            CheckpointLoader.load_checkpoint(str(hostile))
        with pytest.raises(UserError, match="a pickle was not loaded"):
            load(annotations)
        content = CheckpointLoader.load_checkpoint(str(plain))
    assert torch.equal(content["state_dict"]["a"], torch.ones(2))
    assert not marker.exists()

    load(annotations)
    assert marker.exists(), "outside a run, mmengine is as it was"


def test_a_run_closes_them(tmp_path: Path, marker: Path, capsys: pytest.CaptureFixture) -> None:
    """An annotation file that is a pickle, through a data set of mmengine."""
    annotations = tmp_path / "annotations.pkl"
    annotations.write_bytes(pickle.dumps(Payload(marker)))
    dataset: dict[str, Any] = {
        "_delete_": True,
        "type": "mmengine.dataset.BaseDataset",
        "ann_file": str(annotations),
        "pipeline": [],
    }
    config = write_toy_config(tmp_path, **{"train_dataloader.dataset": dataset})
    assert main(["train", str(config), "--work-dir", str(tmp_path / "run")]) == 2
    assert not marker.exists()
    assert "a pickle was not loaded" in capsys.readouterr().err


def test_a_predictor_closes_them(tmp_path: Path, hostile: Path, marker: Path) -> None:
    """The teacher of a distilled detector, which mmdet reads while it builds the model."""
    backbone = dict(type="ResNet", depth=18, base_channels=4, stem_channels=4, norm_cfg=dict(type="BN"))
    anchors = dict(
        type="AnchorGenerator", ratios=[1.0], octave_base_scale=8, scales_per_octave=1, strides=[32]
    )
    head = dict(
        type="GFLHead",
        num_classes=2,
        in_channels=32,
        stacked_convs=1,
        feat_channels=32,
        anchor_generator=anchors,
    )
    teacher = tmp_path / "teacher.py"
    teacher.write_text(f"model = {dict(type='GFL', backbone=backbone, neck=None, bbox_head=head)!r}\n")
    loss = dict(type="KnowledgeDistillationKLDivLoss")
    student = dict(
        type="KnowledgeDistillationSingleStageDetector",
        backbone=backbone,
        neck=None,
        bbox_head={**head, "type": "LDHead", "loss_ld": loss},
        teacher_config=str(teacher),
        teacher_ckpt=str(hostile),
    )
    dataset = dict(metainfo=dict(classes=("a", "b")), pipeline=[dict(type="LoadImageFromFile")])
    cfg = Config(dict(default_scope="mmdet", model=student, test_dataloader=dict(dataset=dataset)))
    plain = save({"state_dict": {"a": torch.ones(2)}, "meta": {}}, tmp_path / "plain.pth")
    with pytest.raises(UserError, match=r"builtins\.eval"):
        Predictor(plain, cfg)
    assert not marker.exists()
