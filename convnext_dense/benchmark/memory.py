"""How much memory a piece of work allocates at most."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path

import torch

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # proc(5): sets the peak resident size back to the present one


def peak_bytes(function: Callable[[], object], device: str = "cpu") -> int | None:
    """Run a function and return by how much the memory held exceeds what was held before, at most.

    What is there before, such as weights and inputs, does not count; gradients and results do. On a GPU it is
    what PyTorch's allocator hands out; on a CPU the resident size of the process, which also has what oneDNN,
    OpenCV and NumPy allocate. Run the function once before, for caches that it fills once and for all.

    Returns:
        Bytes; None on a CPU without Linux's `/proc`.
    """
    gc.collect()
    if device != "cpu":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        function()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    if not _reset_peak():
        return None
    before = _resident("VmRSS")
    function()
    return max(0, _resident("VmHWM") - before)


def _reset_peak() -> bool:
    """Give freed memory back to the system, and forget the peak so far; tells whether that worked."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
        _CLEAR.write_text(_RESET_PEAK)
    except (OSError, AttributeError):
        return False
    return True


def _resident(key: str) -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) * 1024  # the file says kB and means KiB
