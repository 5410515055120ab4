"""Where a checkpoint is: a path as it stands, or a URL's copy in the cache."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ..download import download
from ..errors import UserError, nearest

#: How the file of a checkpoint may end.
SUFFIXES = (".pth", ".pt", ".bin", ".safetensors", ".safetensors.index.json", ".bin.index.json")
_FROM_SCRATCH = "--cfg-options model.backbone.init_cfg=None"


def cache_folder() -> Path:
    """Return where downloads go: `weights` under `$CONVNEXT_DENSE_HOME` or `~/.cache/convnext_dense`."""
    home = os.environ.get("CONVNEXT_DENSE_HOME") or "~/.cache/convnext_dense"
    return Path(home).expanduser() / "weights"


def resolve_source(source: str | os.PathLike[str]) -> Path:
    """Return the local file or folder of a checkpoint, downloading it first where `source` is a URL.

    A file that torch hub has downloaded before is used where it lies. Several processes may ask for the same
    URL at once: one downloads, the others wait for it.

    Args:
        source: A file, a Hugging Face folder or an http(s) URL.

    Raises:
        UserError: Nothing is there, or the URL cannot be reached: the message names the file to place and
            where.
    """
    text = os.fspath(source)
    scheme = urlsplit(text).scheme if "://" in text else ""
    if scheme in ("http", "https"):
        return _from_url(text)
    if scheme:
        raise UserError(
            f"weights cannot be read from a {scheme}:// address",
            text,
            "download the file and give its path, or give an http(s) URL",
        )
    path = Path(text).expanduser()
    if not path.exists():
        raise UserError(
            "no such weights file" if path.suffix else "no such weights file or folder", text, _near(path)
        )
    return path


def _from_url(url: str) -> Path:
    import torch

    name = Path(unquote(urlsplit(url).path)).name
    if not name:
        raise UserError("the URL names no file", url, "give the URL of a weights file")
    target = cache_folder() / name
    in_torch_hub = Path(torch.hub.get_dir()) / "checkpoints" / name
    if in_torch_hub.is_file() and not target.exists():
        return in_torch_hub
    try:
        return download(url, target, label=name)
    except UserError as error:
        raise UserError(
            f"the weights {name} are not on this machine; {error.what}",
            url,
            f"download the file where there is a network and place it at {target}; "
            f"or start from scratch with {_FROM_SCRATCH}",
        ) from error


def _near(path: Path) -> str:
    """Say which weights lie near a path that does not exist."""
    folder = path.parent
    if not folder.is_dir():
        return (
            f"the folder {folder} does not exist either; give a file, a Hugging Face folder or an http(s) URL"
        )
    names = weight_files(folder)
    if not names:
        return f"{folder.resolve()} holds no weights; give a file, a Hugging Face folder or an http(s) URL"
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
