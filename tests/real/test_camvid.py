"""UperNet from scratch on 60 real street scenes: it learns."""

import json
import re

import pytest

from convnext_dense.cli import main
from tests.real.test_ade20k import ROOT


@pytest.mark.full
@pytest.mark.timeout(2400)
def test_a_small_convnext_learns_the_large_classes(camvid, tmp_path):
    """The majority class alone scores 3; here ≥ 25 of 11 classes, and ≥ 50 for road, sky and building."""
    roots = [f"{split}_dataloader.dataset.data_root={camvid}" for split in ("train", "val", "test")]
    config = str(ROOT / "configs/custom/upernet_convnextv2_atto_camvid.py")
    assert main(["train", config, "--work-dir", str(tmp_path), "--cfg-options", *roots]) == 0
    assert json.loads((tmp_path / "latest/metrics.json").read_text())["mIoU"] >= 25
    log = next((tmp_path / "latest").glob("*.log")).read_text()
    last_table = log[log.rindex("per class results") :]
    for name in ("Road", "Sky", "Building"):
        (iou,) = re.findall(rf"\|\s+{name}\s+\|\s+([\d.]+)", last_table)
        assert float(iou) >= 50
