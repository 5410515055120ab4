"""What this machine is, and how fast it multiplies at best."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from .setting import DTYPES

_PACKAGES = (
    *("torch", "numpy", "onedl-mmengine", "onedl-mmcv", "onedl-mmdetection", "onedl-mmsegmentation"),
    *("transformers", "timm", "torchvision", "onedl-mmpretrain", "faster-coco-eval", "pycocotools"),
)
#: (rows or positions, channels in, channels out) of the products that the peak is measured with.
_PRODUCTS = ((2048, 1024, 2048), (8192, 384, 1536))
_REPETITIONS = 5


def describe_machine(device: str) -> dict[str, Any]:
    """Return processor, threads and versions, for the JSON."""
    machine: dict[str, Any] = {
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "versions": {name: version for name in _PACKAGES if (version := _version(name))},
    }
    if device != "cpu":
        machine["gpu"] = torch.cuda.get_device_name()
    return machine


@functools.cache
def peak_flops(dtype: str, device: str, threads: int) -> float:
    """Measure the most floating-point operations per second that a product or a convolution reaches here.

    The best of matrix products and 1×1 and 3×3 convolutions in channels_last memory, of a few sizes each.

    Args:
        dtype: A key of `DTYPES`.
        device: `cpu` or `cuda`.
        threads: CPU threads in force; part of the cache's key.
    """
    kind = DTYPES[dtype]
    best = 0.0
    with torch.no_grad():
        for rows, wide_in, wide_out in _PRODUCTS:
            a = torch.randn(rows, wide_in, device=device, dtype=kind)
            b = torch.randn(wide_out, wide_in, device=device, dtype=kind)
            image = a.view(1, 32, rows // 32, wide_in).permute(0, 3, 1, 2)
            work = 2 * rows * wide_in * wide_out
            best = max(best, _rate(functools.partial(F.linear, a, b), work, device))
            best = max(best, _rate(functools.partial(F.conv2d, image, b[:, :, None, None]), work, device))
        image = torch.randn(1, 512, 32, 32, device=device, dtype=kind).to(memory_format=torch.channels_last)
        kernel = torch.randn(512, 512, 3, 3, device=device, dtype=kind)
        kernel = kernel.to(memory_format=torch.channels_last)
        work = 2 * 32 * 32 * 9 * 512 * 512
        return max(best, _rate(functools.partial(F.conv2d, image, kernel, padding=1), work, device))


def synchronize(device: str) -> None:
    """Wait until a GPU has done what it was given."""
    if device != "cpu":
        torch.cuda.synchronize()


def _rate(function: Callable[[], object], work: int, device: str) -> float:
    seconds = []
    for _ in range(1 + _REPETITIONS):
        synchronize(device)
        start = time.perf_counter()
        function()
        synchronize(device)
        seconds.append(time.perf_counter() - start)
    return work / min(seconds[1:])


def _processor() -> str:
    """Return the processor's name and the vector extensions that decide how fast it multiplies."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    pairs = (line.partition(":") for line in lines)
    of = {key.strip(): value.strip() for key, _, value in pairs}
    wide = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in of.get("flags", "")]
    family = ", ".join(
        f"{key.removeprefix('cpu ')} {of[key]}" for key in ("cpu family", "model") if key in of
    )
    return f"{of.get('model name', platform.processor())} ({family}; {' '.join(wide)})"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
