from __future__ import annotations

import hashlib
import io
import os
import shutil
import stat
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from convnext_dense import download as downloading
from convnext_dense.data import ade20k, unpack
from convnext_dense.data.ade20k import RELEASE, flaws, missing_data_help, prepare_ade20k
from convnext_dense.errors import UserError

from .serving import Site, serve

COUNTS = {"training": 6, "validation": 4}
SHORT = {"training": "train", "validation": "val"}
SAMPLE = Path(__file__).parents[3] / "shared" / "data" / "ade20k_sample"


def png(channels: int = 1) -> bytes:
    shape = (4, 5) if channels == 1 else (4, 5, channels)
    return cv2.imencode(".png", np.full(shape, 7, np.uint8))[1].tobytes()


def members() -> dict[str, bytes]:
    """An archive of the release's form: folders, images, label maps and the two lists."""
    files = {
        f"{RELEASE}/": b"",
        f"{RELEASE}/objectInfo150.txt": b"Idx",
        f"{RELEASE}/sceneCategories.txt": b"a b",
    }
    for split, number in COUNTS.items():
        for i in range(1, number + 1):
            stem = f"ADE_{SHORT[split]}_{i:08d}"
            files[f"{RELEASE}/images/{split}/{stem}.jpg"] = os.urandom(2000)
            files[f"{RELEASE}/annotations/{split}/{stem}.png"] = png()
    return files


