"""The same tools on a detector: trained, tested, drawn, evaluated by several processes."""

import json
from pathlib import Path

import cv2
import pytest

from convnext_dense.cli import main
from convnext_dense.engine.config import load_config

from .test_distributed import run_script

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Config and run's folder of a shrunk Mask R-CNN after its first steps."""
    import convnext_dense.register  # noqa: F401
    from convnext_dense.testing import shrink

    folder = tmp_path_factory.mktemp("detector")
    cfg = shrink(load_config(CONFIGS / "demo/mask_rcnn_convnext_atto_shapes.py"), folder / "data")
    cfg.pop("work_dir")
    cfg.test_dataloader = cfg.val_dataloader
    cfg.model.test_cfg.rcnn.score_thr = 0.0  # after two steps nothing is certain
    cfg.model.roi_head.bbox_head.num_classes = 33
    config = folder / f"toy_{folder.name}.py"
    cfg.dump(config)
    assert main(["train", str(config), "--work-dir", str(folder / "run")]) == 0
    return config, folder / "run/latest"


def checkpoint_of(run):
    return Path((run / "last_checkpoint").read_text())


def test_heads_take_the_number_of_classes_of_the_data(trained):
    _, run = trained
    saved = json.loads((run / "config.json").read_text())
    assert saved["model"]["roi_head"]["bbox_head"]["num_classes"] == 9
    assert saved["model"]["roi_head"]["mask_head"]["num_classes"] == 9


def test_testing_writes_scores_results_and_pictures(trained, tmp_path):
    config, run = trained
    arguments = ["test", config, checkpoint_of(run), "--work-dir", tmp_path / "test"]
    arguments += ["--out", tmp_path / "out", "--show-dir", tmp_path / "pictures"]
    assert main([str(argument) for argument in arguments]) == 0
    scores = json.loads((tmp_path / "test/metrics.json").read_text())
    validated = json.loads((run / "metrics.json").read_text())
    for name in ("coco/bbox_mAP", "coco/segm_mAP_50", "coco/bbox_AR@100"):
        assert scores[name] == validated[name]
    for kind in ("bbox", "segm"):
        assert json.loads((tmp_path / f"out/predictions.{kind}.json").read_text())
    pictures = list((tmp_path / "pictures").glob("*.png"))
    assert len(pictures) == 2
    height, width, _ = cv2.imread(str(pictures[0])).shape
    assert width > 2.5 * height, "image, truth and prediction"


def test_two_processes_score_as_one(trained, tmp_path):
    config, run = trained
    scores = []
    for processes in (1, 2):
        out = tmp_path / str(processes)
        result = run_script("dist_test.sh", config, checkpoint_of(run), processes, "--work-dir", out)
        assert result.returncode == 0, result.stdout + result.stderr
        scores.append(json.loads((out / "metrics.json").read_text()))
    assert scores[0].keys() == scores[1].keys()
    for name, value in scores[0].items():
        assert scores[1][name] == (value if value is None else pytest.approx(value, abs=1e-12)), name
