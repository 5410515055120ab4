"""Ctrl-C: a checkpoint, the line that goes on, and a resumed run that misses and repeats nothing."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
from pathlib import Path

import pytest
import torch

from convnext_dense.cli import main
from convnext_dense.engine.config import load_config
from tests.pseudo_terminal import Terminal

from .conftest import CONFIGS, DEMO

ROOT = Path(__file__).parents[2]
DETECTOR = "demo/mask_rcnn_convnext_atto_shapes.py"
PLAIN = [dict(type="LoadImageFromFile"), dict(type="LoadAnnotations"), dict(type="PackSegInputs")]


def write_config(folder, name, *hooks, source=DEMO, **changes):
    """Write a toy config that validates after 4 of 8 iterations, and with more hooks.

    The segmentor's has nothing random but the order of the images.
    """
    import convnext_dense.register  # noqa: F401
    from convnext_dense.testing import shrink

    cfg = shrink(load_config(CONFIGS / source), folder / "data")
    cfg.pop("work_dir")
    if source == DEMO:
        cfg.train_dataloader.dataset.pipeline = PLAIN
        cfg.merge_from_dict({"train_cfg.max_iters": 8, "train_cfg.val_interval": 4})
        cfg.default_hooks.checkpoint.interval = 4
        cfg.model.backbone.drop_path_rate = 0.0
        for head in ("decode_head", "auxiliary_head"):
            cfg.model[head].dropout_ratio = 0.0
    else:
        cfg.train_cfg.max_epochs = 2
        cfg.train_dataloader.batch_size = 1  # an epoch of four
    cfg.merge_from_dict(changes)
    cfg.custom_hooks = list(hooks)
    cfg.custom_imports = dict(imports=[*cfg.custom_imports.imports, "tests.engine.press_ctrl_c"])
    path = folder / f"{name}_{folder.name}.py"
    cfg.dump(path)
    return path


def press(seen, **options):
    return dict(type="PressCtrlCHook", seen=str(seen), **options)


def train(config, work_dir, *options):
    return main([str(word) for word in ("train", config, "--work-dir", work_dir, *options)])


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


class Outcome:
    """What a run that came to its end has left."""

    def __init__(self, folder):
        (run,) = (path for path in folder.iterdir() if re.match(r"\d{8}_", path.name))
        records = list(map(json.loads, (run / "metrics.jsonl").read_text().splitlines()))
        self.scores = [r for r in records if "lr" not in r and "resumed" not in r]
        self.checkpoint = torch.load(run / "last.pth", weights_only=True)
        self.names = {path.name for path in run.iterdir()}
        self.seen = (folder / "seen.0").read_text()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A function: the outcome of an uninterrupted run of a toy config."""
    outcomes = {}

    def of(source):
        if source not in outcomes:
            folder = tmp_path_factory.mktemp("whole")
            config = write_config(folder, "whole", press(folder / "run/seen"), source=source)
            (folder / "run").mkdir()
            assert train(config, folder / "run") == 0
            outcomes[source] = Outcome(folder / "run")
        return outcomes[source]

    return of


@pytest.fixture
def _handler_comes_back():
    before = signal.getsignal(signal.SIGINT)
    yield
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.usefixtures("_handler_comes_back")
@pytest.mark.parametrize(
    ("source", "after", "during"),
    [
        (DEMO, 3, "train"),
        (DEMO, 4, "val"),
        (DETECTOR, 2, "train"),  # in the middle of an epoch
        pytest.param(DEMO, 4, "train", marks=pytest.mark.full),  # where a validation is due
        pytest.param(DETECTOR, 4, "train", marks=pytest.mark.full),  # at the end of an epoch
        pytest.param(DETECTOR, 4, "val", marks=pytest.mark.full),
    ],
)
def test_an_interrupted_run_resumed_is_the_whole_run(source, after, during, whole, tmp_path, capsys):
    expected = whole(source)
    run = tmp_path / "run"
    run.mkdir()
    hook = press(run / "seen", after=after, during=during)
    assert train(write_config(tmp_path, "parts", hook, source=source), run) == 130
    told = capsys.readouterr()
    assert f"interrupted after iteration {after} of 8" in told.out
    assert "--resume" in told.out
    assert "stopping with a checkpoint" in told.err
    assert (run / "latest/interrupted.pth").samefile(run / "latest/last.pth")

    assert train(write_config(tmp_path, "parts", press(run / "seen"), source=source), run, "--resume") == 0
    resumed = Outcome(run)
    assert resumed.seen == expected.seen, "each image once, in the same order"
    assert resumed.checkpoint["meta"]["iter"] == 8
    assert resumed.checkpoint["param_schedulers"] == expected.checkpoint["param_schedulers"]
    assert [record["iter"] for record in resumed.scores] == [4, 8]
    if source == DEMO:  # a detector samples its regions at random
        for name, tensor in expected.checkpoint["state_dict"].items():
            assert torch.equal(tensor, resumed.checkpoint["state_dict"][name]), name
        assert resumed.scores == expected.scores
    assert "interrupted.pth" not in resumed.names, "a regular checkpoint took its place"


