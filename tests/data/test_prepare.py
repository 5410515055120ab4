from __future__ import annotations

import re

import pytest

from convnext_dense import cli
from convnext_dense.data import ade20k

from .serving import Site, serve
from .test_ade20k import COUNTS, members, pack


def test_shapes_by_hand(tmp_path, capsys):
    command = [
        "prepare-data",
        "shapes",
        "--root",
        str(tmp_path / "s"),
        "--train",
        "2",
        "--val",
        "1",
        "--size",
        "64",
    ]
    assert cli.main(command) == cli.main(command) == 0
    out = capsys.readouterr().out
    assert out.count(f"2 training and 1 validation scenes of 64x64, 9 classes, in {tmp_path / 's'}") == 2
    assert "set data_root" in out and re.search(
        r"next: convnext-dense train \S*upernet_convnext_atto_shapes", out
    )
    assert (tmp_path / "s" / "annotations" / "instances_val.json").exists()


def test_ade20k_by_hand(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(ade20k.prepare_ade20k, "__kwdefaults__", {"checksum": None, "counts": COUNTS})
    with serve(Site(pack(members()))) as site:
        assert cli.main(["prepare-data", "ade20k", "--root", str(tmp_path), "--url", site.url]) == 0
    out = capsys.readouterr().out
    assert str(tmp_path / ade20k.RELEASE) in out and "no longer needed" in out
    assert re.search(r"next: convnext-dense train \S*upernet_convnext_b\b", out)


def test_a_mistake_is_a_message_and_exit_code_2(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("")
    assert cli.main(["prepare-data", "shapes", "--root", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "holds other files" in error and f"where: {tmp_path}" in error and "--root" in error
    assert cli.main(["prepare-data", "ade20k", "--root", str(tmp_path), "--from-archive", "no.zip"]) == 2
    assert "does not exist" in capsys.readouterr().err


@pytest.mark.parametrize("dataset", ["shapes", "ade20k"])
def test_help_names_the_defaults(dataset, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["prepare-data", dataset, "--help"])
    assert stopped.value.code == 0
    assert f"data/{dataset.removesuffix('20k')}" in capsys.readouterr().out
