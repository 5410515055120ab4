"""Files that are damaged, no checkpoints, or hostile."""

from __future__ import annotations

import argparse
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from safetensors.torch import save_file

from convnext_dense import UserError
from convnext_dense.weights import load_weights, read_checkpoint

from .toys import assert_same, backbone, randomise, save, state_of


def _error(source: object) -> UserError:
    net = backbone()
    before = state_of(net)
    with pytest.raises(UserError) as caught:
        load_weights(net, source)
    assert_same(net, before)
    return caught.value


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return (eval, (f"open({str(self.marker)!r}, 'w').close()",))


def _torch_zip(content: object, path: Path) -> None:
    torch.save(content, path)


def _torch_old_format(content: object, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


def _torch_new_protocol(content: object, path: Path) -> None:
    torch.save(content, path, pickle_protocol=4)


def _plain_pickle(content: object, path: Path) -> None:
    path.write_bytes(pickle.dumps(content))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("place", ["beside", "inside", "whole"])
@pytest.mark.parametrize("write", [_torch_zip, _torch_old_format, _torch_new_protocol, _plain_pickle])
def test_a_payload_never_runs(tmp_path: Path, write: Callable[[object, Path], None], place: str) -> None:
    marker, file = tmp_path / "ran", tmp_path / "hostile.pth"
    state: dict[str, Any] = dict(state_of(backbone()))
    payload = Payload(marker)
    contents = {
        "beside": {"model": state, "optimizer": payload},
        "inside": {"model": state | {"stages.0.0.gamma": payload}},
        "whole": payload,
    }
    write(contents[place], file)
    error = _error(file)
    assert not marker.exists()
    assert "refers to code, which loading it could run: builtins.eval" in error.what
    assert error.where == str(file)
    assert "Only if you trust whoever made the file" in error.fix
    assert "torch.load('hostile.pth'" in error.fix
    with pytest.raises(UserError, match=r"builtins\.eval"):
        read_checkpoint(file)
    assert not marker.exists()

    pickle.loads(pickle.dumps(payload))
    assert marker.exists(), "the payload works where it is let"


def test_the_environment_cannot_switch_the_safety_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    file = save({"model": Payload(tmp_path / "ran")}, tmp_path / "hostile.pth")
    assert "builtins.eval" in _error(file).what
    assert not (tmp_path / "ran").exists()


def test_getattr_is_an_inert_stand_in(tmp_path: Path) -> None:
    """mmengine's log history refers to getattr; a file must not reach anything through it."""

    class Reach:
        def __reduce__(self) -> tuple:
            return (getattr, (HistoryBuffer, "mean"))

    content = read_checkpoint(save({"reached": Reach()}, tmp_path / "reach.pth"))
    assert not callable(content["reached"])
    assert not isinstance(content["reached"], type(HistoryBuffer.mean))


def test_a_whole_pickled_model_is_refused_with_its_classes(tmp_path: Path) -> None:
    error = _error(save(backbone(), tmp_path / "module.pth"))
    assert "convnext_dense.models.convnext.ConvNeXt" in error.what


def test_what_stock_trainings_put_beside_the_weights(tmp_path: Path) -> None:
    source = randomise(backbone())
    content = {
        "state_dict": state_of(source),
        "meta": {"epoch": 3, "cfg": "model = dict()"},
        "message_hub": {
            "log_scalars": {"loss": HistoryBuffer([1.0, 2.0], [1, 1])},
            "runtime_info": {"best": np.float64(3), "where": np.arange(3), "count": np.int64(3)},
        },
        "args": argparse.Namespace(lr=1e-4, sizes=[1, 2]),
    }
    net = backbone()
    load_weights(net, save(content, tmp_path / "iter_10.pth"))
    assert_same(net, source.state_dict())


def test_a_checkpoint_is_read_as_it_is(tmp_path: Path) -> None:
    content = {"state_dict": state_of(backbone()), "meta": {"iter": 7}, "optimizer": {"step": torch.ones(2)}}
    read = read_checkpoint(save(content, tmp_path / "iter_7.pth"))
    assert list(read) == list(content)
    assert read["meta"] == {"iter": 7}
    assert torch.equal(read["optimizer"]["step"], torch.ones(2))


@pytest.mark.parametrize("old_format", [False, True])
@pytest.mark.parametrize("kept", [0.0, 0.001, 0.1, 0.5, 0.99])
def test_a_truncated_file(tmp_path: Path, kept: float, old_format: bool) -> None:
    file = save(
        {"model": state_of(backbone())}, tmp_path / "cut.pth", _use_new_zipfile_serialization=not old_format
    )
    whole = file.read_bytes()
    file.write_bytes(whole[: int(kept * len(whole))])
    error = _error(file)
    assert ("is damaged or cut short" if kept else "is empty") in error.what
    assert error.where == f"{file} ({int(kept * len(whole)):,} bytes)"
    assert "get it again" in error.fix


@pytest.mark.parametrize("kept", [0.5, 0.99])
def test_truncated_safetensors(tmp_path: Path, kept: float) -> None:
    file = tmp_path / "cut.safetensors"
    save_file(state_of(backbone()), file)
    whole = file.read_bytes()
    file.write_bytes(whole[: int(kept * len(whole))])
    assert "is damaged or cut short" in _error(file).what


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"<!DOCTYPE html>\n<title>404", "the file is text, not weights; it begins with '<!DOCTYPE html>'"),
        (b"model = dict(type='EncoderDecoder')\n", "begins with \"model = dict(type='EncoderDecoder')\""),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "a Git LFS pointer"),
        (b"\x89PNG\r\n\x1a\n" + bytes(64), "no PyTorch checkpoint; it begins with the bytes 89 50 4e 47"),
    ],
)
@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_other_files_named_as_weights(tmp_path: Path, content: bytes, what: str, name: str) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    if name.endswith(".safetensors") and "bytes" in what:
        what = "is damaged"
    assert what in _error(file).what


@pytest.mark.parametrize("content", [[torch.ones(2)], torch.ones(2), {"epoch": 3, "model": {}}, {}])
def test_checkpoints_without_a_state_dict(tmp_path: Path, content: object) -> None:
    assert "holds" in _error(save(content, tmp_path / "other.pth")).what


def test_a_folder_without_weights(tmp_path: Path) -> None:
    error = _error(tmp_path)
    assert "holds no model.safetensors or pytorch_model.bin" in error.what
    save({}, tmp_path / "iter_20.pth")
    assert "iter_20.pth" in _error(tmp_path).fix


def test_shards_that_are_missing_or_a_broken_index(tmp_path: Path) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text('{"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}')
    save_file({"a": torch.ones(1)}, tmp_path / "one.safetensors")
    error = _error(tmp_path)
    assert "1 of 2 shards are missing: two.safetensors" in error.what
    index.write_text("[")
    assert "index of the shards" in _error(tmp_path).what
