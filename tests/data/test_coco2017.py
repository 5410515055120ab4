"""COCO 2017 from small archives of its shape, served on loopback or lying there."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from convnext_dense import cli
from convnext_dense import download as downloading
from convnext_dense.data.coco2017 import ANNOTATIONS, PARTS, missing_data_help, prepare_coco
from convnext_dense.errors import UserError

from .serving import Site, serve
from .test_ade20k import pack

IMAGES = {"val2017": 2, "train2017": 5}


def members(part):
    if part.images is None:
        return {f"annotations/{name}": b"{}" for name in (*ANNOTATIONS, "captions_val2017.json")}
    files = {f"{part.folder}/{i:012d}.jpg": os.urandom(900) for i in range(IMAGES[part.folder])}
    return {f"{part.folder}/": b"", **files}


@pytest.fixture
def archives():
    """Each small part with its archive's content."""
    packed = {part: pack(members(part)) for part in PARTS}
    return {
        replace(
            part,
            sha256=hashlib.sha256(content).hexdigest(),
            size=len(content),
            images=part.images and IMAGES[part.folder],
        ): content
        for part, content in packed.items()
    }


@pytest.fixture
def site(archives, monkeypatch):
    monkeypatch.setattr(downloading, "WAIT_S", 0.0)
    with serve(Site(files={f"/{part.path}": content for part, content in archives.items()})) as running:
        yield running


@pytest.fixture
def folder(archives, tmp_path):
    """A folder that holds the archives."""
    (tmp_path / "zips").mkdir()
    for part, content in archives.items():
        (tmp_path / "zips" / part.archive).write_bytes(content)
    return tmp_path / "zips"


def is_complete(root):
    jpg = {name: len(list((root / name).glob("*.jpg"))) for name in IMAGES}
    return jpg == IMAGES and all((root / "annotations" / name).read_bytes() == b"{}" for name in ANNOTATIONS)


def test_the_published_archives_are_named_with_their_counts():
    assert {part.folder: part.images for part in PARTS} == {
        "annotations": None,
        "val2017": 5000,
        "train2017": 118287,
    }
    assert all(len(part.sha256) == 64 for part in PARTS)
    assert PARTS[-1].size == 19_336_861_798


def test_download_unpack_and_leave_alone(archives, site, tmp_path):
    root = prepare_coco(tmp_path / "coco", url=site.base, parts=list(archives))
    assert is_complete(root)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    for part in archives:
        (root / part.archive).unlink()
        del before[root / part.archive]
    assert prepare_coco(root, url=site.base, parts=list(archives)) == root
    assert len(site.requested) == 3
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_a_broken_download_goes_on(archives, site, tmp_path):
    site.break_after = [300, 100]
    assert is_complete(prepare_coco(tmp_path / "coco", url=site.base, parts=list(archives)))
    assert site.requested[:3] == [None, "bytes=300-", "bytes=400-"]


def test_another_file_than_the_published_one_is_refused(archives, site, tmp_path):
    parts = [replace(part, sha256="0" * 64) for part in archives]
    with pytest.raises(UserError, match="SHA256 is"):
        prepare_coco(tmp_path / "coco", url=site.base, parts=parts)
    assert os.listdir(tmp_path / "coco") == []


def test_archives_that_are_there(archives, folder, tmp_path):
    for number, given in enumerate(([folder], sorted(folder.iterdir()))):
        assert is_complete(prepare_coco(tmp_path / str(number), given, parts=list(archives)))


def test_an_absent_archive_is_named_before_anything_is_unpacked(archives, folder, tmp_path):
    (folder / "train2017.zip").unlink()
    with pytest.raises(UserError, match=r"train2017\.zip is not among the archives"):
        prepare_coco(tmp_path / "coco", [folder], parts=list(archives))
    assert not (tmp_path / "coco").exists()


@pytest.mark.parametrize("damage", ["lost", "empty"])
def test_a_tree_with_lost_or_empty_images_is_mended(archives, folder, tmp_path, damage):
    root = prepare_coco(tmp_path / "coco", [folder], parts=list(archives))
    victim = root / "train2017" / f"{1:012d}.jpg"
    victim.unlink() if damage == "lost" else victim.write_bytes(b"")
    prepare_coco(root, [folder], parts=list(archives))
    assert is_complete(root) and victim.stat().st_size == 900


def test_an_archive_with_other_content_is_refused_before_unpacking(archives, folder, tmp_path):
    for lost, message in (
        (f"val2017/{1:012d}.jpg", "has 1 images in val2017 instead of 2"),
        (f"annotations/{ANNOTATIONS[0]}", f"has no {ANNOTATIONS[0]}"),
    ):
        (part,) = (part for part in archives if part.folder == lost.split("/")[0])
        kept = {name: content for name, content in members(part).items() if name != lost}
        (folder / part.archive).write_bytes(pack(kept))
        with pytest.raises(UserError, match=message):
            prepare_coco(tmp_path / "coco", [folder], parts=[replace(part, sha256="")])
    assert not (tmp_path / "coco").exists()


def test_a_member_outside_the_folder_is_refused(archives, folder, tmp_path):
    part = next(part for part in archives if part.folder == "val2017")
    (folder / part.archive).write_bytes(pack({**members(part), "val2017/../../evil.txt": b"evil"}))
    with pytest.raises(UserError, match="outside the folder"):
        prepare_coco(tmp_path / "coco", [folder], parts=[replace(part, sha256="")])
    assert not list(tmp_path.rglob("evil*")) and not (tmp_path / "coco").exists()


def test_by_hand(archives, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(prepare_coco, "__kwdefaults__", {"parts": list(archives)})
    command = ["prepare-data", "coco", "--root", str(tmp_path / "coco"), "--from-archive", str(folder)]
    assert cli.main(command) == cli.main(command) == 0
    out = capsys.readouterr().out
    assert "train2017, val2017 and their annotations in" in out
    assert "next: convnext-dense train configs/mask_rcnn_convnext_t.py" in out


def test_a_training_without_coco_says_how_to_get_it(tmp_path, monkeypatch, capsys):
    config = str(Path(__file__).parents[2] / "configs/mask_rcnn_convnext_t.py")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", config]) == 2
    error = capsys.readouterr().err
    assert "convnext-dense prepare-data coco --root data/coco" in error
    assert "train2017 holds 0 .jpg files instead of 118,287" in error
    assert missing_data_help("data/coco").splitlines()[1] in error