def pack(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(downloading, "WAIT_S", 0.0)


@pytest.fixture
def files():
    return members()


@pytest.fixture
def site(files):
    with serve(Site(pack(files))) as running:
        yield running


@pytest.fixture
def root(tmp_path):
    return tmp_path / "data" / "ade"


def prepare(root, site=None, **options):
    return prepare_ade20k(root, url=site.url if site else ade20k.URL, counts=COUNTS, **options)


def same(tree: Path, files: dict[str, bytes]) -> bool:
    found = {str(p.relative_to(tree.parent)): p.read_bytes() for p in tree.rglob("*") if p.is_file()}
    return found == {name: content for name, content in files.items() if not name.endswith("/")}


def saved(tmp_path, files) -> Path:
    (tmp_path / "a.zip").write_bytes(pack(files))
    return tmp_path / "a.zip"


def test_download_and_unpack(root, site, files):
    tree = prepare(root, site, checksum="sha256:" + hashlib.sha256(site.content).hexdigest())
    assert tree == root / RELEASE and same(tree, files)
    assert flaws(tree, COUNTS) == []
    assert sorted(os.listdir(root)) == [RELEASE, f"{RELEASE}.zip"]


def test_a_complete_tree_is_left_alone(root, site):
    tree = prepare(root, site)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert prepare(root, site) == prepare(tree, site) == tree
    assert len(site.requested) == 1 and {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_a_broken_download_goes_on(root, site, files):
    site.break_after = [5000, 3000]
    assert same(prepare(root, site), files)
    assert site.requested == [None, "bytes=5000-", "bytes=8000-"]


def test_a_download_that_stays_broken_goes_on_with_the_next_call(root, site, files):
    site.break_after = [5000, 0, 0, 0, 0]
    with pytest.raises(UserError, match="connection ended"):
        prepare(root, site)
    site.break_after = []
    assert same(prepare(root, site), files)
    assert site.requested[-1] == "bytes=5000-"


def test_a_wrong_checksum_unpacks_nothing(root, site):
    with pytest.raises(UserError, match="SHA1 is"):
        prepare(root, site, checksum="sha1:" + "0" * 40)
    assert os.listdir(root) == []


@pytest.mark.parametrize("checksum", ["abc", "md5:" + "0" * 32, "sha1:xyz", "sha256:" + "0" * 40])
def test_a_malformed_checksum_is_told(root, checksum):
    with pytest.raises(UserError, match="not a checksum"):
        prepare(root, checksum=checksum)


def test_the_publishers_archive_is_verified_by_its_known_checksum(root, monkeypatch):
    asked = {}

    def noted(url, target, **known):
        asked.update(known, url=url)
        raise UserError("no network here")

    monkeypatch.setattr(ade20k, "download", noted)
    with pytest.raises(UserError, match="no network"):
        prepare_ade20k(root)
    assert asked == {"url": ade20k.URL, "sha1": "219e1696abb36c8ba3a3afe7fb2f4b4606a897c7"}


def test_an_archive_that_is_there(tmp_path, root, files):
    archive = saved(tmp_path, files)
    digest = "sha1:" + hashlib.sha1(archive.read_bytes()).hexdigest()
    assert same(prepare(root, archive=archive, checksum=digest), files)
    with pytest.raises(UserError, match=r"SHA256 is .* instead of"):
        prepare(root / "other", archive=archive, checksum="sha256:" + "0" * 64)
    with pytest.raises(UserError, match="does not exist"):
        prepare(root / "other", archive=tmp_path / "b.zip")


def test_an_interrupted_unpack_is_mended(tmp_path, root, files, monkeypatch):
    archive, extract, calls = saved(tmp_path, files), unpack._extract, []

    def interrupted(*args):
        if len(calls) == 7:
            raise KeyboardInterrupt
        calls.append(args)
        extract(*args)

    monkeypatch.setattr(unpack, "_extract", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare(root, archive=archive)
    assert flaws(root / RELEASE, COUNTS)
    calls.clear()
    monkeypatch.setattr(unpack, "_extract", lambda *args: (calls.append(args), extract(*args)))
    assert same(prepare(root, archive=archive), files)
    assert len(calls) == len(files) - 1 - 7  # what was unpacked before is kept


@pytest.mark.parametrize("content", [None, b"", b"cut"])
def test_a_tree_with_lost_empty_or_truncated_files_is_mended(tmp_path, root, files, content):
    tree = prepare(root, archive=saved(tmp_path, files))
    (tree / "images" / "training" / "ADE_train_00000001.jpg").unlink()  # noticed by the count
    victim = tree / "images" / "training" / "ADE_train_00000002.jpg"
    victim.unlink() if content is None else victim.write_bytes(content)
    assert same(prepare(root, archive=saved(tmp_path, files)), files)


def test_an_empty_file_is_noticed_by_itself(tmp_path, root, files):
    tree = prepare(root, archive=saved(tmp_path, files))
    (tree / "images" / "validation" / "ADE_val_00000002.jpg").write_bytes(b"")
    assert flaws(tree, COUNTS) == ["images/validation/ADE_val_00000002.jpg is empty"]


def test_images_and_label_maps_must_pair_up(tmp_path, root, files):
    tree = prepare(root, archive=saved(tmp_path, files))
    folder = tree / "images" / "validation"
    (folder / "ADE_val_00000002.jpg").rename(folder / "ADE_val_00000009.jpg")
    assert flaws(tree, COUNTS) == ["validation: ADE_val_00000002 and 1 more have no partner"]


def test_colour_coded_label_maps_are_noticed(tmp_path, root, files):
    name = f"{RELEASE}/annotations/validation/ADE_val_00000001.png"
    with pytest.raises(UserError, match=r"ADE_val_00000001\.png is not an 8-bit label map"):
        prepare(root, archive=saved(tmp_path, files | {name: png(3)}))


@pytest.mark.parametrize(
    "name",
    [
        "../evil.txt",
        f"{RELEASE}/../../evil.txt",
        "/tmp/evil.txt",
        "C:\\evil.txt",
        f"{RELEASE}\\..\\..\\evil.txt",
    ],
)
def test_a_member_outside_the_folder_is_refused_and_nothing_is_unpacked(tmp_path, root, files, name):
    with pytest.raises(UserError, match="outside the folder"):
        prepare(root, archive=saved(tmp_path, files | {name: b"evil"}))
    assert not root.exists() and not list(tmp_path.rglob("evil*"))


def test_a_symbolic_link_in_the_archive_is_refused(tmp_path, root, files):
    archive = saved(tmp_path, files)
    link = zipfile.ZipInfo(f"{RELEASE}/images/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr(link, "/etc")
    with pytest.raises(UserError, match="outside the folder"):
        prepare(root, archive=archive)


@pytest.mark.parametrize(
    "name",
    [
        "ADE20K_2021_17_01/index_ade20k.pkl",
        "ADE20K_2021_17_01/images/ADE/training/urban/street/ADE_train_00016858.jpg",
        "ADE20K_2016_07_26/images/training/a/abbey/ADE_train_00000970_seg.png",
        "images/training/a/abbey/ADE_train_00000970_parts_1.png",
    ],
)
def test_an_archive_of_the_full_release_is_recognised(tmp_path, root, name):
    with pytest.raises(UserError, match="full ADE20K release") as caught:
        prepare(root, archive=saved(tmp_path, {name: b"x"}))
    assert name in caught.value.what and f"{RELEASE}.zip" in caught.value.fix
    assert not root.exists()


def test_a_tree_of_the_full_release_is_recognised(root):
    (root / RELEASE / "images" / "ADE" / "training").mkdir(parents=True)
    with pytest.raises(UserError, match="folder holds images/ADE: that is a full ADE20K release"):
        prepare(root)


@pytest.mark.parametrize("lost", ["images/training/ADE_train_00000003.jpg", "annotations/validation"])
def test_an_incomplete_archive_is_refused_before_unpacking(tmp_path, root, files, lost):
    kept = {name: content for name, content in files.items() if lost not in name}
    with pytest.raises(UserError, match=f"files in {RELEASE}/{lost.rsplit('/ADE_', 1)[0]} instead of"):
        prepare(root, archive=saved(tmp_path, kept))
    assert not root.exists()


def test_a_damaged_archive_is_told(tmp_path, root, files):
    archive = saved(tmp_path, files)
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="not a whole zip archive"):
        prepare(root, archive=archive)
    with zipfile.ZipFile(io.BytesIO(whole)) as opened:
        name = f"{RELEASE}/images/training/ADE_train_00000004.jpg"
        at = opened.getinfo(name).header_offset + 30 + len(name) + 1000
    archive.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    with pytest.raises(UserError, match=rf"damaged at .*{Path(name).name}"):
        prepare(root, archive=archive)
    archive.write_bytes(whole)
    assert same(prepare(root, archive=archive), files)


def test_a_full_disk_is_told_before_unpacking(tmp_path, root, files, monkeypatch):
    archive = saved(tmp_path, files)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(UserError, match="too full to unpack"):
        prepare(root, archive=archive)


def test_help_for_missing_data(root):
    text = missing_data_help(root)
    assert text == missing_data_help(root / RELEASE)
    assert f"convnext-dense prepare-data ade20k --root {root} " in text and "--from-archive" in text
    assert f"{root / RELEASE}/" in text
    assert "images/training/          20,210 .jpg files   (found: 0)" in text


def test_help_names_what_is_there(tmp_path, root, files):
    tree = prepare(root, archive=saved(tmp_path, files))
    assert "(found: 6)" in missing_data_help(tree)
    (root / "ADE20K_2021_17_01").mkdir()
    assert f"{root / 'ADE20K_2021_17_01'} is of a full ADE20K release" in missing_data_help(root)


@pytest.mark.skipif(not SAMPLE.exists(), reason="the real ADE20K sample is not beside the repository")
def test_real_label_maps_pass(tmp_path):
    tree = tmp_path / RELEASE
    for kind in ("images", "annotations"):
        shutil.copytree(SAMPLE / kind, tree / kind)
    assert flaws(tree, {"validation": 3}) == []
    assert flaws(tree)[0] == "images/training holds 0 .jpg files instead of 20,210"
