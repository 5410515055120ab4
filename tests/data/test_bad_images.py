"""Images of every kind load as the table in docs/custom_data.md has it; bad ones are named or set aside."""

from __future__ import annotations

import csv
import json

import mmcv
import numpy as np
import pytest
from PIL import Image

from convnext_dense import cli
from convnext_dense.errors import UserError
from tests.engine.conftest import write_toy_config

from .checked import Coco, picture

BASE = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)


def load(path):
    """As mmcv's LoadImageFromFile does by default; returned as RGB."""
    return mmcv.imfrombytes(path.read_bytes(), flag="color", backend="cv2")[..., ::-1]


def gray(path):
    Image.fromarray(BASE[..., 0]).save(path)
    return np.repeat(BASE[..., :1], 3, 2)


def deep(path):
    values = BASE[..., 0].astype(np.uint16) * 256 + 77
    Image.fromarray(values).save(path)
    return np.repeat(BASE[..., :1], 3, 2)  # the upper eight bits


def transparent(path):
    alpha = np.full((48, 64, 1), 9, np.uint8)
    Image.fromarray(np.concatenate([BASE, alpha], 2)).save(path)
    return BASE  # alpha is dropped, not blended


def paletted(path):
    image = Image.fromarray(BASE).convert("P", palette=Image.Palette.ADAPTIVE)
    image.save(path)
    return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("write", [gray, deep, transparent, paletted])
def test_a_png_of_any_mode_is_three_channels_of_eight_bits(write, tmp_path):
    expected = write(tmp_path / "a.png")
    np.testing.assert_array_equal(load(tmp_path / "a.png"), expected)


def test_cmyk_is_converted(tmp_path):
    flat = Image.new("CMYK", (64, 48), (200, 30, 60, 20))
    flat.save(tmp_path / "a.jpg", quality=95)
    found = load(tmp_path / "a.jpg").reshape(-1, 3).mean(0)
    np.testing.assert_allclose(found, np.asarray(flat.convert("RGB"))[0, 0], atol=4)


@pytest.mark.parametrize("size", [(1, 1), (1, 5000)])
def test_images_of_odd_shape_load(size, tmp_path):
    Image.new("RGB", size, (9, 8, 7)).save(tmp_path / "a.png")
    assert load(tmp_path / "a.png").shape == (*size[::-1], 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation, tmp_path):
    tags = Image.Exif()
    tags[0x0112] = orientation
    Image.fromarray(BASE).save(tmp_path / "a.png", exif=tags)
    turned = {
        1: BASE,
        2: BASE[:, ::-1],
        3: BASE[::-1, ::-1],
        4: BASE[::-1],
        5: BASE.transpose(1, 0, 2),
        6: np.rot90(BASE, -1),
        7: BASE[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(BASE),
    }
    np.testing.assert_array_equal(load(tmp_path / "a.png"), turned[orientation])


def cut(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def many(folder, number):
    """A COCO file of so many images, one object each."""
    coco = Coco(folder)
    for i in range(2, number):
        picture(i).save(coco.images / f"{i}.jpg")
        coco.data["images"].append({**coco.data["images"][0], "id": 100 + i, "file_name": f"{i}.jpg"})
        coco.data["annotations"].append({**coco.data["annotations"][0], "id": 100 + i, "image_id": 100 + i})
    return coco


def instances(split, **options):
    from convnext_dense.detection import CocoInstances

    prefix = {"img": str(split.images)}
    return CocoInstances(str(split.annotations), data_prefix=prefix, **options)


def test_coco_bad_images_are_an_error_or_set_aside(tmp_path):
    coco = many(tmp_path, 200)
    victim = coco.images / "a.jpg"
    cut(victim)
    split, target = coco.split(), tmp_path / "run/bad.csv"
    with pytest.raises(UserError, match=r"a\.jpg is cut short"):
        instances(split)
    kept = instances(split, on_bad_image="skip", quarantine_file=str(target))
    assert len(kept) == 199 and str(victim) not in {kept.get_data_info(i)["img_path"] for i in range(199)}
    rows = list(csv.DictReader(target.open()))
    assert [(row["file"], row["fault"]) for row in rows] == [(str(victim), "image truncated")]
    with pytest.raises(UserError, match=r"a\.jpg is cut short"):
        instances(split, on_bad_image="skip", test_mode=True)

    for name in ("3.jpg", "4.jpg"):
        (coco.images / name).unlink()
    with pytest.raises(UserError, match="3 of 200 images cannot be loaded, more than 1%"):
        instances(split, on_bad_image="skip", quarantine_file=str(target))
    assert len(list(csv.DictReader(target.open()))) == 3


def test_an_image_of_another_size_is_never_set_aside(tmp_path):
    coco = many(tmp_path, 200)
    Image.new("RGB", (50, 40)).save(coco.images / "a.jpg")
    with pytest.raises(UserError, match="the file is 50x40"):
        instances(coco.split(), on_bad_image="skip", quarantine_file=str(tmp_path / "bad.csv"))


@pytest.fixture
def train(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    config = write_toy_config(tmp_path, **{"train_dataloader.dataset.type": "LabelMaps"})
    return lambda *more: cli.main(["train", str(config), "--work-dir", str(tmp_path / "run"), *more])


def test_segmentation_bad_images_are_an_error_or_set_aside(train, tmp_path, capsys):
    images, masks = (tmp_path / f"data/{kind}/train" for kind in ("images", "labels"))
    source = next(images.glob("*.*"))
    for i in range(200):
        for folder in (images, masks):
            known = next(folder.glob(f"{source.stem}.*"))
            (folder / f"copy{i}{known.suffix}").write_bytes(known.read_bytes())
    victim = images / f"copy3{source.suffix}"
    cut(victim)
    assert train() == 2
    assert str(victim) in capsys.readouterr().err
    assert train("--cfg-options", "train_dataloader.dataset.on_bad_image=skip") == 0
    rows = list(csv.DictReader((tmp_path / "run/quarantine.csv").open()))
    assert [row["file"] for row in rows] == [str(victim)]
    assert json.loads((tmp_path / "run/latest/metrics.json").read_text())
    for i in range(5, 9):
        cut(images / f"copy{i}{source.suffix}")
    assert train("--cfg-options", "train_dataloader.dataset.on_bad_image=skip") == 2
    assert "more than 1%" in capsys.readouterr().err


def test_a_file_that_only_decoding_gives_away_is_named(train, tmp_path, capsys):
    """Its header and its end are right, so that no quick look finds it."""
    for victim in (tmp_path / "data/images/train").glob("*.*"):
        Image.fromarray(BASE[:1, :1].repeat(90, 0).repeat(120, 1)).save(victim, format="PNG")
        content = bytearray(victim.read_bytes())
        content[41:60] = bytes(19)
        victim.write_bytes(content)
    assert train() == 2
    error = capsys.readouterr().err
    assert "an image cannot be decoded" in error and "data/images/train" in error
