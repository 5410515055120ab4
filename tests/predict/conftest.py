from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from convnext_dense.cli import main
from convnext_dense.engine.config import load_config

CONFIGS = Path(__file__).parents[2] / "configs/demo"


class Trained(NamedTuple):
    config: Path
    checkpoint: Path
    images: list[Path]

    @property
    def content(self) -> dict:
        return torch.load(self.checkpoint, weights_only=True)


def train_toy(name: str, folder: Path, **changes) -> Trained:
    """Train a demo config at toy size for two iterations, by the command line."""
    import convnext_dense.register  # noqa: F401
    from convnext_dense.testing import shrink

    cfg = shrink(load_config(CONFIGS / f"{name}.py"), folder / "data")
    cfg.pop("work_dir")
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    cfg.default_hooks.checkpoint.pop("save_best", None)
    cfg.merge_from_dict(changes)
    config = folder / f"{name}_{folder.name}.py"
    cfg.dump(config)
    assert main(["train", str(config), "--work-dir", str(folder / "run")]) == 0
    checkpoint = Path((folder / "run/last_checkpoint").read_text())
    prefix = cfg.test_dataloader.dataset.data_prefix
    images = sorted((folder / "data" / (prefix.get("img_path") or prefix.get("img"))).iterdir())
    return Trained(config, checkpoint, images)


@pytest.fixture(scope="session")
def segmentor(tmp_path_factory):
    """A trained toy UperNet; read, not written, by the tests."""
    return train_toy("upernet_convnext_atto_shapes", tmp_path_factory.mktemp("segmentor"))


@pytest.fixture(scope="session")
def detector(tmp_path_factory):
    """A trained toy Mask R-CNN that keeps objects of any score; read, not written, by the tests."""
    folder = tmp_path_factory.mktemp("detector")
    return train_toy("mask_rcnn_convnext_atto_shapes", folder, **{"model.test_cfg.rcnn.score_thr": 0.0})


@pytest.fixture(scope="session")
def segment(segmentor):
    from convnext_dense import Predictor

    return Predictor(segmentor.checkpoint)


@pytest.fixture(scope="session")
def detect(detector):
    from convnext_dense import Predictor

    return Predictor(detector.checkpoint)
