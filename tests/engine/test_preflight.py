import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

from convnext_dense.engine.preflight import check_data, check_weights
from convnext_dense.errors import UserError

ROOT = Path(__file__).parents[2]


def test_without_the_benchmark_training_stops_with_what_to_do(tmp_path):
    """No traceback: what is missing, the tree that was expected, the command that gets it."""
    root = tmp_path / "ade/ADEChallengeData2016"
    overrides = [f"{split}_dataloader.dataset.data_root={root}" for split in ("train", "val")]
    command = [
        sys.executable,
        "tools/train.py",
        "configs/upernet_convnext_b.py",
        "--work-dir",
        tmp_path / "run",
    ]
    result = subprocess.run(
        [*command, "--cfg-options", *overrides], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 2
    assert f"the data set is not there: {root}" in result.stderr
    assert "annotations/" in result.stderr
    assert "tools/prepare_data.py ade20k" in result.stderr
    assert "Traceback" not in result.stderr


def loader(**dataset):
    return dict(dataset=dict(dict(type="BaseSegDataset", pipeline=[]), **dataset))


def test_each_missing_part_is_named(tmp_path):
    (tmp_path / "images").mkdir()
    prefix = dict(img_path="images", seg_map_path="masks")
    with pytest.raises(UserError) as error:
        check_data(Config(dict(val_dataloader=loader(data_root=str(tmp_path), data_prefix=prefix))))
    assert str(tmp_path / "masks") in error.value.what
    assert "val_dataloader" in error.value.where

    (tmp_path / "masks").mkdir()
    check_data(Config(dict(val_dataloader=loader(data_root=str(tmp_path), data_prefix=prefix))))


def test_wrapped_data_sets_are_looked_into(tmp_path):
    inner = loader(data_root=str(tmp_path / "gone"), data_prefix={})["dataset"]
    wrapped = dict(dataset=dict(type="RepeatDataset", times=2, dataset=inner))
    with pytest.raises(UserError, match="gone"):
        check_data(Config(dict(train_dataloader=wrapped)))


def test_the_embedded_data_set_is_made_by_a_command(tmp_path):
    from convnext_dense.data.shapes import SEMANTIC_CLASSES

    missing = loader(data_root=str(tmp_path / "shapes"), metainfo=dict(classes=SEMANTIC_CLASSES))
    with pytest.raises(UserError) as error:
        check_data(Config(dict(train_dataloader=missing)))
    assert f"convnext-dense prepare-data shapes --root {tmp_path / 'shapes'}" in error.value.fix


def test_weights_that_cannot_be_had_stop_the_run_before_it_starts(tmp_path, monkeypatch):
    monkeypatch.setenv("CONVNEXT_DENSE_HOME", str(tmp_path))
    url = "http://127.0.0.1:9/convnext_base_1k_224.pth"
    backbone = dict(type="ConvNeXt", init_cfg=dict(type="Pretrained", checkpoint=url))
    with pytest.raises(UserError) as error:
        check_weights(Config(dict(model=dict(backbone=backbone))))
    assert str(tmp_path / "weights/127.0.0.1_9/convnext_base_1k_224.pth") in error.value.fix
    assert "model.backbone.init_cfg=None" in error.value.fix
