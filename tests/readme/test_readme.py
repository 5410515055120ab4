"""Every command of the README is run, the training ones on shrunk configs and few images."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from convnext_dense import cli
from convnext_dense.data.shapes import write_shapes
from convnext_dense.engine.config import load_config

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.M | re.S)


COMMANDS = [line for block in blocks("bash") for line in block.splitlines()]


def toy(config, folder):
    """Write the shrunk form of a shipped config under the same name."""
    from convnext_dense.testing import shrink

    cfg = shrink(load_config(ROOT / config), folder / "data")
    cfg.pop("work_dir")
    cfg.model.backbone.init_cfg = None
    target = folder / config
    target.parent.mkdir(parents=True, exist_ok=True)
    cfg.dump(target)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the tools, shrunk configs and a finished run, as a user's checkout is after training."""
    import convnext_dense.register  # noqa: F401

    folder = tmp_path_factory.mktemp("readme")
    (folder / "tools").symlink_to(ROOT / "tools")
    (folder / "photos").mkdir()
    street = np.random.default_rng(0).integers(256, size=(60, 80, 3), dtype=np.uint8)
    cv2.imwrite(str(folder / "photos/street.jpg"), street)
    for config in set(re.findall(r"configs/\w+\.py", "\n".join(COMMANDS))):
        toy(config, folder)
    return folder


def save_tiny(path):
    """Write what the published file of ConvNeXt-T holds, untrained."""
    from convnext_dense import ConvNeXt

    state = ConvNeXt(arch="tiny", layer_scale_init_value=1.0).state_dict()
    state = {name: tensor for name, tensor in state.items() if not re.match(r"norm\d", name)}
    state |= {"norm.weight": torch.ones(768), "norm.bias": torch.zeros(768)}
    state |= {"head.weight": torch.zeros(1000, 768), "head.bias": torch.zeros(1000)}
    torch.save({"model": state}, path)


def run(command, folder):
    words = shlex.split(command)
    words = [sys.executable if word == "python" else word for word in words]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    environment = {**os.environ, "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=240)
    assert result.returncode == 0, f"{command}\n{result.stderr[-4000:]}\n{result.stdout[-2000:]}"


@pytest.mark.timeout(900)
def test_training_testing_and_predicting_commands(folder):
    """In the README's order: train, then test, predict, resume and the distributed forms."""
    commands = [c for c in COMMANDS if re.match(r"(python )?tools/(dist_)?(train|test|predict)\.", c)]
    assert len(commands) == 12
    for command in commands:
        run(re.sub(r"(\.sh configs/\S+|\.pth) 8$", r"\1 2", command), folder)
    assert (folder / "predictions/predictions.json").exists()


def test_the_commands_for_ones_own_data(folder):
    """On generated scenes in the place of the photos."""
    shapes = write_shapes(folder / "shapes", 24, 2, 64, 0)
    (folder / "data/nuts").mkdir(parents=True)
    shutil.copytree(shapes / "images/train", folder / "data/nuts/images")
    for source, name in (("instances_train", "train"), ("instances_val", "val")):
        shutil.copy(shapes / f"annotations/{source}.json", folder / f"data/nuts/{name}.json")
    check, write = (c for c in COMMANDS if re.search(r"tools/(check_data|new_config)\.py", c))
    words = shlex.split(check)[2:]
    done = subprocess.run(
        [sys.executable, "tools/check_data.py", *words], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode in (0, 1), "so few objects earn warnings: " + done.stderr
    assert (folder / "data_check/report.html").exists()
    run(write, folder)
    assert load_config(folder / "configs/custom/nuts.py").train_dataloader.dataset.ann_file == "train.json"


@pytest.mark.parametrize(("dataset", "root"), [("ade20k", "data/ade"), ("coco", "data/coco")])
def test_the_commands_that_get_the_benchmarks_parse(dataset, root):
    """They download gigabytes: here they parse; `tests/data` serves small archives."""
    command = next(c for c in COMMANDS if f"prepare_data.py {dataset}" in c)
    arguments = cli.build_parser().parse_args(["prepare-data", *shlex.split(command)[2:]])
    assert (arguments.dataset, arguments.root) == (dataset, root)


@pytest.mark.parametrize("target", [c.split()[1] for c in COMMANDS if c.startswith("make ")])
def test_make_targets_exist(target):
    """`make test` is what runs this; `make demo` is run whole by `test_demo.py`."""
    result = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert ("pytest" if target == "test" else "tools/demo.sh") in result.stdout


def test_commands_on_weights(tmp_path):
    """In the README's order, in a folder with a file of the name that they give."""
    commands = [c for c in COMMANDS if "convert_weights.py" in c]
    assert len(commands) == 4
    (tmp_path / "tools").symlink_to(ROOT / "tools")
    save_tiny(tmp_path / "convnext_tiny_1k_224.pth")
    for command in commands:
        run(command, tmp_path)
    assert (tmp_path / "convnext_tiny" / "config.json").exists()
    assert (tmp_path / "convnext_tiny_timm.safetensors").exists()


def test_the_verbs_of_the_console_command(tmp_path, monkeypatch):
    """In a folder without a checkout."""
    monkeypatch.chdir(tmp_path)
    commands = [c for c in COMMANDS if c.startswith("convnext-dense ")]
    assert len(commands) == 3
    for command in commands:
        assert cli.main(shlex.split(command)[1:]) == 0
    assert load_config(tmp_path / "mine.py").model.backbone.arch == "base"


def test_every_command_is_known_to_a_test():
    known = re.compile(
        r"make (demo|test)$|source \.venv/bin/activate$|(python )?tools/\w+\.(py|sh) |convnext-dense "
    )
    assert [command for command in COMMANDS if not known.match(command)] == []


def test_installing_into_an_environment_of_ones_own():
    assert "`pip install -e .`" in README
    dry = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--dry-run",
        "--no-deps",
        "--no-build-isolation",
        "-e",
        ".",
    ]
    result = subprocess.run(dry, cwd=ROOT, capture_output=True, text=True)
    assert "convnext-dense" in result.stdout, result.stderr


def test_python_example_of_weights(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save_tiny("convnext_tiny_1k_224.pth")
    (example,) = (block for block in blocks("python") if "load_weights" in block)
    names = {}
    exec(compile(example, "README.md", "exec"), names)
    assert "tiny" in capsys.readouterr().out
    assert [tuple(m.shape) for m in names["maps"]][::3] == [(1, 96, 128, 128), (1, 768, 16, 16)]


def test_python_example_of_prediction(folder, monkeypatch):
    """After the training commands, whose checkpoint it reads."""
    monkeypatch.chdir(folder)
    (example,) = (block for block in blocks("python") if "Predictor" in block)
    names = {}
    exec(compile(example, "README.md", "exec"), names)
    assert names["picture"].shape == (60, 80, 3)


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_links_lead_somewhere(link):
    assert (ROOT / link).exists()


def test_no_placeholder_is_left():
    assert re.findall(r"@[A-Z_]+@|TODO", README) == []


def test_every_shipped_recipe_is_in_the_table():
    leaves = [p for p in (ROOT / "configs").rglob("*.py") if "_base_" not in p.parts]
    assert leaves
    for leaf in leaves:
        assert f"({leaf.relative_to(ROOT).as_posix()})" in README
