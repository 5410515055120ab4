from __future__ import annotations

import os
import threading
import time

import pytest

from convnext_dense.files import human_bytes, locked, typed_path, write_whole


def test_one_at_a_time_and_no_lock_file_left(tmp_path):
    inside, most = [], []

    def work():
        with locked(tmp_path / "x"):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.01)
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 6 and os.listdir(tmp_path) == []


def test_the_lock_is_released_by_an_error(tmp_path):
    with pytest.raises(KeyError), locked(tmp_path / "x"):
        raise KeyError
    with locked(tmp_path / "x"):
        pass


def test_write_whole_replaces(tmp_path):
    write_whole(tmp_path / "x", b"one")
    write_whole(tmp_path / "x", b"two")
    assert (tmp_path / "x").read_bytes() == b"two" and os.listdir(tmp_path) == ["x"]


@pytest.mark.parametrize(
    ("n", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (967_382_037, "967.4 MB"), (2.5e9, "2.50 GB")],
)
def test_human_bytes(n, text):
    assert human_bytes(n) == text


def test_a_path_as_it_is_typed_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert typed_path(tmp_path / "a/b.pth") == "a/b.pth"
    assert typed_path(tmp_path / "my runs/b.pth") == "'my runs/b.pth'"
    assert typed_path(tmp_path.parent / "b.pth") == str(tmp_path.parent / "b.pth")
