"""Other libraries' ConvNeXt with our weights, where the library loads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ..errors import UserError
from ..models.arch import ARCHS, NUM_STAGES, Arch, parse_arch
from .reference import PlainConvNeXt
from .setting import Setting
from .weights import load_renamed

TRANSFORMERS, MMPRETRAIN, TIMM, TORCHVISION = "transformers", "mmpretrain", "timm", "torchvision"
PLAIN = "plain"  #: `PlainConvNeXt`, which needs no library
STOCK = "stock"  #: mmdet's and mmseg's modules around it
COMPILED_MMCV = "compiled mmcv"
PYCOCOTOOLS = "pycocotools"
NAMES = (TRANSFORMERS, MMPRETRAIN, TIMM, TORCHVISION, PLAIN, STOCK, COMPILED_MMCV, PYCOCOTOOLS)

_INSTALL = {
    TRANSFORMERS: "pip install transformers",
    MMPRETRAIN: "pip install onedl-mmpretrain (it needs a torchvision that fits the torch here)",
    TIMM: "pip install timm (it needs a torchvision that fits the torch here)",
    TORCHVISION: "pip install torchvision, of the release and kind (CPU, CUDA) that fits the torch here",
}


class MissingPeerError(Exception):
    """A peer that cannot run here; its text says why, and what would install it."""


@dataclass(frozen=True)
class BackbonePeer:
    """A backbone of another library with our weights.

    Attributes:
        model: Takes images and returns the four normalised maps.
        names: Its names of our parameters.
    """

    model: nn.Module
    names: Mapping[str, str]


class _Maps(nn.Module):
    """A network, and how its four maps are got from it."""

    def __init__(self, network: nn.Module, maps: Callable[[nn.Module, Tensor], tuple[Tensor, ...]]) -> None:
        super().__init__()
        self.network, self.maps = network, maps

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.maps(self.network, images))


class _NormedMaps(_Maps):
    """The same of a network that returns its maps without norm, with norms of the fast kind."""

    def __init__(
        self,
        network: nn.Module,
        maps: Callable[[nn.Module, Tensor], tuple[Tensor, ...]],
        state: Mapping[str, Tensor],
    ) -> None:
        super().__init__(network, maps)
        self.norms = nn.ModuleList(nn.LayerNorm(len(state[f"norm{i}.weight"]), eps=1e-6) for i in range(4))
        for i, norm in enumerate(self.norms):
            norm.load_state_dict({key: state[f"norm{i}.{key}"] for key in ("weight", "bias")})

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        maps = super().forward(images)
        return tuple(
            norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) for x, norm in zip(maps, self.norms, strict=True)
        )


def build_backbone(name: str, arch: str, state: Mapping[str, Tensor]) -> BackbonePeer:
    """Build another library's backbone and give it our weights.

    Args:
        name: A key of `BACKBONES`.
        arch: A name of `ARCHS`.
        state: State dict of our `ConvNeXt` with all four outputs.

    Raises:
        MissingPeerError: The library is not installed, does not load, or has no such model.
    """
    try:
        return BACKBONES[name](arch, state)
    except (ImportError, RuntimeError) as error:
        # a torchvision of another build fails in many ways, in the libraries that import it, too
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise MissingPeerError(f"{name} does not load here ({lines[0]}): {_INSTALL[name]}") from error


def check_names(names: tuple[str, ...] | None) -> None:
    """Refuse peers that there are not.

    Raises:
        UserError: A name is none of `NAMES`.
    """
    from ..errors import did_you_mean

    for name in names or ():
        if name not in NAMES:
            raise UserError(f"unknown peer {name!r}", "--peers", did_you_mean(name, NAMES))


def transformers_config(arch: Arch) -> object:
    """Return Hugging Face's config of a backbone with four outputs."""
    from transformers import ConvNextConfig, ConvNextV2Config

    return (ConvNextV2Config if arch.use_grn else ConvNextConfig)(
        depths=list(arch.depths),
        hidden_sizes=list(arch.dims),
        out_features=[f"stage{i + 1}" for i in range(NUM_STAGES)],
    )


