"""Every command of the tutorial runs: on small generated data, and whole on the real ones where they are."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convnext_dense.data.shapes import write_shapes

ROOT = Path(__file__).parents[2]
TUTORIAL = (ROOT / "docs/custom_data.md").read_text()
COMMANDS = [
    line for block in re.findall(r"^```bash\n(.*?)^```", TUTORIAL, re.M | re.S) for line in block.splitlines()
]
SHARED = ROOT.parent / "shared/data"


def commands(name):
    return [command for command in COMMANDS if name in command]


def run(command, folder):
    words = [sys.executable if word == "python" else word for word in shlex.split(command)]
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=3000)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "tools").symlink_to(ROOT / "tools")
    (tmp_path / "data").mkdir()
    return tmp_path


def shortened(command):
    command = re.sub(r"--epochs \d+", "--epochs 1", command)
    command = re.sub(r"--short-side \d+", "--short-side 64", command)
    return command.replace("--val 4", "--val 2")


def test_every_command_belongs_to_an_example():
    assert (
        len(COMMANDS) == len(commands("nuts")) + len(set(commands("camvid")) | set(commands("streets"))) == 12
    )


@pytest.mark.timeout(900)
def test_detection_on_generated_images(folder):
    shapes = write_shapes(folder / "shapes", 6, 1, 64, 0)
    (folder / "data/nuts").mkdir()
    shutil.copytree(shapes / "images/train", folder / "data/nuts/images")
    coco = json.loads((shapes / "annotations/instances_train.json").read_text())
    (folder / "data/nuts/trainval.json").write_text(json.dumps(coco))
    first, *others = commands("nuts")
    words = shlex.split(first)
    done = subprocess.run([sys.executable, *words[1:]], cwd=folder, capture_output=True, text=True)
    assert done.returncode in (0, 1), "so few objects earn warnings: " + done.stderr
    for command in others:
        run(shortened(command), folder)
    assert len(list((folder / "work_dirs/nuts/overlays").glob("*.png"))) == 2
    assert (folder / "predictions/predictions.json").exists()


@pytest.mark.timeout(900)
def test_segmentation_on_generated_images(folder):
    rng = np.random.default_rng(0)
    for split, number in (("train", 8), ("val", 2)):
        for kind in ("images", "annotations"):
            (folder / f"data/camvid/{kind}/{split}").mkdir(parents=True)
        for i in range(number):
            labels = np.kron((np.arange(12) + rng.integers(12)).reshape(3, 4) % 12, np.ones((24, 24))).astype(
                np.uint8
            )
            image = labels[..., None] * 20 + rng.integers(0, 20, (*labels.shape, 3))
            Image.fromarray(image.astype(np.uint8)).save(
                folder / f"data/camvid/images/{split}/{split}{i}.jpg"
            )
            Image.fromarray(labels).save(folder / f"data/camvid/annotations/{split}/{split}{i}.png")
    for command in [c for c in COMMANDS if "camvid" in c or "streets" in c]:
        run(shortened(command), folder)
    assert len(list((folder / "work_dirs/streets/overlays").glob("*.png"))) == 2


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("example", "source", "config", "score", "least"),
    [
        ("nuts", "nuts_coco", "nuts", "coco/bbox_mAP_50", 0.2),
        ("camvid", "camvid_small", "streets", "mIoU", 20),
    ],
)
def test_the_whole_tutorial_on_real_images(folder, example, source, config, score, least):
    if not (SHARED / source).is_dir():
        pytest.skip(f"needs the real images of {SHARED / source}, which are not here")
    shutil.copytree(SHARED / source, folder / "data" / example)
    for command in [c for c in COMMANDS if example in c or config in c]:
        run(command, folder)
    metrics = json.loads((folder / f"work_dirs/{config}/test/metrics.json").read_text())

    assert metrics[score] >= least
    assert list((folder / f"work_dirs/{config}/overlays").glob("*.png"))
