"""The stock mmsegmentation tools run the configs: `custom_imports` is all that they need."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

from convnext_dense.testing import TOY_ITERATIONS, shrink

from .shipped import CONFIGS

TOOLS = Path(importlib.util.find_spec("mmseg").origin).parent / ".mim" / "tools"


def run_stock(tool: str, *arguments: object) -> str:
    command = [sys.executable, str(TOOLS / tool), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout + done.stderr


@pytest.mark.full
def test_stock_tools_train_and_test_a_shipped_config(tmp_path):
    config = tmp_path / "toy.py"
    shrink(Config.fromfile(CONFIGS / "upernet_convnext_t.py"), tmp_path).dump(config)
    log = run_stock("train.py", config, "--work-dir", tmp_path / "stock")
    assert f"Iter(val) [{2}/{2}]" in log
    checkpoint = tmp_path / "stock" / f"iter_{TOY_ITERATIONS}.pth"
    assert checkpoint.is_file()
    pictures = tmp_path / "pictures"
    log = run_stock(
        "test.py", config, checkpoint, "--tta", "--show-dir", pictures, "--work-dir", tmp_path / "test"
    )
    assert "mIoU" in log
    assert list(tmp_path.rglob("pictures/**/*.png"))
