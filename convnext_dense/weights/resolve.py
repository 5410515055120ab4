"""Where a checkpoint is: a path as it stands, or the copy in the cache of a URL or of published weights."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ..download import download
from ..errors import UserError, nearest
from .published import Published, find_published, published_weights

#: How the file of a checkpoint may end.
SUFFIXES = (".pth", ".pt", ".bin", ".safetensors", ".safetensors.index.json", ".bin.index.json")
_FROM_SCRATCH = "--cfg-options model.backbone.init_cfg=None"
_FORMS = (
    "give a file, a Hugging Face folder, an http(s) URL or a short name (convert-weights --list shows them)"
)


def cache_folder() -> Path:
    """Return where downloads go: `weights` under `$CONVNEXT_DENSE_HOME` or `~/.cache/convnext_dense`."""
    home = os.environ.get("CONVNEXT_DENSE_HOME") or "~/.cache/convnext_dense"
    return Path(home).expanduser() / "weights"


def resolve_source(source: str | os.PathLike[str]) -> Path:
    """Return the local file or folder of a checkpoint, downloading it first where that is needed.

    Published weights lie in the cache under their file's name, and are used where torch hub has downloaded
    them before; what their publisher says of their SHA-256 is verified. Files of any other URL lie in
    folders by host and path, as many are called the same. Several processes may ask for one URL at once: one
    downloads, the others wait for it.

    Args:
        source: A file, a Hugging Face folder, an http(s) URL or a short name of published weights.

    Raises:
        UserError: Nothing is there, the content is not the published one, or the URL cannot be reached: the
            message names the file to place and where.
    """
    text = os.fspath(source)
    scheme = urlsplit(text).scheme if "://" in text else ""
    if scheme in ("http", "https"):
        entry = find_published(text)
        # A mirror may have a file of the same name: only the publisher's address is the published file.
        return _from_publisher(entry) if entry and _same(entry.url, text) else _from_url(text)
    if scheme:
        raise UserError(
            f"weights cannot be read from a {scheme}:// address",
            text,
            "download the file and give its path, or give an http(s) URL",
        )
    path = Path(text).expanduser()
    if path.exists():
        return path
    if text in published_weights():
        return _from_publisher(published_weights()[text])
    raise UserError(
        "no such weights file" if path.suffix else "no such weights file, folder or short name",
        text,
        _near(path),
    )


def _same(url: str, given: str) -> bool:
    return urlsplit(url)[1:3] == urlsplit(given)[1:3]


def _from_publisher(entry: Published) -> Path:
    import torch

    target = cache_folder() / entry.file
    in_torch_hub = Path(torch.hub.get_dir()) / "checkpoints" / entry.file
    found = next((file for file in (target, in_torch_hub) if file.is_file()), None)
    if found:
        return download(entry.url, found, sha256=entry.sha256)  # only verifies what is there
    if entry.gated:
        raise UserError(
            f"the weights {entry.name} are not on this machine, and cannot be fetched without agreeing to "
            f"their licence: {entry.licence}",
            entry.url,
            f"agree there, download {entry.file} and place it at {target}; or name the file, or the Hugging "
            "Face folder",
        )
    return _fetch(entry.url, target, sha256=entry.sha256)


def _from_url(url: str) -> Path:
    parts = urlsplit(url)
    path = [part for part in unquote(parts.path).split("/") if part not in ("", ".", "..")]
    if not path or parts.path.endswith("/"):
        raise UserError("the URL names no file", url, "give the URL of a weights file")
    folder = cache_folder().joinpath(parts.netloc.replace(":", "_"), *path[:-1])
    if parts.query:  # it may be long, and hold what no folder may be called
        folder /= hashlib.sha256(parts.query.encode()).hexdigest()[:12]
    return _fetch(url, folder / path[-1])


def _fetch(url: str, target: Path, sha256: str | None = None) -> Path:
    try:
        return download(url, target, sha256=sha256, label=target.name)
    except UserError as error:
        raise UserError(
            f"the weights {target.name} are not on this machine; {error.what}",
            url,
            f"download the file where there is a network and place it at {target}; "
            f"or, where a config's init_cfg names it, start from scratch: {_FROM_SCRATCH}",
        ) from error


def _near(path: Path) -> str:
    """Say which weights lie near a path that does not exist, or which short name it may misspell."""
    if path.name == str(path) and (name := nearest(path.name, published_weights())):
        return f"did you mean {name!r}? convert-weights --list shows the short names of published weights"
    folder = path.parent
    if not folder.is_dir():
        return f"the folder {folder} does not exist either; {_FORMS}"
    names = weight_files(folder)
    if not names:
        return f"{folder.resolve()} holds no weights; {_FORMS}"
    close = nearest(path.name, names)
    hint = f"did you mean {folder / close}? " if close else ""
    return f"{hint}{folder} holds: {shorten(names)}"


def weight_files(folder: Path) -> list[str]:
    """Return the sorted names of the files in `folder` that look like weights."""
    return sorted(file.name for file in folder.iterdir() if file.name.endswith(SUFFIXES))


def shorten(names: list[str], limit: int = 10) -> str:
    """Join up to `limit` of the names, and say how many there are beyond."""
    more = f" … (+{len(names) - limit})" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