def _transformers(arch: str, state: Mapping[str, Tensor]) -> BackbonePeer:
    from transformers import ConvNextBackbone, ConvNextV2Backbone

    size = parse_arch(arch)
    model = (ConvNextV2Backbone if size.use_grn else ConvNextBackbone)(transformers_config(size))
    names = load_renamed(model, state, "hf")
    return _wrapped(_Maps(model, lambda network, images: network(images).feature_maps), names)


def _mmpretrain(arch: str, state: Mapping[str, Tensor]) -> BackbonePeer:
    from mmpretrain.models.backbones import ConvNeXt

    size = parse_arch(arch)
    model = ConvNeXt(
        arch=dict(depths=list(size.depths), channels=list(size.dims)),
        out_indices=(0, 1, 2, 3),
        gap_before_final_norm=False,
        use_grn=size.use_grn,
        layer_scale_init_value=0.0 if size.use_grn else 1.0,
    )
    names = load_renamed(model, state, "mmpretrain")
    return _wrapped(_Maps(model, lambda network, images: network(images)), names)


def _timm(arch: str, state: Mapping[str, Tensor]) -> BackbonePeer:
    import timm

    version, size = ("convnextv2", arch[3:]) if arch.startswith("v2_") else ("convnext", arch)
    model = timm.create_model(f"{version}_{size}", num_classes=0, global_pool="")
    model.head = nn.Identity()  # its norm belongs to the classifier
    names = load_renamed(model, state, "timm")

    def maps(network: Any, images: Tensor) -> tuple[Tensor, ...]:
        return network.forward_intermediates(images, intermediates_only=True)

    return _wrapped(_NormedMaps(model, maps, state), names)


def _torchvision(arch: str, state: Mapping[str, Tensor]) -> BackbonePeer:
    import torchvision

    build = getattr(torchvision.models, f"convnext_{arch}", None)
    if build is None:
        raise MissingPeerError(f"torchvision has no ConvNeXt {arch!r}")
    model = build(stochastic_depth_prob=0.0)
    del model.avgpool, model.classifier
    names = load_renamed(model, state, "torchvision")

    def maps(network: Any, images: Tensor) -> tuple[Tensor, ...]:
        outputs = []
        for layer in network.features:
            images = layer(images)
            outputs.append(images)
        return tuple(outputs[1::2])

    return _wrapped(_NormedMaps(model, maps, state), names)


def _plain(arch: str, state: Mapping[str, Tensor]) -> BackbonePeer:
    model = PlainConvNeXt(arch)
    model.load_state_dict(state)
    return BackbonePeer(model, {name: name for name in state})


def _wrapped(model: nn.Module, names: Mapping[str, str]) -> BackbonePeer:
    return BackbonePeer(model, {ours: f"network.{theirs}" for ours, theirs in names.items()})


BACKBONES: dict[str, Callable[[str, Mapping[str, Tensor]], BackbonePeer]] = {
    TRANSFORMERS: _transformers,
    MMPRETRAIN: _mmpretrain,
    TIMM: _timm,
    TORCHVISION: _torchvision,
    PLAIN: _plain,
}


def build_segmentor(setting: Setting, classes: int, state: Mapping[str, Tensor]) -> BackbonePeer:
    """Build Hugging Face's UperNet and give it our weights; with the auxiliary head in training only.

    Raises:
        MissingPeerError: transformers does not load.
    """
    arch = ARCHS[setting.arch]
    try:
        from transformers import UperNetConfig, UperNetForSemanticSegmentation

        config = UperNetConfig(
            backbone_config=transformers_config(arch),
            auxiliary_in_channels=arch.dims[2],
            use_auxiliary_head=setting.trains,
            num_labels=classes,
        )
        model = UperNetForSemanticSegmentation(config)
    except (ImportError, RuntimeError) as error:
        raise MissingPeerError(
            f"transformers does not load here ({error}): {_INSTALL[TRANSFORMERS]}"
        ) from error
    if not setting.trains:
        state = {name: tensor for name, tensor in state.items() if not name.startswith("auxiliary_head.")}
    return BackbonePeer(model, load_renamed(model, state, "hf"))
