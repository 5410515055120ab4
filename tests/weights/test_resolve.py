"""Where weights come from: paths, near misses, URLs and their cache."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import torch
from mmengine.config import Config, DictAction

import convnext_dense.download
from convnext_dense import UserError
from convnext_dense.weights import load_weights, resolve_source

from .toys import assert_same, backbone, randomise, save, state_of


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CONVNEXT_DENSE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "home" / "weights"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Serve a folder on loopback; yields its URL and path."""
    folder = tmp_path / "site"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(folder)))
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", folder
    server.shutdown()
    server.server_close()


def test_a_path_is_returned_as_it_is(tmp_path: Path) -> None:
    file = save({}, tmp_path / "net.pth")
    assert resolve_source(str(file)) == resolve_source(file) == file
    assert resolve_source(tmp_path) == tmp_path


def test_a_near_name_is_offered(tmp_path: Path) -> None:
    for name in ("convnext_tiny_1k_224.pth", "iter_20.pth", "notes.txt"):
        (tmp_path / name).touch()
    with pytest.raises(UserError) as caught:
        resolve_source(tmp_path / "convnext_tiny_1k_244.pth")
    error = caught.value
    assert error.where == str(tmp_path / "convnext_tiny_1k_244.pth")
    assert error.fix.startswith(f"did you mean {tmp_path / 'convnext_tiny_1k_224.pth'}?")
    assert "iter_20.pth" in error.fix and "notes.txt" not in error.fix


@pytest.mark.parametrize("source", ["nowhere/net.pth", "facebook/convnext-tiny-224"])
def test_a_folder_that_does_not_exist(source: str) -> None:
    with pytest.raises(UserError, match=r"does not exist either; give a file, a Hugging Face folder or an"):
        resolve_source(source)


def test_other_protocols_are_refused() -> None:
    with pytest.raises(UserError, match="s3:// address"):
        resolve_source("s3://bucket/net.pth")


def test_a_url_is_downloaded_once(site: tuple[str, Path], cache: Path) -> None:
    url, folder = site
    source = randomise(backbone())
    save({"model": state_of(source)}, folder / "net.pth")
    net = backbone()
    report = load_weights(net, f"{url}/net.pth?download=1")
    assert_same(net, source.state_dict())
    assert report.source == f"{url}/net.pth?download=1"
    assert (cache / "net.pth").is_file()

    (folder / "net.pth").unlink()
    assert resolve_source(f"{url}/net.pth") == cache / "net.pth"


def test_a_file_of_torch_hub_is_used_where_it_lies(tmp_path: Path, cache: Path) -> None:
    file = tmp_path / "torch" / "hub" / "checkpoints" / "net.pth"
    file.parent.mkdir(parents=True)
    save({}, file)
    assert resolve_source("https://example.invalid/convnext/net.pth") == file
    assert not cache.exists()


def test_offline_says_what_to_place_where(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convnext_dense.download, "WAIT_S", 0.0)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/convnext_base_1k_224.pth"
    with pytest.raises(UserError) as caught:
        resolve_source(url)
    error = caught.value
    assert "the weights convnext_base_1k_224.pth are not on this machine" in error.what
    assert error.where == url
    assert f"place it at {cache / 'convnext_base_1k_224.pth'}" in error.fix

    option = error.fix.rpartition("--cfg-options ")[2]
    key, _, value = option.partition("=")
    cfg = Config({"model": {"backbone": {"init_cfg": {"type": "Pretrained", "checkpoint": url}}}})
    cfg.merge_from_dict({key: DictAction._parse_iterable(value)})
    assert cfg.model.backbone.init_cfg is None, "the option that the message offers starts from scratch"

    cache.mkdir(parents=True, exist_ok=True)
    torch.save({}, cache / "convnext_base_1k_224.pth")
    assert resolve_source(url) == cache / "convnext_base_1k_224.pth"


def test_a_url_that_the_server_does_not_know(site: tuple[str, Path]) -> None:
    with pytest.raises(UserError, match="404"):
        resolve_source(f"{site[0]}/absent.pth")
    with pytest.raises(UserError, match="names no file"):
        resolve_source(f"{site[0]}/")
