"""Sizes of ConvNeXt: the published ones by name, and one's own as a dict."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from ..errors import UserError, did_you_mean

NUM_STAGES = 4


@dataclass(frozen=True)
class Arch:
    """One size of ConvNeXt.

    Attributes:
        depths: Number of blocks of each of the four stages.
        dims: Channels of each stage.
        use_grn: Whether blocks have global response normalisation: ConvNeXt V2.
    """

    depths: tuple[int, ...]
    dims: tuple[int, ...]
    use_grn: bool = False


#: The published sizes: V1 (arXiv 2201.03545, table 9) and V2 (arXiv 2301.00808, appendix A).
ARCHS: dict[str, Arch] = {
    "tiny": Arch((3, 3, 9, 3), (96, 192, 384, 768)),
    "small": Arch((3, 3, 27, 3), (96, 192, 384, 768)),
    "base": Arch((3, 3, 27, 3), (128, 256, 512, 1024)),
    "large": Arch((3, 3, 27, 3), (192, 384, 768, 1536)),
    "xlarge": Arch((3, 3, 27, 3), (256, 512, 1024, 2048)),
    "v2_atto": Arch((2, 2, 6, 2), (40, 80, 160, 320), use_grn=True),
    "v2_femto": Arch((2, 2, 6, 2), (48, 96, 192, 384), use_grn=True),
    "v2_pico": Arch((2, 2, 6, 2), (64, 128, 256, 512), use_grn=True),
    "v2_nano": Arch((2, 2, 8, 2), (80, 160, 320, 640), use_grn=True),
    "v2_tiny": Arch((3, 3, 9, 3), (96, 192, 384, 768), use_grn=True),
    "v2_base": Arch((3, 3, 27, 3), (128, 256, 512, 1024), use_grn=True),
    "v2_large": Arch((3, 3, 27, 3), (192, 384, 768, 1536), use_grn=True),
    "v2_huge": Arch((3, 3, 27, 3), (352, 704, 1408, 2816), use_grn=True),
}

_WHERE = "ConvNeXt, argument `arch`"


def parse_arch(arch: str | Mapping[str, Any] | Arch) -> Arch:
    """Return the size that `arch` names or spells out.

    Args:
        arch: A key of `ARCHS`, an `Arch`, or a mapping of its fields (`use_grn` may be left out).

    Raises:
        UserError: The name is unknown, a key is missing or unknown, or a value is out of range.
    """
    if isinstance(arch, str):
        if arch not in ARCHS:
            raise UserError(f"unknown arch {arch!r}", _WHERE, did_you_mean(arch, ARCHS))
        return ARCHS[arch]
    if isinstance(arch, Arch):
        arch = {field.name: getattr(arch, field.name) for field in fields(Arch)}
    if not isinstance(arch, Mapping):
        form = "a name, e.g. arch='tiny', or dict(depths=(3, 3, 9, 3), dims=(96, 192, 384, 768))"
        raise UserError(f"arch is {arch!r}", _WHERE, form)
    known = [field.name for field in fields(Arch)]
    for key in arch:
        if key not in known:
            raise UserError(f"unknown key {key!r} in arch", _WHERE, did_you_mean(key, known))
    for key in ("depths", "dims"):
        if key not in arch:
            raise UserError(f"arch has no {key!r}", _WHERE, f"give arch=dict({key}=(…four integers…), …)")
    use_grn = arch.get("use_grn", False)
    if not isinstance(use_grn, bool):
        raise UserError(f"arch['use_grn'] is {use_grn!r}", _WHERE, "give True (ConvNeXt V2) or False")
    return Arch(_four_positive("depths", arch["depths"]), _four_positive("dims", arch["dims"]), use_grn)


def _four_positive(key: str, values: Sequence[int]) -> tuple[int, ...]:
    """Return `values` as a tuple, or say why they are not the four positive integers of the stages."""
    is_sequence = isinstance(values, Sequence) and not isinstance(values, str)
    if not is_sequence or len(values) != NUM_STAGES or not all(type(v) is int and v > 0 for v in values):
        fix = f"give four positive integers, one for each stage, e.g. {getattr(ARCHS['tiny'], key)}"
        raise UserError(f"arch[{key!r}] is {values!r}", _WHERE, fix)
    return tuple(values)


def parse_stages(stages: Collection[int], argument: str) -> tuple[int, ...]:
    """Return the chosen stages in ascending order, negatives counted from the end.

    Args:
        stages: From 0 to 3 or -4 to -1, at least one, each once.
        argument: What the caller calls it, for messages.

    Raises:
        UserError: They are not.
    """
    where = f"ConvNeXt, argument `{argument}`"
    fix = "choose stages among 0, 1, 2, 3 (or -4 … -1), each once"
    if not isinstance(stages, Collection) or not stages:
        raise UserError(f"{argument} is {stages!r}", where, fix)
    if not all(isinstance(i, int) and -NUM_STAGES <= i < NUM_STAGES for i in stages):
        raise UserError(f"{argument} is {stages!r}", where, fix)
    chosen = sorted(i % NUM_STAGES for i in stages)
    if len(set(chosen)) < len(chosen):
        raise UserError(f"{argument} {stages!r} names a stage twice", where, fix)
    return tuple(chosen)


def parse_checkpointed(with_cp: bool | Collection[int]) -> tuple[int, ...]:
    """Return the stages that `with_cp` of `ConvNeXt` chooses: all (True), none (False, ()), or those named.

    Raises:
        UserError: A name is no stage.
    """
    if isinstance(with_cp, bool):
        return tuple(range(NUM_STAGES)) if with_cp else ()
    return parse_stages(with_cp, "with_cp") if with_cp != () and with_cp != [] else ()


def count_backbone_params(arch: Arch) -> int:
    """Return the number of parameters of a backbone with its four output norms, computed from its size.

    V1 has a layer scale in each block, V2 global response normalisation instead.
    """
    count = 4 * 4 * 3 * arch.dims[0] + 3 * arch.dims[0]  # the stem and its norm
    for before, after in zip(arch.dims, arch.dims[1:], strict=False):
        count += 2 * before + 2 * 2 * before * after + after  # norm and downsampling
    for depth, dim in zip(arch.depths, arch.dims, strict=True):
        scale = 2 * 4 * dim if arch.use_grn else dim
        # depthwise 7 x 7, norm, two pointwise layers
        count += depth * (50 * dim + 2 * dim + 8 * dim * dim + 5 * dim + scale)
        count += 2 * dim  # output norm
    return count
