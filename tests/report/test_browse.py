"""`browse-data`: pictures of augmented samples and one page with all of them."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData, PixelData

from convnext_dense.cli import main
from convnext_dense.report.browse import draw_sample
from tests.engine.conftest import DEMO, write_toy_config

META = {"classes": ("cat", "dog"), "palette": ((255, 0, 0), (0, 255, 0))}
SHAPES_DET = "demo/mask_rcnn_convnext_atto_shapes.py"


class Truth(dict):
    """What a sample's annotations offer: membership, `get`, and attributes."""

    img_path = "a/b.jpg"
    __getattr__ = dict.__getitem__


def read(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.jpg")}


def pixel(picture, rgb):
    """Return whether a picture (H, W, 3) BGR has a pixel of about this colour."""
    return (np.abs(picture.astype(int) - np.array(rgb[::-1])).max(2) < 30).any()


@pytest.mark.parametrize(("source", "shown"), [(DEMO, "background"), (SHAPES_DET, "disc")])
def test_pictures_and_a_page_that_needs_nothing_else(tmp_path, capsys, source, shown):
    config = write_toy_config(tmp_path, source=source)
    out = tmp_path / "browse"
    command = ["browse-data", str(config), "--number", "3", "--views", "2", "--out", str(out)]
    assert main(command) == 0
    assert "6 pictures of 3 samples" in capsys.readouterr().out
    pictures = read(out)
    assert len(pictures) == 6
    page = (out / "index.html").read_text()
    codes = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    assert [base64.b64decode(code) for code in codes] == [pictures[name] for name in sorted(pictures)]
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "LoadImageFromFile &gt; " in page
    assert shown in page
    views = [cv2.imdecode(np.frombuffer(code, np.uint8), 1) for code in sorted(pictures.values())[:2]]
    assert all(view.ndim == 3 for view in views)

    assert main([*command[:-1], str(tmp_path / "again")]) == 0
    assert read(tmp_path / "again") == pictures, "the same command, the same pictures"
    assert main([*command[:-1], str(tmp_path / "other"), "--seed", "1"]) == 0
    assert read(tmp_path / "other") != pictures


def test_objects_are_drawn_where_they_are():
    image = torch.full((3, 40, 60), 200.0)
    objects = InstanceData(
        bboxes=torch.tensor([[5.0, 10, 25, 30]]),
        labels=torch.tensor([1]),
        masks=torch.zeros(1, 40, 60, dtype=torch.uint8),
    )
    objects.masks[0, 10:30, 5:25] = 1
    truth = Truth(gt_instances=objects, ignored_instances=InstanceData(labels=torch.tensor([0])))
    picture, caption = draw_sample({"inputs": image, "data_samples": truth}, META)
    left, right = np.split(picture, [picture.shape[1] // 2], axis=1)
    assert pixel(right, META["palette"][1])
    assert not pixel(left, META["palette"][1]), "the image as it is stands beside it"
    assert caption == "a/b.jpg, 60x40 px; 1 dog, 1 ignored"


def test_label_maps_are_told_in_shares():
    labels = torch.tensor([[0, 0], [1, 255]])
    truth = Truth(gt_sem_seg=PixelData(data=labels[None]))
    picture, caption = draw_sample({"inputs": torch.full((3, 2, 2), 9.0), "data_samples": truth}, META)
    assert caption == "a/b.jpg, 2x2 px; cat 50.0 %, dog 25.0 %, ignored (255) 25.0 %"
    assert picture.ndim == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--number", "0"], "count from 1"),
        (["--split", "val", "--cfg-options", "val_dataloader=None"], "val_dataloader"),
    ],
)
def test_mistakes_are_told(tmp_path, capsys, options, message):
    config = write_toy_config(tmp_path)
    assert main(["browse-data", str(config), *options]) == 2
    assert message in capsys.readouterr().err
    assert not Path("work_dirs/browse").exists()
