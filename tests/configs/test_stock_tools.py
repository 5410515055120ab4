"""The stock mmdetection and mmsegmentation tools run the configs: `custom_imports` is all that they need."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

from convnext_dense.testing import TOY_ITERATIONS, shrink

from .shipped import CONFIGS

#: mmdet's test tool imports mmcv's operators before it reads the config.
OPERATORS_FIRST = (
    "import runpy, sys, convnext_dense.register; "
    "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
)


def run_stock(library: str, tool: str, *arguments: object, operators_first: bool = False) -> str:
    tools = Path(importlib.util.find_spec(library).origin).parent / ".mim" / "tools"
    python = [sys.executable, "-c", OPERATORS_FIRST] if operators_first else [sys.executable]
    command = [*python, str(tools / tool), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout + done.stderr


@pytest.mark.full
def test_stock_tools_train_and_test_a_shipped_config(tmp_path):
    config = tmp_path / "toy.py"
    shrink(Config.fromfile(CONFIGS / "upernet_convnext_t.py"), tmp_path).dump(config)
    log = run_stock("mmseg", "train.py", config, "--work-dir", tmp_path / "stock")
    assert f"Iter(val) [{2}/{2}]" in log
    checkpoint = tmp_path / "stock" / f"iter_{TOY_ITERATIONS}.pth"
    assert checkpoint.is_file()
    pictures = tmp_path / "pictures"
    log = run_stock(
        "mmseg",
        "test.py",
        config,
        checkpoint,
        "--tta",
        "--show-dir",
        pictures,
        "--work-dir",
        tmp_path / "test",
    )
    assert "mIoU" in log
    assert list(tmp_path.rglob("pictures/**/*.png"))


@pytest.mark.full
@pytest.mark.parametrize("name", ["mask_rcnn_convnext_t", "cascade_mask_rcnn_convnext_t"])
def test_stock_tools_train_and_test_a_shipped_detector(name, tmp_path):
    config = tmp_path / "toy.py"
    shrink(Config.fromfile(CONFIGS / f"{name}.py"), tmp_path).dump(config)
    run_stock("mmdet", "train.py", config, "--work-dir", tmp_path / "stock")
    checkpoint = tmp_path / "stock" / "epoch_1.pth"
    assert checkpoint.is_file()
    log = run_stock(
        "mmdet",
        "test.py",
        config,
        checkpoint,
        "--show-dir",
        "pictures",
        "--work-dir",
        tmp_path / "test",
        operators_first=True,
    )
    assert "coco/segm_mAP" in log
    assert list(tmp_path.rglob("pictures/**/*.jpg"))
