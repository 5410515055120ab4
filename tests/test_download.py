from __future__ import annotations

import hashlib
import os
import re
import shutil
import socket
import threading
from pathlib import Path

import pytest

from convnext_dense import download as module
from convnext_dense.download import download
from convnext_dense.errors import UserError
from convnext_dense.files import file_digest

from .data.serving import Site, serve

CONTENT = os.urandom(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(module, "WAIT_S", 0.0)


@pytest.fixture
def site():
    with serve(Site(CONTENT)) as running:
        yield running


@pytest.fixture
def target(tmp_path) -> Path:
    return tmp_path / "deep" / "file.bin"


def only_file(target: Path) -> bool:
    return os.listdir(target.parent) == [target.name]


def test_brings_the_file_and_leaves_nothing_else(site, target):
    assert download(site.url, target, sha256=SHA256, size=len(CONTENT)) == target
    assert target.read_bytes() == CONTENT
    assert only_file(target)


def test_a_file_that_is_there_is_not_asked_for_again(site, target):
    download(site.url, target, sha256=SHA256)
    download(site.url, target, sha256=SHA256.upper(), size=len(CONTENT))
    download(site.url, target)
    assert len(site.requested) == 1


def test_a_wrong_file_in_the_place_is_refused_and_left_alone(site, target):
    target.parent.mkdir()
    target.write_bytes(b"mine")
    with pytest.raises(UserError, match="there already, but its SHA256"):
        download(site.url, target, sha256=SHA256)
    with pytest.raises(UserError, match="4 bytes instead of 5"):
        download(site.url, target, size=5)
    assert target.read_bytes() == b"mine" and not site.requested


def test_broken_connections_are_resumed_where_they_stopped(site, target):
    site.break_after = [100_000, 50_000, 0]
    download(site.url, target, sha256=SHA256)
    assert target.read_bytes() == CONTENT
    assert site.requested == [None, "bytes=100000-", "bytes=150000-", "bytes=150000-"]


def test_the_next_call_goes_on_with_what_the_last_one_left(site, target):
    site.break_after = [120_000, 0, 0, 0, 0]
    with pytest.raises(UserError, match=r"connection ended after 120\.0 kB of 300\.0 kB") as caught:
        download(site.url, target)
    assert "go on from 120.0 kB" in caught.value.fix and not target.exists()
    site.break_after = []
    download(site.url, target)
    assert site.requested[-1] == "bytes=120000-"
    assert target.read_bytes() == CONTENT and only_file(target)


def test_a_server_without_ranges_is_read_from_the_start(site, target):
    site.ranges, site.break_after = False, [100_000]
    download(site.url, target, sha256=SHA256)
    assert target.read_bytes() == CONTENT


def test_parts_of_two_versions_are_never_joined(site, target):
    site.break_after = [100_000, 0, 0, 0, 0]
    with pytest.raises(UserError):
        download(site.url, target)
    site.content, site.etag, site.break_after = os.urandom(300_000), '"v2"', []
    download(site.url, target)
    assert target.read_bytes() == site.content


def test_a_part_of_unknown_origin_is_only_used_if_the_checksum_can_tell(site, target):
    target.parent.mkdir()
    part = target.with_name("file.bin.part")
    part.write_bytes(b"x" * 1000)
    download(site.url, target)
    assert site.requested == [None] and target.read_bytes() == CONTENT
    target.unlink()
    part.write_bytes(b"x" * 1000)
    download(site.url, target, sha256=SHA256)  # resumed, found wrong, brought anew
    assert site.requested[1:] == ["bytes=1000-", None] and target.read_bytes() == CONTENT


@pytest.mark.parametrize("surplus", [0, 7])
def test_a_part_of_full_length_or_more_is_settled(site, target, surplus):
    target.parent.mkdir()
    target.with_name("file.bin.part").write_bytes(CONTENT + b"x" * surplus)
    download(site.url, target, sha256=SHA256)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("known", ["sha256", "sha1"])
def test_a_wrong_checksum_is_named_and_nothing_is_kept(site, target, known):
    digest = "0" * (64 if known == "sha256" else 40)
    with pytest.raises(UserError, match=f"{known.upper()} is .* instead of 0000") as caught:
        download(site.url, target, **{known: digest}, label="the weights")
    assert "the weights" in caught.value.what and caught.value.where == site.url
    assert os.listdir(target.parent) == []


def test_another_size_is_noticed_before_the_download(site, target):
    with pytest.raises(UserError, match="300000 bytes instead of 12"):
        download(site.url, target, size=12)
    assert os.listdir(target.parent) == []


def test_a_missing_page_is_not_tried_again(site, target):
    site.status = 404
    with pytest.raises(UserError, match="404") as caught:
        download(site.url, target)
    assert len(site.requested) == 1 and str(target) in caught.value.fix


def test_a_busy_server_is_tried_again(site, target):
    site.fail_first = 2
    download(site.url, target, sha256=SHA256)
    assert len(site.requested) == 3


def test_a_closed_port_is_a_short_message(target):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(UserError, match="Connection refused") as caught:
        download(f"http://127.0.0.1:{port}/x", target)
    assert str(target) in caught.value.fix


@pytest.mark.parametrize("url", ["ftp://host/x", "file:///etc/passwd", "weights.pth", "https://"])
def test_only_web_addresses_are_taken(url, target):
    with pytest.raises(UserError, match="not a web address"):
        download(url, target)


def test_a_disk_that_is_too_small_is_told_before_the_download(site, target, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1000))
    with pytest.raises(UserError, match=r"too full .*300\.0 kB are needed, 1\.0 kB are free"):
        download(site.url, target)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_that_fills_up_is_told(site, target):
    target.parent.mkdir()
    target.with_name("file.bin.part").symlink_to("/dev/full")
    with pytest.raises(UserError, match="too full"):
        download(site.url, target)


def test_a_folder_that_cannot_be_made_is_told(site, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        download(site.url, tmp_path / "file" / "x.bin")
    with pytest.raises(UserError, match="a folder stands"):
        download(site.url, tmp_path)


def test_ctrl_c_keeps_what_has_arrived(site, target, monkeypatch):
    read, calls = module._read, []

    def interrupted(response):
        if calls:
            raise KeyboardInterrupt
        calls.append(response)
        return read(response)

    monkeypatch.setattr(module, "CHUNK", 65_536)
    monkeypatch.setattr(module, "_read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        download(site.url, target)
    kept = target.with_name("file.bin.part").read_bytes()
    assert kept and CONTENT.startswith(kept)
    monkeypatch.setattr(module, "_read", read)
    download(site.url, target)
    assert site.requested[-1] == f"bytes={len(kept)}-" and target.read_bytes() == CONTENT


def test_several_at_once_download_once(site, target):
    threads = [threading.Thread(target=download, args=(site.url, target)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert site.requested == [None] and target.read_bytes() == CONTENT and only_file(target)


def test_plain_lines_where_there_is_no_terminal(site, target, capsys):
    download(site.url, target, label="tiny weights")
    shown = capsys.readouterr().err
    assert re.search(r"downloading tiny weights: +100 % of 300\.0 kB", shown) and "\x1b" not in shown


def test_file_digest(tmp_path):
    (tmp_path / "f").write_bytes(CONTENT)
    assert file_digest(tmp_path / "f") == SHA256
    assert file_digest(tmp_path / "f", "sha1") == hashlib.sha1(CONTENT).hexdigest()
