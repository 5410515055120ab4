"""What one has who installs a wheel: the console script in an environment of its own, without a checkout."""

import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from convnext_dense.cli import VERBS
from convnext_dense.config_files import shipped_configs
from convnext_dense.engine.config import load_config, plain

from .pseudo_terminal import Terminal

pytestmark = [pytest.mark.full, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[1]
#: What a checkout has that a build needs; the rest may be large.
SOURCES = ("convnext_dense", "configs", "pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """The console script of a wheel, in a new environment that sees nothing here but the dependencies."""
    folder = tmp_path_factory.mktemp("wheel")
    (folder / "source").mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name, folder / "source" / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            shutil.copy(ROOT / name, folder / "source" / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    build = [*pip, "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, folder / "source"]
    subprocess.run(build, check=True, env=_environment())
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "env", with_pip=False)
    python = folder / "env/bin/python"
    install = [*pip, "--python", python, "install", "-q", "--no-deps", "--no-index", wheel]
    subprocess.run(install, check=True, env=_environment())
    (packages,) = (folder / "env/lib").glob("python*/site-packages")
    # The .pth files in these folders, such as that of an editable install, are not read.
    places = [path for path in sys.path if path and not (Path(path) / "convnext_dense").exists()]
    (packages / "dependencies.pth").write_text("\n".join(places) + "\n")
    return folder / "env/bin/convnext-dense"


def _environment():
    return {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}


@pytest.fixture
def run(program, tmp_path):
    """A function that runs the console script in an empty folder, and returns what it prints."""

    def run(*words, code=0):
        done = subprocess.run(
            [program, *words], cwd=tmp_path, env=_environment(), capture_output=True, text=True, timeout=120
        )
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    return run


def test_it_is_the_installed_package_that_runs(program):
    code = "import convnext_dense; print(convnext_dense.__file__)"
    python = program.with_name("python")
    done = subprocess.run([python, "-c", code], env=_environment(), capture_output=True, text=True, cwd="/")
    assert Path(done.stdout.strip()).is_relative_to(program.parents[1])


@pytest.mark.parametrize("verb", [verb.name for verb in VERBS])
def test_help(run, verb):
    assert "examples:" in run(verb, "--help")


def test_configs_are_listed_and_written_out(run, tmp_path):
    assert run("list", "--names").split() == list(shipped_configs())
    run("config", "cascade_mask_rcnn_convnext_t", "--out", "mine.py")
    shipped = load_config(shipped_configs()["cascade_mask_rcnn_convnext_t"])
    assert plain(load_config(tmp_path / "mine.py").to_dict()) == plain(shipped.to_dict())


def test_a_config_of_ones_own_stands_on_the_bases_of_the_wheel(run, tmp_path):
    run("prepare-data", "shapes", "--train", "4", "--val", "2", "--size", "64")
    annotations = [f"data/shapes/annotations/instances_{split}.json" for split in ("train", "val")]
    images = [f"data/shapes/images/{split}" for split in ("train", "val")]
    words = ["--model", "mask_rcnn", "--coco", *annotations, "--images", *images, "--out", "mine.py"]
    assert "next: convnext-dense check-data mine.py" in run("new-config", *words)
    assert "MaskRCNN" in run("config", "mine.py")


def test_the_doctor_finds_it_sound(run):
    said = run("doctor")
    assert "all that is needed is here" in said
    assert re.search(r"(?s)ok +this toolkit .*?configs in\s+\S+/\.configs\n", said)


def test_a_missing_data_set_and_a_mistyped_name_are_told(run):
    said = run("train", "upernet_convnext_b", code=2)
    assert "the data set is not there" in said and "convnext-dense prepare-data ade20k" in said
    assert "did you mean upernet_convnext_b?" in run("train", "configs/upernet_convnext_b.py", code=2)


def test_from_data_to_pictures_by_name_in_a_terminal(run, program, tmp_path):
    """The progress stays on one line of 80 columns, and what the summary says to type next works."""
    said = run("prepare-data", "shapes", "--train", "8", "--val", "2", "--size", "64")
    name = re.search(r"next: convnext-dense train (\S+)", said)[1]
    few = ["train_cfg.max_iters=4", "train_cfg.val_interval=4", "default_hooks.logger.interval=1"]
    command = [program, "train", name, "--cfg-options", *few, "train_dataloader.num_workers=0"]
    env = {"PYTHONPATH": ""}
    with Terminal(command, cwd=tmp_path, env=env) as terminal:
        assert terminal.exit_code() == 0, terminal.text
    progress = [line for line in re.split(r"[\r\n]", terminal.text) if re.match(r"train +\d/4 ", line)]
    assert re.match(r"train +4/4 loss \S+ +\S+ it/s +data-wait \d+ % left 0:00:00", progress[-1])
    assert max(map(len, progress)) <= 80
    for verb, left in (("test", "metrics.json"), ("predict", "predictions")):
        words = re.search(rf"convnext-dense {verb} (.*)", terminal.text)[1].split()
        run(verb, *(word if word != "IMAGES" else "data/shapes/images/val" for word in words))
        assert list(tmp_path.rglob(left))
