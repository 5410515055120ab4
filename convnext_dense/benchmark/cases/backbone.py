"""The backbone: four normalised maps, or a training step with gradients of these."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from torch import Tensor, nn

from ...models.convnext import ConvNeXt
from ..forms import Pass, in_forms
from ..peers import BACKBONES, build_backbone
from ..setting import Setting
from ..timing import OURS, Side
from ..weights import pick, randomise
from .case import Case, Comparison, compare_sides, missing

#: Gradients that are compared: they went through everything, and through nothing but the last block.
WATCHED = ("downsample_layers.0.0.weight", "stages.3.0.pwconv2.weight")


def compare_backbone(setting: Setting) -> list[Comparison]:
    """Compare `ConvNeXt` with those of other libraries."""
    ours = ConvNeXt(setting.arch)
    randomise(ours)
    ours = ours.to(setting.device)
    state = ours.state_dict()
    sides = list(_sides(OURS, ours, WATCHED, setting))
    notes: list[str] = []
    for name in BACKBONES:
        peer = missing(name, setting, partial(build_backbone, name, setting.arch, state), notes)
        if peer is not None:
            watched = [peer.names[watched] for watched in WATCHED]
            sides += _sides(name, peer.model.to(setting.device), watched, setting)
    return [compare_sides(f"ConvNeXt {setting.arch}", setting, sides, notes)]


def _sides(name: str, model: nn.Module, watched: Sequence[str], setting: Setting) -> Iterator[Side]:
    images = setting.images()
    for form, made, place in in_forms(name, model, setting):
        yield Pass(_call(made, place(images)), made, pick(made, watched), setting).side(name, form)


def _call(model: nn.Module, images: Tensor) -> Callable[[], Sequence[Tensor]]:
    return lambda: model(images)


BACKBONE = Case(
    compare_backbone,
    "ConvNeXt's four maps",
    {},
    ("mode", "dtype", "arch", "size", "batch", "compile"),
)