@pytest.mark.full
@pytest.mark.timeout(900)
def test_two_processes_stop_together_although_one_was_told(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    run = tmp_path / "run"
    run.mkdir()
    config = write_config(tmp_path, "two", press(run / "seen", after=3, rank=1))
    command = [ROOT / "tools/dist_train.sh", config, "2", "--work-dir", run]
    environment = {**os.environ, "MASTER_PORT": free_port(), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.stdout.count("interrupted after iteration 3 of 8") == 1, done.stdout + done.stderr
    assert [len((run / f"seen.{rank}").read_text().splitlines()) for rank in (0, 1)] == [3, 3]
    assert torch.load(run / "latest/last.pth", weights_only=True)["meta"]["iter"] == 3


@pytest.mark.usefixtures("_handler_comes_back")
def test_the_second_ctrl_c_does_not_wait(tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    config = write_config(tmp_path, "twice", press(run / "seen", after=6, times=2))
    assert train(config, run) == 130
    assert len((run / "seen.0").read_text().splitlines()) == 6
    message = capsys.readouterr().err
    assert "interrupted at once" in message
    assert "go on from the last checkpoint" in message
    assert torch.load(run / "latest/last.pth", weights_only=True)["meta"]["iter"] == 4, "the regular one"


def test_sigterm_is_a_ctrl_c_from_elsewhere(tmp_path, capsys):
    """As Slurm sends it to a job whose time is up."""
    run = tmp_path / "run"
    run.mkdir()
    assert train(write_config(tmp_path, "ended", press(run / "seen", after=2, key="SIGTERM")), run) == 143
    assert "interrupted after iteration 2 of 8" in capsys.readouterr().out
    assert torch.load(run / "latest/last.pth", weights_only=True)["meta"]["iter"] == 2


def test_a_dry_run_leaves_no_checkpoint_even_then(tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    assert train(write_config(tmp_path, "dry", press(run / "seen", after=2)), run, "--dry-run") == 130
    assert "no checkpoint was written yet" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.pth"))


ENDLESS = {
    "train_cfg.max_iters": 100_000,
    "train_cfg.val_interval": 100_000,
    "default_hooks.checkpoint.interval": 100_000,
    "train_dataloader.num_workers": 1,  # a Ctrl-C in a terminal reaches the loaders' workers, too
    "train_dataloader.persistent_workers": True,
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.full)])
def test_ctrl_c_at_the_keyboard(processes, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    config = write_config(tmp_path, "typed", **ENDLESS)
    start = ["python", ROOT / "tools/train.py", config]
    if processes > 1:
        start = [ROOT / "tools/dist_train.sh", config, processes]
    command = list(map(str, [*start, "--work-dir", "run"]))
    with Terminal(command, cwd=tmp_path, env={"MASTER_PORT": free_port()}) as terminal:
        terminal.wait_for(r"train +[1-9]\d*/100000 loss \S+ +\S+ it/s +data-wait \d+ % left [\d:]{5}")
        terminal.press("\x03")
        assert terminal.exit_code() == 130
    assert "stopping with a checkpoint" in terminal.text
    assert "Traceback" not in terminal.text
    (done,) = re.findall(r"interrupted after iteration (\d+) of", terminal.text)
    assert torch.load(tmp_path / "run/latest/last.pth", weights_only=True)["meta"]["iter"] == int(done)
    (resume,) = re.findall(r"go on +(.*)\r", terminal.text)
    assert shlex.split(resume) == [*command, "--resume"]
