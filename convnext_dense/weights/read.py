"""From a file to a state dict, executing nothing that the file holds."""

from __future__ import annotations

import json
import os
import pickle
import pickletools
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..errors import UserError
from .resolve import resolve_source, shorten, weight_files

#: A Hugging Face folder's files, the preferred first.
_FOLDER_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
#: Keys under which checkpoints nest their state dict, the preferred first.
_CONTAINERS = ("state_dict", "model", "model_ema", "state_dict_ema", "teacher")
#: What distributed training and compilation put before every name.
_WRAPPERS = ("module.", "_orig_mod.")


class _Ignored:
    """Stands in for an object that checkpoints hold beside their tensors; keeps none of its content."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def _ignored(path: str) -> type[_Ignored]:
    module, _, name = path.rpartition(".")
    return type(name, (_Ignored,), {"__module__": module})


#: Names that checkpoints of mmengine (log history) and of the original training code (arguments) refer to.
#: Each is read as an inert stand-in *of that name*: the class or function itself is never touched, so that
#: even `getattr` can be named here.
_STAND_INS: list[Any] = [
    _ignored(path)
    for path in (
        "mmengine.logging.history_buffer.HistoryBuffer",
        "builtins.getattr",
        "numpy.ndarray",
        "numpy.dtype",
        "numpy._core.multiarray._reconstruct",
        "numpy._core.multiarray.scalar",
        "numpy.core.multiarray._reconstruct",
        "numpy.core.multiarray.scalar",
        "argparse.Namespace",
    )
]


def read_checkpoint(source: str | os.PathLike[str], *, mmap: bool = False) -> dict[str, Any]:
    """Read all that a checkpoint holds, as plain data with tensors on the CPU.

    Args:
        source: A file, a Hugging Face folder or a URL.
        mmap: Map the file instead of reading it, where its format allows. The tensors are valid only as long
            as nobody writes to the file.

    Raises:
        UserError: The file is missing, damaged, no checkpoint, or refers to code.
    """
    path = resolve_source(source)
    file = _file_of_folder(path) if path.is_dir() else path
    if file.name.endswith(".index.json"):
        return _read_shards(file, mmap)
    content = _read_file(file, mmap)
    if not isinstance(content, dict):
        raise UserError(
            f"the file holds a {type(content).__name__}, no checkpoint",
            str(file),
            "save a model's state_dict() with torch.save, or give another file",
        )
    return content


def read_state_dict(source: str | os.PathLike[str] | Mapping[str, Any]) -> dict[str, Tensor]:
    """Return a checkpoint's tensors by name, out of whatever they are nested in, without wrappers' prefixes.

    Raises:
        UserError: As `read_checkpoint`, or there is no tensor in it.
    """
    if isinstance(source, Mapping):
        return unwrap(source, "the given state dict")[0]
    return unwrap(read_checkpoint(source, mmap=True), os.fspath(source))[0]


def unwrap(content: Mapping[Any, Any], label: str) -> tuple[dict[str, Tensor], list[str]]:
    """Take a checkpoint's tensors out of what they are nested in.

    Args:
        content: As `read_checkpoint` returns it.
        label: What to call the checkpoint in an error.

    Returns:
        The tensors by name, and the keys and prefixes that were around them.

    Raises:
        UserError: There is no tensor.
    """
    top, around = content, []
    while key := next((key for key in _CONTAINERS if _is_filled(content.get(key))), None):
        content = content[key]
        around.append(key)
    state = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    while prefix := next((w for w in _WRAPPERS if any(name.startswith(w) for name in state)), None):
        state = {name.removeprefix(prefix): value for name, value in state.items()}
        around.append(prefix)
    if not state:
        keys = shorten([str(key) for key in top]) or "nothing"
        raise UserError(
            f"the checkpoint holds no weights, but {keys}",
            label,
            "give a checkpoint with tensors at its top level or under " + ", ".join(_CONTAINERS),
        )
    return state, around


def _is_filled(value: Any) -> bool:
    return isinstance(value, Mapping) and bool(value)


def _file_of_folder(folder: Path) -> Path:
    for name in _FOLDER_FILES:
        if (folder / name).is_file():
            return folder / name
    others = weight_files(folder)
    raise UserError(
        f"the folder holds no {_FOLDER_FILES[0]} or {_FOLDER_FILES[2]}",
        str(folder),
        f"name one of its files: {shorten(others)}" if others else "give a file, or a folder with weights",
    )


def _read_shards(index: Path, mmap: bool) -> dict[str, Any]:
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            "the index of the shards is not readable", str(index), "download the folder again"
        ) from error
    files = [index.parent / Path(str(name)).name for name in names]
    absent = [file.name for file in files if not file.is_file()]
    if absent:
        raise UserError(
            f"{len(absent)} of {len(files)} shards are missing: {shorten(absent)}",
            str(index.parent),
            "download them, too",
        )
    state: dict[str, Any] = {}
    for file in files:
        state.update(_read_file(file, mmap))
    return state


def _read_file(file: Path, mmap: bool) -> Any:
    try:
        if file.name.endswith(".safetensors"):
            return load_file(file)
        with torch.serialization.safe_globals(_STAND_INS):
            return torch.load(
                file, map_location="cpu", weights_only=True, mmap=mmap and zipfile.is_zipfile(file)
            )
    except MemoryError:
        raise
    except PermissionError as error:
        raise UserError("the file may not be read", str(file), "check its permissions") from error
    except SafetensorError as error:
        raise _unreadable(file, str(error)) from error
    except Exception as error:  # a damaged pickle can raise anything
        if isinstance(error, pickle.UnpicklingError) and _looks_like_torch(file):
            raise _refused(file, str(error)) from error
        raise _unreadable(file, str(error)) from error


def _head(file: Path) -> bytes:
    with open(file, "rb") as opened:
        return opened.read(256)


def _looks_like_torch(file: Path) -> bool:
    return _head(file).startswith((b"PK\x03\x04", b"\x80"))


def _unreadable(file: Path, detail: str) -> UserError:
    """Say what a file is that is no checkpoint."""
    head = _head(file)
    if not head:
        what = "the weights file is empty"
    elif head.startswith(b"version https://git-lfs"):
        what = "the file is a Git LFS pointer, not the weights themselves"
    elif _is_text(head):
        first_line = head.decode("utf-8", "replace").strip().splitlines()[0][:60]
        what = f"the file is text, not weights; it begins with {first_line!r}"
    elif file.name.endswith(".safetensors") or _looks_like_torch(file):
        reason = re.split(r"\.\s|\n", detail.strip())[0][:160]
        what = f"the weights file is damaged or cut short{f' ({reason})' if reason else ''}"
    else:
        what = f"the file is no PyTorch checkpoint; it begins with the bytes {head[:8].hex(' ')}"
    size = file.stat().st_size
    return UserError(what, f"{file} ({size:,} bytes)", "delete it and get it again, or give another file")


def _is_text(head: bytes) -> bool:
    return all(byte >= 32 or byte in b"\t\n\r" for byte in head) and b"\x80" not in head[:1]


def _refused(file: Path, detail: str) -> UserError:
    """Say what a file refers to beside data, and how to make a plain file of it."""
    # torch names the first that it meets, without `builtins.`
    first = set(re.findall(r"GLOBAL (\S+) (?:was not|whose)", detail))
    named = sorted(_globals_of(file) | first)
    named = [name for name in named if f"builtins.{name}" not in named]
    if named:
        what = f"it refers to code, which loading it could run: {shorten(named)}"
    else:
        what = "it holds more than tensors, numbers and strings, or was not saved by torch.save"
    command = (
        "python -c \"import torch; c = torch.load(IN, map_location='cpu', weights_only=False); "
        "c = c if isinstance(c, dict) else c.state_dict(); "
        "torch.save(dict(c.get('state_dict', c.get('model', c))), 'plain.pth')\""
    ).replace("IN", repr(file.name), 1)
    return UserError(
        f"the checkpoint was not loaded: {what}",
        str(file),
        "get the weights as .safetensors or as a plain state dict. Only if you trust whoever made the file, "
        f"convert it, better on a machine without anything of value: {command}",
    )


def _globals_of(file: Path) -> set[str]:
    """List the classes and functions that a file's pickles refer to, torch's aside; nothing is imported."""
    names: set[str] = set()
    strings: list[str] = []
    try:
        for opcode, argument, _ in _opcodes(file):
            if opcode.name == "GLOBAL":
                names.add(argument.replace(" ", ".").replace("__builtin__.", "builtins."))
            elif opcode.name == "STACK_GLOBAL":
                names.add(".".join(strings[-2:]))
            elif isinstance(argument, str):
                strings.append(argument)
    except Exception:  # damaged: what was found before stands
        pass
    harmless = {f"{stand_in.__module__}.{stand_in.__name__}" for stand_in in _STAND_INS}
    harmless |= {"collections.OrderedDict", "_codecs.encode", "builtins.set", "builtins.bytearray"}
    return {name for name in names if not name.startswith("torch.") and name not in harmless}


def _opcodes(file: Path) -> Iterator[tuple[Any, Any, int | None]]:
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            pickled = next(name for name in archive.namelist() if name.endswith("data.pkl"))
            yield from pickletools.genops(archive.read(pickled))
        return
    with open(file, "rb") as opened:
        for _ in range(4):  # the old format is three small pickles, then the object
            yield from pickletools.genops(opened)
