"""How much memory a piece of code holds at most, PyTorch's and NumPy's together."""

from __future__ import annotations

import tracemalloc

from torch.profiler import ProfilerActivity, profile


def peak_bytes(function):
    """Run a function and return by how many bytes its allocations exceed what was there before, at most."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        tracemalloc.start()
        try:
            function()
            in_python = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    held = in_torch = 0
    for event in profiler.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            in_torch = max(in_torch, held)
    return in_python + in_torch
