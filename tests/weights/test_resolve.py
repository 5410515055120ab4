"""Where weights come from: paths, near misses, URLs and their cache."""

from __future__ import annotations

import hashlib
import io
import shutil
import socket
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import pytest
import torch
from mmengine.config import Config, DictAction

import convnext_dense.download
from convnext_dense import ConvNeXt, UserError
from convnext_dense.weights import load_weights, published, resolve, resolve_source

from .toys import V1, assert_same, backbone, randomise, save, state_of


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
    with pytest.raises(UserError, match=r"does not exist either; give a file, a Hugging Face folder, an"):
        resolve_source(source)


def test_a_misspelt_short_name() -> None:
    with pytest.raises(UserError, match="no such weights file, folder or short name") as caught:
        resolve_source("convnext_tinny_1k")
    assert "did you mean 'convnext_tiny_1k'?" in caught.value.fix


def test_other_protocols_are_refused() -> None:
    with pytest.raises(UserError, match="s3:// address"):
        resolve_source("s3://bucket/net.pth")


def _place(url: str) -> str:
    return urlsplit(url).netloc.replace(":", "_")


def test_a_url_is_downloaded_once(site: tuple[str, Path], cache: Path) -> None:
    url, folder = site
    source = randomise(backbone())
    save({"model": state_of(source)}, folder / "net.pth")
    net = backbone()
    report = load_weights(net, f"{url}/net.pth")
    assert_same(net, source.state_dict())
    assert report.source == f"{url}/net.pth"

    (folder / "net.pth").unlink()
    assert resolve_source(f"{url}/net.pth") == cache / _place(url) / "net.pth"


def test_files_of_one_name_do_not_replace_each_other(site: tuple[str, Path]) -> None:
    """On Hugging Face every repository has a `model.safetensors`."""
    url, folder = site
    for name in ("tiny", "base"):
        (folder / name).mkdir()
        (folder / name / "model.safetensors").write_text(name)
    for name in ("tiny", "base"):
        assert resolve_source(f"{url}/{name}/model.safetensors").read_text() == name
    (folder / "base" / "model.safetensors").write_text("another revision")
    assert resolve_source(f"{url}/base/model.safetensors?v=2").read_text() == "another revision"
    assert resolve_source(f"{url}/base/model.safetensors").read_text() == "base"


@pytest.fixture
def publish(site: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Let the published weights called `toy_net` be a file on the loopback site."""

    def publish(file: str, content: bytes, **options: object) -> Path:
        licence = published.Licence("Toy licence", "https://example.invalid/licence")
        entry = published.Published("toy_net", f"{site[0]}/{file}", file, licence, **options)
        monkeypatch.setattr(resolve, "published_weights", lambda: {"toy_net": entry})
        monkeypatch.setattr(published, "published_weights", lambda: {"toy_net": entry})
        (site[1] / file).write_bytes(content)
        return site[1] / file

    return publish


def test_a_short_name_fetches_the_published_file(publish, cache: Path) -> None:
    source = randomise(backbone())
    buffer = io.BytesIO()
    torch.save({"model": state_of(source)}, buffer)
    publish(f"net-{hashlib.sha256(buffer.getvalue()).hexdigest()[:8]}.pth", buffer.getvalue())
    net = ConvNeXt(V1, init_cfg={"type": "Pretrained", "checkpoint": "toy_net"})
    net.init_weights()
    assert_same(net, source.state_dict())
    (cached,) = (file for file in cache.iterdir() if file.suffix == ".pth")
    for given in ("toy_net", str(cached)):
        assert load_weights(net, given).licence == "Toy licence, https://example.invalid/licence"


def test_a_local_file_goes_before_a_short_name(
    publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish("net.pth", b"published")
    monkeypatch.chdir(tmp_path)
    Path("toy_net").write_bytes(b"mine")
    assert resolve_source("toy_net").read_bytes() == b"mine"


def test_content_that_does_not_have_the_published_hash(publish, cache: Path) -> None:
    publish("net-0123abcd.pth", b"tampered with")
    with pytest.raises(UserError, match=r"its SHA256 is [0-9a-f]{64} instead of 0123abcd"):
        resolve_source("toy_net")
    assert not (cache / "net-0123abcd.pth").exists()
    (cache / "net-0123abcd.pth").write_bytes(b"placed by hand, tampered with")
    with pytest.raises(UserError, match="instead of 0123abcd"):
        resolve_source("toy_net")


def test_gated_weights_say_what_to_agree_to_and_where_to_place_them(publish, cache: Path) -> None:
    file = publish("net.pth", b"gated", gated=True)
    with pytest.raises(UserError, match="without agreeing to their licence: Toy licence") as caught:
        resolve_source("toy_net")
    assert f"place it at {cache / 'net.pth'}" in caught.value.fix
    cache.mkdir(parents=True)
    shutil.copy(file, cache)
    assert resolve_source("toy_net") == cache / "net.pth"


def test_a_file_of_torch_hub_is_used_where_it_lies(tmp_path: Path, cache: Path) -> None:
    file = tmp_path / "torch" / "hub" / "checkpoints" / "convnext_tiny_1k_224.pth"
    file.parent.mkdir(parents=True)
    save({}, file)
    url = "https://dl.fbaipublicfiles.com/convnext/convnext_tiny_1k_224.pth"
    assert resolve_source(url) == resolve_source("convnext_tiny_1k") == file
    assert not cache.exists()


def test_offline_says_what_to_place_where(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convnext_dense.download, "WAIT_S", 0.0)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/convnext_base_1k_224.pth"
    place = cache / _place(url) / "convnext_base_1k_224.pth"
    with pytest.raises(UserError) as caught:
        resolve_source(url)
    error = caught.value
    assert "the weights convnext_base_1k_224.pth are not on this machine" in error.what
    assert error.where == url
    assert f"place it at {place};" in error.fix

    option = error.fix.rpartition("--cfg-options ")[2]
    key, _, value = option.partition("=")
    cfg = Config({"model": {"backbone": {"init_cfg": {"type": "Pretrained", "checkpoint": url}}}})
    cfg.merge_from_dict({key: DictAction._parse_iterable(value)})
    assert cfg.model.backbone.init_cfg is None, "the option that the message offers starts from scratch"

    place.parent.mkdir(parents=True, exist_ok=True)
    torch.save({}, place)
    assert resolve_source(url) == place


def test_a_url_that_the_server_does_not_know(site: tuple[str, Path]) -> None:
    with pytest.raises(UserError, match="404"):
        resolve_source(f"{site[0]}/absent.pth")
    with pytest.raises(UserError, match="names no file"):
        resolve_source(f"{site[0]}/")
