"""`--compile`: backbone and dense heads through `torch.compile`, and eagerly where that fails.

What is compiled are the parts that compute maps from maps. Proposals, samples and detections are lists of
changing length with Python between them, from which a compiler gains little and recompiles often.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from mmengine.logging import print_log
from torch import nn
from torch._dynamo.exc import TorchDynamoException
from torch._dynamo.utils import counters

#: Parts of OpenMMLab's segmentors and detectors that compute maps from maps.
PARTS = ("backbone", "neck", "decode_head", "auxiliary_head", "rpn_head")


class CompiledForward:
    """A module's `forward`, compiled at its first call; the module's own one if that fails.

    It stands in the place of the method, as OpenMMLab's heads call that, not the module. The module's
    parameters, buffers and their names stay as they are.

    Args:
        name: What messages call the module.
        forward: The bound method.
        dynamic: Whether sizes are symbols from the first graph on; None: from the first change on.

    Attributes:
        graphs: Graphs compiled, those of further shapes and modes included.
        seconds: How long the calls took that compiled any.
        failure: Why the method runs as it is; '' where it is compiled.
    """

    def __init__(self, name: str, forward: Callable[..., Any], dynamic: bool | None) -> None:
        self.name, self.graphs, self.seconds, self.failure = name, 0, 0.0, ""
        self._forward, self._dynamic = forward, dynamic
        self._compiled = torch.compile(forward, dynamic=dynamic)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the method."""
        if self.failure:
            return self._forward(*args, **kwargs)
        before, start = _graphs(), time.perf_counter()
        try:
            outputs = self._compiled(*args, **kwargs)
        except TorchDynamoException as error:
            self.failure = _reason(error)
            print_log(f"{self.name} runs uncompiled, with the same results: {self.failure}", "current")
            return self._forward(*args, **kwargs)
        if added := _graphs() - before:
            self.graphs += added
            self.seconds += time.perf_counter() - start
        return outputs

    def __deepcopy__(self, memo: dict[int, Any]) -> CompiledForward:
        """Copy it with its module, as an average of the weights does; the copy compiles for itself."""
        return CompiledForward(self.name, copy.deepcopy(self._forward, memo), self._dynamic)


def compile_parts(model: nn.Module, dynamic: bool | None = None) -> list[CompiledForward]:
    """Let the parts of a model compile when they are first called, in place.

    Args:
        model: A segmentor or detector, without wrapper.
        dynamic: See `CompiledForward`; True for detectors, whose images have many sizes.

    Returns:
        What stands in the place of each part's `forward`.
    """
    compiled = []
    for name in PARTS:
        part: Any = getattr(model, name, None)
        several = isinstance(part, nn.ModuleList)
        parts = {f"{name}.{i}": item for i, item in enumerate(part)} if several else {name: part}
        for label, module in parts.items():
            if isinstance(module, nn.Module):
                compiled.append(CompiledForward(label, module.forward, dynamic))
                module.forward = compiled[-1]
    return compiled


def describe_compiled(compiled: Sequence[CompiledForward]) -> str:
    """Say what was compiled and how long that took, in a line."""
    works = [part for part in compiled if part.graphs and not part.failure]
    fails = [part.name for part in compiled if part.failure]
    texts = []
    if works:
        seconds = sum(part.seconds for part in works)
        graphs = ", ".join(f"{part.name} ({part.graphs})" for part in works)
        texts.append(f"compiled in {seconds:.0f} s, graphs in brackets: {graphs}")
    if fails:
        texts.append(f"not compiled: {', '.join(fails)}")
    return "; ".join(texts) or "nothing was compiled"


def _graphs() -> int:
    return counters["stats"]["unique_graphs"]


def _reason(error: Exception) -> str:
    """Return the message's first line that says something, without the compiler's own advice."""
    lines = [line.strip() for line in str(error).splitlines()]
    return next((line for line in lines if line), type(error).__name__)
