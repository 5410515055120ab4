"""The forms in which a model runs: as it is, in channels_last memory, compiled."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from .setting import Setting
from .timing import CHANNELS_LAST, COMPILED, COMPILED_LAST, EAGER, OURS, Side

#: The names of a model's parts that are compiled; '' is the model itself.
Parts = Sequence[str]


@dataclass
class Pass:
    """A forward pass of a model or, in training, a forward and a backward pass.

    Attributes:
        call: Computes the outputs; in training their gradients are taken, as if the loss were a sum of random
            multiples of them (a loss itself is left as it is).
        model: The parameters whose gradients are taken.
        watched: Parameters whose gradients are compared with the other sides', in the same order everywhere.
        setting: Mode and precision.
        compared: Computes what is compared in evaluation; None for what `call` returns.
    """

    call: Callable[[], Sequence[Tensor]]
    model: nn.Module
    watched: Sequence[nn.Parameter]
    setting: Setting
    compared: Callable[[], Sequence[Tensor]] | None = None
    _gradients: list[Tensor] = field(default_factory=list)

    def __call__(self) -> Sequence[Tensor]:
        """Do the work that is timed."""
        if not self.setting.trains:
            with torch.no_grad(), self.setting.precision():
                return self.call()
        with self.setting.precision():
            outputs = self.call()
        if not self._gradients:
            generator = torch.Generator().manual_seed(1)
            self._gradients = [
                torch.ones_like(output)
                if output.ndim == 0
                else torch.randn(output.shape, generator=generator).to(output)
                for output in outputs
            ]
        torch.autograd.backward(outputs, self._gradients)
        return outputs

    def outputs(self) -> list[Tensor]:
        """Return what is compared: outputs, and in training gradients too."""
        if not self.setting.trains:
            with torch.no_grad(), self.setting.precision():
                return list(self.call() if self.compared is None else self.compared())
        self.reset()
        outputs = self()
        return [*outputs, *(p.grad.flatten() for p in self.watched if p.grad is not None)]

    def reset(self) -> None:
        """Forget the gradients."""
        self.model.zero_grad(set_to_none=True)

    def side(self, name: str, form: str) -> Side:
        """Return the pass as a side of a comparison."""
        forward = self._forward if self.setting.trains else None
        return Side(name, form, self, self.outputs, self.reset, forward)

    def _forward(self) -> Sequence[Tensor]:
        with self.setting.precision():
            return self.call()


def in_forms(
    name: str, model: Any, setting: Setting, parts: Parts = ("",)
) -> Iterator[tuple[str, Any, Callable[[Tensor], Tensor]]]:
    """Yield each form's name, the model in that form, and what brings an image into its memory format.

    Our own models choose their memory format themselves, so that they have no second one. The forms share
    weights as far as they can.

    Args:
        name: `OURS` or a peer's.
        model: The model; in training or evaluation mode from here on, as the setting says.
        setting: Whether compiled forms are wanted.
        parts: What to compile.
    """
    model.train(setting.trains)
    formats: list[tuple[str, str, torch.memory_format]] = [(EAGER, COMPILED, torch.contiguous_format)]
    if name != OURS:
        formats.append((CHANNELS_LAST, COMPILED_LAST, torch.channels_last))
    for eager, compiled, memory_format in formats:
        if memory_format is torch.channels_last:
            model = copy.deepcopy(model).to(memory_format=memory_format)
        yield eager, model, _contiguous(memory_format)
        if setting.compile:
            yield compiled, _compiled(model, parts), _contiguous(memory_format)


def _contiguous(memory_format: torch.memory_format) -> Callable[[Tensor], Tensor]:
    return lambda images: images.contiguous(memory_format=memory_format)


def _compiled(model: nn.Module, parts: Parts) -> nn.Module:
    """Return a model with the same tensors, parts of which are compiled when they first run."""
    tensors = [*model.parameters(), *model.buffers()]
    twin: Any = copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})
    for name in parts:
        part = twin.get_submodule(name)
        # OpenMMLab's heads call `forward` itself, so that it is replaced
        part.forward = torch.compile(part.forward, dynamic=False)
    return twin
