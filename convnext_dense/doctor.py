"""`convnext-dense doctor`: what is installed, what is missing, and the command that mends each thing.

Nothing is imported before its turn, so that it works where torch or OpenMMLab are missing or broken.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, Literal

from ._version import __version__
from .commands import command
from .config_files import configs_folder, shipped_configs
from .errors import UserError
from .files import human_bytes

_OLDEST_PYTHON = (3, 10)
#: Disk space below which a run is soon out of it: a handful of checkpoints.
_LITTLE_DISK_BYTES = 5e9
#: Shared memory below which the loaders' workers stop with a bus error: a few batches of large images.
_LITTLE_SHARED_BYTES = 1e9
_TORCH = 'pip install "torch>=2.6"   (the build for your machine: https://pytorch.org/get-started)'
#: Without a window system, and the last of two packages that write the same files.
_OPENCV = "pip install --force-reinstall --no-deps opencv-python-headless"
_ALL_ANEW = "install this toolkit anew in a new environment; `--debug` of any verb shows the whole error"
_ABSENT = "not installed"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        state: `ok`; `note`: nobody needs it, or it is worth knowing; `missing`: needed, and absent or broken.
        name: What was looked at.
        text: What was found.
        fix: The command or step that mends it; '' where there is nothing to mend.
    """

    state: Literal["ok", "note", "missing"]
    name: str
    text: str
    fix: str = ""


def examine(data: Path) -> Iterator[Finding]:
    """Yield a finding for each thing that a run needs or can use.

    Args:
        data: Folder that holds the data sets.
    """
    yield _python()
    yield _package()
    yield from _libraries()
    yield from _safely("operators", _operators)
    yield from _safely("requirements", _requirements)
    yield from _optional()
    yield from _safely("disk", _disk)
    yield from _data_sets(data)


