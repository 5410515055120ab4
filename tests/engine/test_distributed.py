"""Two processes on the CPU, started as a user starts them."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from convnext_dense.engine.distributed import check_launcher
from convnext_dense.errors import UserError

ROOT = Path(__file__).parents[2]


def run_script(script, *arguments):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    environment = {**os.environ, "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    command = [ROOT / "tools" / script, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)


#: The same images in the same order, and nothing that depends on a rank's share of the batch.
DETERMINISTIC = {
    # mmseg divides a weighted loss by the weights of the rank's own pixels.
    "model.decode_head.loss_decode.class_weight": None,
    "model.auxiliary_head.loss_decode.class_weight": None,
    "model.backbone.drop_path_rate": 0.0,
    "model.decode_head.dropout_ratio": 0.0,
    "model.auxiliary_head.dropout_ratio": 0.0,
    "model.decode_head.norm_cfg": dict(type="BN", requires_grad=False),
    "model.auxiliary_head.norm_cfg": dict(type="BN", requires_grad=False),
    "train_dataloader.sampler.shuffle": False,
    # Adam's usual 1e-8 makes whole steps of the rounding noise of gradients near zero.
    "optim_wrapper.optimizer.eps": 1e-2,
    "custom_hooks": [dict(type="FreezeBatchNormHook")],
    "custom_imports": dict(
        imports=["convnext_dense.register", "convnext_dense.segmentation", "tests.engine.freeze_batch_norm"]
    ),
}


@pytest.mark.timeout(900)
def test_training_and_evaluation_on_two_processes_equal_one(toy_config, tmp_path, monkeypatch):
    """The same global batch of four gives the same weights, and the same checkpoint the same score."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pipeline = [dict(type="LoadImageFromFile"), dict(type="LoadAnnotations"), dict(type="PackSegInputs")]
    changes = {**DETERMINISTIC, "train_dataloader.dataset.pipeline": pipeline}
    one = toy_config("one", **changes, **{"train_dataloader.batch_size": 4})
    two = toy_config("two", **changes, **{"train_dataloader.batch_size": 2})
    for config, processes in ((one, 1), (two, 2)):
        result = run_script("dist_train.sh", config, processes, "--work-dir", tmp_path / config.stem)
        assert result.returncode == 0, result.stderr[-4000:] + result.stdout[-2000:]
    states = [
        torch.load(tmp_path / c.stem / "latest/iter_4.pth", weights_only=True)["state_dict"]
        for c in (one, two)
    ]
    for name, tensor in states[0].items():
        torch.testing.assert_close(
            states[1][name], tensor, rtol=1e-5, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}"
        )
    before = torch.load(tmp_path / one.stem / "latest/iter_2.pth", weights_only=True)["state_dict"]
    moved = max((before[name] - tensor).abs().max().item() for name, tensor in states[0].items())
    assert moved > 1e-4, "steps that a difference would show in"

    scores = []
    for processes in (1, 2):
        out = tmp_path / f"test_{processes}"
        checkpoint = tmp_path / one.stem / "latest/iter_4.pth"
        result = run_script("dist_test.sh", one, checkpoint, processes, "--work-dir", out)
        assert result.returncode == 0, result.stderr[-4000:] + result.stdout[-2000:]
        scores.append(json.loads((out / "metrics.json").read_text()))
    assert scores[0] == scores[1]
    validated = json.loads((tmp_path / two.stem / "latest/metrics.json").read_text())
    assert validated["mIoU"] == pytest.approx(scores[0]["mIoU"], abs=0.01)


THREADS_AFTER_A_RUN = """
import pathlib, sys
from convnext_dense.cli import main

assert main(sys.argv[1:]) == 0
names = [path.read_text().strip() for path in pathlib.Path("/proc/self/task").glob("*/comm")]
print("threads left:", sorted(name for name in names if "gloo" in name))
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs Linux's list of a process's threads")
def test_no_thread_of_the_process_group_outlives_a_run(trained, tmp_path):
    """One that does aborts a process now and then, when all its work is done."""
    config, work_dir = trained
    script = tmp_path / "run.py"
    script.write_text(THREADS_AFTER_A_RUN)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=1", script]
    test = ["test", config, work_dir / "iter_4.pth", "--launcher", "pytorch", "--work-dir", tmp_path / "test"]
    result = subprocess.run([*command, *test], capture_output=True, text=True, timeout=240)
    assert result.returncode == 0, result.stderr[-4000:]
    assert "threads left: []" in result.stdout


def test_an_error_on_two_processes_is_reported_once(toy_config, tmp_path):
    config = toy_config("missing", **{"train_dataloader.dataset.data_root": "nowhere"})
    result = run_script("dist_train.sh", config, 2, "--work-dir", tmp_path / "run")
    assert result.returncode != 0
    assert result.stderr.count("error: the data set is not there: nowhere") == 1


def test_a_launcher_without_its_environment_is_named(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(UserError, match="RANK"):
        check_launcher("pytorch")
    with pytest.raises(UserError, match="SLURM_PROCID"):
        check_launcher("slurm")
    check_launcher("none")
