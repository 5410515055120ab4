"""What `tools/train.py` leaves and says, with its options that look into a run."""

import csv
import json
import re
from importlib.util import find_spec
from pathlib import Path

import cv2
import pytest
import torch

from convnext_dense.cli import main

from .conftest import write_toy_config


def train(config, work_dir, *options):
    return main([str(word) for word in ("train", config, "--work-dir", work_dir, *options)])


@pytest.fixture(scope="module")
def profiled(tmp_path_factory):
    """Config and work dir of a profiled run of eight iterations, two validations and one kept checkpoint."""
    folder = tmp_path_factory.mktemp("profiled")
    changes = {
        "train_cfg.max_iters": 8,
        "train_cfg.val_interval": 4,
        "default_hooks.checkpoint.max_keep_ckpts": 1,
    }
    config = write_toy_config(folder, **changes)
    assert train(config, folder / "run", "--profile") == 0
    (log,) = (folder / "run/latest").glob("*.log")
    return config, folder / "run", log.read_text()


def tree(folder):
    return {path.relative_to(folder) for path in folder.rglob("*")}


def test_best_and_last_are_files_that_lead_to_checkpoints(profiled):
    _, work_dir, _ = profiled
    run = work_dir / "latest"
    assert (run / "last.pth").samefile(run / "iter_8.pth")
    (best,) = run.glob("best_mIoU_iter_*.pth")
    assert (run / "best.pth").samefile(best)
    assert [path.name for path in run.glob("iter_*")] == ["iter_8.pth"]
    assert not list(run.glob("*.part"))
    assert Path((work_dir / "last_checkpoint").read_text()).samefile(run / "last.pth"), "for the stock tools"


def test_numbers_are_a_table_and_curves(profiled):
    run = profiled[1] / "latest"
    rows = {int(row["iter"]): row for row in csv.DictReader((run / "metrics.csv").open())}
    assert list(rows) == list(range(1, 9)), "so short a training logs every iteration"
    assert [at for at, row in rows.items() if row["mIoU"]] == [4, 8]
    assert float(rows[8]["mIoU"]) == json.loads((run / "metrics.json").read_text())["mIoU"]
    assert all(float(row["loss"]) > 0 and float(row["lr"]) > 0 for row in rows.values())
    assert cv2.imread(str(run / "curves.png")).shape == (900, 1000, 3)


def test_pictures_show_the_first_batch_and_the_newest_validation(profiled):
    run = profiled[1] / "latest"
    height, width, _ = cv2.imread(str(run / "train_batch.jpg")).shape
    assert height > width > 600, "two images, one below the other, each beside its labels"
    pictures = sorted(path.name for path in (run / "validation").iterdir())
    assert pictures == ["0.png", "1.png"]
    height, width, _ = cv2.imread(str(run / "validation/0.png")).shape
    assert width > 3 * height, "image, truth, prediction"


def test_the_summary_says_what_to_type_next(profiled):
    config, work_dir, log = profiled
    run = (work_dir / "latest").resolve()
    best = re.search(r"best +mIoU ([\d.]+): (\S+/best\.pth) \(best_mIoU_iter_(\d)\)", log)
    rows = {row["iter"]: row for row in csv.DictReader((run / "metrics.csv").open())}
    assert float(best[1]) == pytest.approx(float(rows[best[3]]["mIoU"]), rel=1e-3)
    assert best[2] == str(run / "best.pth")
    assert re.search(r"done: 8 iterations in 0:\d\d:\d\d", log)
    assert f"evaluate   convnext-dense test {config} {run / 'best.pth'}" in log
    assert f"predict    convnext-dense predict {run / 'best.pth'} IMAGES" in log


def test_a_profile_is_a_trace_and_a_table_of_ten(profiled):
    trace = json.loads((profiled[1] / "latest/trace.json").read_text())
    assert any("convolution" in event.get("name", "") for event in trace["traceEvents"])
    table = re.search(
        r"profile of iterations 4-8, .*\n.*waiting for data: ([\d.]+) %\n((?:.*\n)*?) +trace: ", profiled[2]
    )
    assert 0 <= float(table[1]) <= 100
    header, *rows = table[2].splitlines()
    assert header.split() == ["ms/iter", "share", "calls/iter", "operator"]
    times = [float(row.split()[0]) for row in rows]
    assert len(times) == 10
    assert times == sorted(times, reverse=True)


def test_a_dry_run_tells_everything_and_leaves_the_runs_alone(profiled, capsys):
    config, work_dir, _ = profiled
    before = tree(work_dir)
    assert train(config, work_dir, "--dry-run", "--profile") == 0
    out = capsys.readouterr().out
    new = tree(work_dir) - before
    assert all(path.parts[0] == "dry_run" for path in new)
    assert {"train_batch.jpg", "trace.json"} <= {path.name for path in new}
    assert not [path for path in new if path.suffix == ".pth"]
    for part in (
        "groups of learning rates (lr 0.003, weight decay 0.05)",
        "training: 4 images; an optimizer step: 2 images",
        "validation: 2 images",
        "10: background, disc,",
        "EncoderDecoder: ConvNeXt, FusedUPerHead, FCNHead",
        "0.1 M parameters, 0.1 M of them trained",
        "for an image of 64x64 px",
        "8 iterations, 4 passes over the data",
        "LinearLR over iterations 0-50",
        "s an iteration",
        "for 8 iterations, without validations",
        "profile of iterations",
    ):
        assert part in out
    assert re.search(r"peak [\d.]+ ", out)
    assert re.search(r"start it: .*train (?!.*--dry-run)", out)


def test_the_resolved_config_of_a_run_is_a_config(profiled, tmp_path):
    """It has the tools' hooks already, and none of them runs twice."""
    config, work_dir, _ = profiled
    resolved = work_dir / "latest" / config.name
    assert train(resolved, tmp_path, "--cfg-options", "train_cfg.max_iters=2") == 0
    records = (tmp_path / "latest/metrics.jsonl").read_text().splitlines()
    assert [json.loads(record)["iter"] for record in records] == [1, 2, 2]
    hooks = [
        hook["type"] for hook in json.loads((tmp_path / "latest/config.json").read_text())["custom_hooks"]
    ]
    assert len(hooks) == len(set(hooks))


def test_a_run_resumed_elsewhere_leaves_the_first_one_whole(profiled, tmp_path):
    """mmengine deletes the best checkpoint that a resumed one beats, wherever it lies."""
    config, work_dir, _ = profiled
    first = (work_dir / "latest").resolve()
    before = tree(first)
    more = ("--cfg-options", "train_cfg.max_iters=12", "default_hooks.checkpoint.rule=less")
    assert train(config, tmp_path, "--resume", first / "last.pth", *more) == 0
    assert tree(first) == before
    assert torch.load(tmp_path / "latest/last.pth", weights_only=True)["meta"]["iter"] == 12
    assert (tmp_path / "latest/best.pth").exists()


def test_tensorboard_on_demand(toy_config, tmp_path, capsys):
    """It writes event files; without the package the run stops at once and names the command."""
    config = toy_config("board", **{"train_cfg.max_iters": 2})
    exit_code = train(config, tmp_path / "run", "--tensorboard")
    if find_spec("tensorboard") is None:
        assert exit_code == 2
        assert "-m pip install tensorboard" in capsys.readouterr().err
        assert not list((tmp_path / "run").iterdir())
    else:
        assert exit_code == 0
        assert list((tmp_path / "run/latest/vis_data").glob("events.out.tfevents.*"))
