"""`check-data` by hand, and the check before a training."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from convnext_dense import cli
from convnext_dense.data import check as checking
from convnext_dense.data.check import check_before_training
from convnext_dense.engine.config import load_config
from convnext_dense.engine.libraries import load_libraries
from convnext_dense.errors import UserError

from .checked import HEIGHT, NAMES, WIDTH, Coco, Masks, picture
from .test_check import save


def command(coco, out, *more):
    split = coco.split()
    paths = ["--coco", str(split.annotations), "--images", str(split.images), "--out", str(out)]
    return ["check-data", *paths, *more]


@pytest.mark.parametrize(("plant", "code"), [(None, 0), ("note", 0), ("warning", 1), ("error", 2)])
def test_exit_code_reports_and_table(tmp_path, capsys, plant, code):
    coco = Coco(tmp_path / "data")
    if plant == "note":
        save("L")(coco)
    elif plant == "warning":
        picture().save(coco.images / "<b>.png")
    elif plant == "error":
        coco.first(bbox=[30, 5, 0, 15])
    assert cli.main(command(coco, tmp_path / "out")) == code
    out = capsys.readouterr().out
    assert "train: 2 images, 2 classes, median size 64x48 px; " in out
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert [finding["severity"] for finding in report["findings"]] == ([plant] if plant else [])
    assert report["statistics"]["train"]["classes"]["cat"] == {"instances": 10, "images": 2}
    page = (tmp_path / "out/report.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 2 and page.count("data:image/png;base64,") == 1
    assert "http" not in page.replace("base64", "") and "<b>" not in page
    if plant:
        assert report["findings"][0]["kind"] in page and report["findings"][0]["kind"].split()[0] in out


def test_masks_by_hand(tmp_path, capsys):
    data = Masks(tmp_path)
    paths = ["--images", str(data.images), "--masks", str(data.masks), "--out", str(tmp_path / "out")]
    assert cli.main(["check-data", *paths, "--classes", *NAMES, "--full"]) == 0
    assert cli.main(["check-data", *paths, "--classes", "cat"]) == 2
    assert "label beyond the classes" in (tmp_path / "out/report.html").read_text()
    pixels = json.loads((tmp_path / "out/report.json").read_text())["statistics"]["masks"]["classes"]
    assert pixels["cat"] == {"pixels": WIDTH * HEIGHT, "images": 3}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "what to check?"),
        (["--coco", "a.json"], "0 folders of images for 1 of --coco"),
        (["--masks", "a", "--images", "b"], "--masks needs --classes"),
        (["--masks", "a", "--images", "b", "--classes", "c"], "the folder does not exist"),
        (["no.py"], "config file not found"),
    ],
)
def test_mistakes_on_the_command_line(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["check-data", *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.fixture
def config(tmp_path, monkeypatch):
    from tests.engine.conftest import write_toy_config

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return write_toy_config(tmp_path)


def test_a_training_is_not_begun_with_faulty_masks(config, tmp_path, capsys):
    mask = next((tmp_path / "data/labels/train").glob("*.png"))
    with Image.open(mask) as image:
        values = np.array(image)
    values[:5, :5] = 77
    Image.fromarray(values).save(mask)
    train = ["train", str(config), "--work-dir", str(tmp_path / "run")]
    assert cli.main(train) == 2
    error = capsys.readouterr().err
    assert f"{mask} has 77 (25 pixels)" in error and "--skip-check" in error
    assert not list((tmp_path / "run").glob("*.pth"))


def test_unchanged_data_are_looked_at_once(config, tmp_path, monkeypatch):
    assert cli.main(["check-data", str(config), "--out", str(tmp_path / "out")]) < 2
    cfg = load_config(config)
    load_libraries(cfg.default_scope)
    said = check_before_training(cfg)
    assert said[0].startswith("data check: ")

    def fails(*args, **kwargs):
        raise AssertionError

    monkeypatch.setattr(checking, "check_splits", fails)
    assert check_before_training(cfg) == said
    next((tmp_path / "data/labels/train").glob("*.png")).touch()
    with pytest.raises(AssertionError):
        check_before_training(cfg)


def test_a_data_set_that_the_check_does_not_know_is_told(config, capsys):
    options = [f"{split}_dataloader.dataset.type=BaseDataset" for split in ("train", "val")]
    assert cli.main(["check-data", str(config), "--cfg-options", *options]) == 2
    assert "does not know the data set type" in capsys.readouterr().err
    with pytest.raises(UserError, match="what to check"):
        checking.run(cli.build_parser().parse_args(["check-data"]))