def _safely(name: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """Yield what is found; if looking itself fails, that is the finding."""
    try:
        yield from look()
    except Exception as error:
        yield Finding("note", name, f"cannot tell: {_brief(error)}")


def _brief(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:200]


def _python() -> Finding:
    text = f"{platform.python_version()} on {platform.system()} {platform.machine()}, {sys.executable}"
    if sys.version_info < _OLDEST_PYTHON:
        return Finding("missing", "Python", text, "install Python 3.10 or newer, and this package with it")
    return Finding("ok", "Python", text)


def _package() -> Finding:
    try:
        text = f"{__version__}, {len(shipped_configs())} configs in {configs_folder()}"
    except UserError as error:
        return Finding("missing", "this toolkit", f"{__version__}; {error.what}", error.fix or "")
    return Finding("ok", "this toolkit", text)


def _libraries() -> Iterator[Finding]:
    """Import what everything needs, in the order in which one builds on the other."""
    broken = ""
    for name, package, fix in (
        ("torch", "torch", _TORCH),
        ("NumPy", "numpy", _install("numpy")),
        ("OpenCV", "cv2", _OPENCV),
        ("mmengine", "mmengine", _install("onedl-mmengine")),
        ("mmcv", "mmcv", _install("onedl-mmcv")),
        ("mmdet", "mmdet", _install("onedl-mmdetection")),
        ("mmseg", "mmseg", _install("onedl-mmsegmentation")),
    ):
        finding = _library(name, package, fix)
        if broken and finding.state == "missing" and finding.text != _ABSENT:
            finding = Finding("missing", name, finding.text, f"mend {broken} first, then look again")
        if finding.state == "missing":
            broken = broken or name
        yield finding
        if name == "torch" and finding.state == "ok":
            yield from _safely("device", _devices)
    if not broken:
        yield _whole()


def _whole() -> Finding:
    """Load what a run loads: a library that can be imported may still lack what its parts need."""
    from .engine.libraries import SCOPES, load_libraries

    try:
        load_libraries(*SCOPES)
    except Exception as error:
        return Finding("missing", "models", f"mmdet and mmseg do not load whole: {_brief(error)}", _ALL_ANEW)
    return Finding("ok", "models", "all of mmdet, mmseg and this toolkit load")


def _library(name: str, package: str, fix: str) -> Finding:
    try:
        module = import_module(package)
    except ModuleNotFoundError as error:
        if error.name == package:
            return Finding("missing", name, _ABSENT, fix)
        return Finding("missing", name, f"does not load: {_brief(error)}", _anew(fix))
    except Exception as error:  # a library that loads halfway can raise anything
        if "libGL" in str(error):
            return Finding("missing", name, "wants libGL, a part of a window system, which is not here", fix)
        return Finding("missing", name, f"does not load: {_brief(error)}", _anew(fix))
    return Finding("ok", name, str(getattr(module, "__version__", "of unknown version")))


def _anew(fix: str) -> str:
    """Return a command that installs what is there, but broken."""
    return (
        fix
        if "--force-reinstall" in fix
        else fix.replace("install", "install --force-reinstall --no-deps", 1)
    )


def _install(distribution: str) -> str:
    """Return the command that installs a package in the range that this toolkit asks for."""
    spec = next((str(r) for r in _required() if r.name == distribution), distribution)
    return f'pip install "{spec}"'


def _required() -> list[Any]:
    """Return what the installed package says that it needs; nothing in a checkout that is not installed."""
    try:
        from packaging.requirements import Requirement

        needed = map(Requirement, metadata.requires("convnext-dense") or ())
        return [r for r in needed if r.marker is None or r.marker.evaluate({"extra": ""})]
    except (ImportError, metadata.PackageNotFoundError):
        return []


def _requirements() -> Iterator[Finding]:
    """Say which required packages are absent or of a version that does not fit."""
    required = _required()
    if not required:
        yield Finding(
            "note", "requirements", "cannot be checked: the package is not installed", "pip install -e ."
        )
        return
    faults = []
    for requirement in required:
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            faults.append((requirement, "absent"))
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            faults.append((requirement, version))
    if not faults:
        yield Finding("ok", "requirements", f"all {len(required)} are installed, in versions that fit")
        return
    text = "\n".join(f"{requirement}: {found}" for requirement, found in faults)
    yield Finding("missing", "requirements", text, "pip install " + " ".join(f'"{r}"' for r, _ in faults))


def _devices() -> Iterator[Finding]:
    import torch

    for index in range(torch.cuda.device_count()):
        gpu = torch.cuda.get_device_properties(index)
        yield Finding("ok", "device", f"cuda:{index} {gpu.name}, {human_bytes(gpu.total_memory)}")
    if torch.cuda.is_available():
        return
    text = f"CPU, {os.cpu_count()} cores, of which torch uses {torch.get_num_threads()}"
    if Path("/dev/nvidia0").exists():
        built = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
        fix = "install the torch build that suits the driver: https://pytorch.org/get-started"
        yield Finding(
            "note", "device", f"{text}; there is an NVIDIA GPU that torch (built {built}) cannot use", fix
        )
        return
    yield Finding("ok", "device", text)


def _operators() -> Iterator[Finding]:
    """Say which implementation of mmcv's operators is used."""
    import torch

    from .ops import backend

    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        chosen = backend(device)
        names = {
            which: [op for op in chosen if chosen[op] == which] for which in sorted(set(chosen.values()))
        }
        text = "; ".join(f"{which}: {', '.join(ops)}" for which, ops in names.items())
        yield Finding("ok", f"operators {device}" if device != "cpu" else "operators", text)


def _optional() -> Iterator[Finding]:
    """Look at what some can use: torchvision's GPU kernels, loggers, completion."""
    for name, package, use in (
        ("torchvision", "torchvision", "faster operators on a GPU"),
        ("tensorboard", "tensorboard", "train --tensorboard"),
        ("shtab", "shtab", "completion in the shell"),
    ):
        finding = _library(name, package, f"pip install {package}")
        if finding.state == "missing":
            finding = Finding("note", name, f"{finding.text}; only for {use}", finding.fix)
        yield finding


def _disk() -> Iterator[Finding]:
    """Look at the space for runs, and for what workers share."""
    free = shutil.disk_usage(".").free
    state: Literal["ok", "note"] = "ok" if free >= _LITTLE_DISK_BYTES else "note"
    fix = "" if state == "ok" else "make room, or name another folder with --work-dir"
    yield Finding(state, "disk", f"{human_bytes(free)} free in {Path.cwd()}", fix)
    shared = Path("/dev/shm")
    if shared.is_dir() and (size := shutil.disk_usage(shared).total) < _LITTLE_SHARED_BYTES:
        yield Finding(
            "note",
            "shared memory",
            f"{human_bytes(size)}: workers that load data may stop with a bus error",
            "start the container with --shm-size=8g, or set num_workers=0 in the data loaders",
        )


def _data_sets(data: Path) -> Iterator[Finding]:
    """Look for the data sets that the configs name, where they look for them."""
    for verb, name, tree in (
        ("shapes", "shapes", "shapes/images/train"),
        ("ade20k", "ADE20K", "ade/ADEChallengeData2016/images/training"),
        ("coco", "COCO", "coco/train2017"),
    ):
        folder = data / tree
        if folder.is_dir():
            count = sum(1 for _ in os.scandir(folder))
            yield Finding("ok", name, f"{count:,} training images in {folder}")
        else:
            root = data / Path(tree).parts[0]
            words = ("--root", root) if data != Path("data") else ()
            yield Finding("note", name, f"not in {root}", command("prepare-data", verb, *words))
