"""Write a checkpoint in the names, shapes and nesting of another library: exactly, or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from ..errors import UserError, did_you_mean
from ..models.arch import ARCHS
from . import layouts
from .families import HUGGING_FACE, Weights, arch_name, map_convnext
from .hf_config import hugging_face_config
from .layouts import Layout
from .read import read_checkpoint, unwrap
from .report import refuse_no_convnext, summary
from .shapes import shape_for

_BACKBONE, _CLASSIFIER, _DENSE = "backbone", "classifier", "dense"
#: Parts of FCMAE's decoder, which no other library has.
_PRETRAINING = ("decoder", "mask_token", "proj", "pred")
#: What of a checkpoint's `meta` goes along: all else is of one library's run, some of it code as text.
_META = ("dataset_meta", "CLASSES", "PALETTE", "config_json")


@dataclass(frozen=True)
class Target:
    """One library's way to keep a ConvNeXt.

    Attributes:
        layout: Its names.
        variants: (which models, their names) of models that it has other names for.
        prefixes: Before the backbone's names, by the kind of model; `{v}` is '' for V1 and 'v2' for V2.
        nested: The key that its `.pth` files have the tensors under, by the kind of model.
        heads: What the names of a dense model's heads that it can hold begin with.
        head_words: (word here, word there) in the names of those heads.
    """

    layout: Layout
    variants: tuple[tuple[Callable[[Weights], bool], Layout], ...] = ()
    prefixes: Mapping[str, str] = field(default_factory=dict)
    nested: Mapping[str, str] = field(default_factory=dict)
    heads: tuple[str, ...] = ()
    head_words: tuple[tuple[str, str], ...] = ()

    def layout_of(self, weights: Weights) -> Layout:
        """Return the names of a model."""
        return next((layout for applies, layout in self.variants if applies(weights)), self.layout)


def _is_dinov3(weights: Weights) -> bool:
    return weights.family.endswith("DINOv3")


def _is_small(weights: Weights) -> bool:
    return weights.arch is not None and weights.arch.dims in _SMALL


_SMALL = tuple(ARCHS[f"v2_{size}"].dims for size in ("atto", "femto", "pico", "nano"))
_ANY = ("",)
TARGETS = {
    "original": Target(
        layouts.ORIGINAL,
        prefixes={_DENSE: "backbone."},
        nested={_BACKBONE: "model", _CLASSIFIER: "model", _DENSE: "state_dict"},
        heads=_ANY,
    ),
    "timm": Target(layouts.TIMM, variants=((_is_small, layouts.TIMM_CONVOLUTIONS),)),
    "hf": Target(
        layouts.HUGGING_FACE,
        variants=((_is_dinov3, layouts.HUGGING_FACE_DINOV3),),
        prefixes={_CLASSIFIER: "convnext{v}.", _DENSE: "backbone."},
        heads=("decode_head.", "auxiliary_head."),
        head_words=HUGGING_FACE.head_words,
    ),
    "torchvision": Target(layouts.TORCHVISION),
    "mmpretrain": Target(
        layouts.MMPRETRAIN,
        prefixes=dict.fromkeys((_BACKBONE, _CLASSIFIER, _DENSE), "backbone."),
        nested=dict.fromkeys((_BACKBONE, _CLASSIFIER, _DENSE), "state_dict"),
        heads=_ANY,
    ),
}
#: Beside the libraries, the same names in another container.
FORMATS = (*TARGETS, "safetensors")


def convert_weights(
    source: str | os.PathLike[str], out: str | os.PathLike[str], to: str, *, lossy: bool = False
) -> str:
    """Write a checkpoint in another library's form. Values and dtypes stay bit for bit as they are.

    Args:
        source: A checkpoint of any family: file, folder, URL or short name.
        out: The file to write, `.pth`, `.pt`, `.bin` or `.safetensors`; for `hf` also a folder, which gets a
            `config.json` and is what `from_pretrained` reads. Its parent folders are made.
        to: One of `FORMATS`. `safetensors` keeps the names.
        lossy: Leave out the output norms and heads that the library has no place for, instead of refusing.

    Returns:
        What was written, a few lines.

    Raises:
        UserError: The source cannot be read or is no ConvNeXt, or the library has no place for a part of it.
    """
    if to not in FORMATS:
        raise UserError(f"unknown format {to!r}", "--to", did_you_mean(to, FORMATS))
    out, label = Path(out), os.fspath(source)
    _check_out(out, to)
    content = read_checkpoint(source, mmap=True)
    state, _ = unwrap(content, label)
    if to == "safetensors":
        _write(out, state)
        return f"wrote {out}: {summary(state)}, names as they were"
    weights = map_convnext(state)
    if weights is None:
        raise refuse_no_convnext(state, label)
    target, kind = TARGETS[to], _kind(weights)
    if weights.arch is None:
        raise UserError("the checkpoint lacks a stage of its ConvNeXt", label, "get it again")
    named, left = _named(target, kind, weights)
    if left:
        _check_left(left, to, weights, label, lossy)
    key = None if out.suffix in ("", ".safetensors") else target.nested.get(kind)
    meta = content.get("meta") if kind == _DENSE else None
    _write(out, named, key, {k: meta[k] for k in _META if k in meta} if isinstance(meta, Mapping) else None)
    if not out.suffix:
        config = hugging_face_config(weights, weights.arch, is_dinov3=_is_dinov3(weights))
        (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    lines = [f"read {label}: {weights.family}, arch={arch_name(weights.arch)}, {kind}"]
    lines += [f"wrote {out}: {summary(named)}, as {to} names them"]
    lines += [f"left out, as {to} has no place for it: {summary(left)}"] if left else []
    return "\n".join(lines)


def rename_weights(
    state: Mapping[str, Tensor], to: str
) -> tuple[dict[str, Tensor], dict[str, str], dict[str, Tensor]]:
    """Return a model's tensors as another library keeps them; values are shared, not copied.

    Args:
        state: State dict of a `ConvNeXt` or of a model with it, of any family.
        to: A key of `TARGETS`.

    Returns:
        The tensors under that library's names and in its shapes, those names by the names here, and the
        tensors that it has no place for.

    Raises:
        UserError: There is no ConvNeXt in it.
    """
    weights = map_convnext(state)
    if weights is None:
        raise refuse_no_convnext(state, "the state dict")
    named, left = _named(TARGETS[to], _kind(weights), weights)
    ours = {**weights.backbone, **weights.heads}
    full = {name: f"backbone.{name}" if f"backbone.{name}" in state else name for name in ours}
    kept = [full[name] for name in ours if name not in left]
    return named, dict(zip(kept, named, strict=True)), {full[name]: ours[name] for name in left}


def _kind(weights: Weights) -> str:
    parts = {name.partition(".")[0] for name in weights.heads}
    if parts - {"norm", "norms", "head", *_PRETRAINING}:
        return _DENSE
    return _CLASSIFIER if "head" in parts else _BACKBONE


def _named(target: Target, kind: str, weights: Weights) -> tuple[dict[str, Tensor], list[str]]:
    """Return the tensors under the target's names, and the names here of those that have no place there."""
    layout = target.layout_of(weights)
    version = "v2" if weights.arch and weights.arch.use_grn else ""
    prefix = target.prefixes.get(kind, "").format(v=version)
    named: dict[str, Tensor] = {}
    left: list[str] = []
    words = dict(target.head_words)
    for name, tensor in {**weights.backbone, **weights.heads}.items():
        if name.startswith("norms.3."):  # DINOv3's second copy of its norm
            continue
        renamed = layout.to_theirs(name)
        if renamed is not None:
            renamed = renamed if name.startswith("head.") else prefix + renamed
            tensor = shape_for(layout, name, tensor)
        elif kind == _DENSE and name not in weights.backbone and _starts(name, target.heads):
            renamed = ".".join(words.get(word, word) for word in name.split("."))
        if renamed is None or renamed in named:
            left.append(name)
        else:
            named[renamed] = tensor
    if layout is layouts.ORIGINAL and _is_dinov3(weights):
        named |= {n.replace("norm", "norms.3"): t for n, t in named.items() if n.startswith("norm.")}
    return named, left


def _starts(name: str, beginnings: tuple[str, ...]) -> bool:
    return any(map(name.startswith, beginnings))


def _check_left(left: list[str], to: str, weights: Weights, label: str, lossy: bool) -> None:
    """Refuse to write a model without a part that it computes with, or without any other part unasked."""
    if any(name.startswith(("stages.", "downsample_layers.")) for name in left):
        generation = "V2 (GRN)" if weights.arch and weights.arch.use_grn else "with these parts"
        raise UserError(
            f"{to} has no ConvNeXt {generation}: no place for {summary(left)}",
            label,
            f"choose another format: {', '.join(name for name in FORMATS if name != to)}",
        )
    if not lossy:
        raise UserError(
            f"{to} has no place for {summary(left)}",
            label,
            "choose another format, or add --lossy to write the file without them",
        )


def _check_out(out: Path, to: str) -> None:
    allowed = {"safetensors": (".safetensors",), "hf": (".safetensors", ".bin", "")}
    suffixes = allowed.get(to, (".pth", ".pt", ".bin", ".safetensors"))
    if out.suffix not in suffixes:
        forms = ", ".join(suffix or "a folder" for suffix in suffixes)
        raise UserError(f"{out.name} is no name for a file of {to}", "OUT", f"let it end in one of: {forms}")


def _write(out: Path, state: Mapping[str, Tensor], key: str | None = None, meta: Any = None) -> None:
    """Write the file under another name first, so that it is never half there."""
    file = out if out.suffix else out / "model.safetensors"
    state = _separate(state)
    unfinished = file.with_name(file.name + ".part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".safetensors":
            unfinished.touch()
            mode = unfinished.stat().st_mode  # safetensors leaves a file that only its owner can read
            save_file(state, unfinished, metadata={"format": "pt"})
            unfinished.chmod(mode)
        else:
            nested = {key: state} if key else state
            torch.save({"meta": meta, **nested} if key and meta else nested, unfinished)
        os.replace(unfinished, file)
    except OSError as error:
        raise UserError(
            f"the file cannot be written: {error.strerror or error}", str(file), "name another place"
        ) from error


def _separate(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return contiguous tensors that share no memory, with each other or with the rest of a mapped file."""
    seen: set[int] = set()
    separate = {}
    for name, tensor in state.items():
        tensor = tensor.detach().contiguous()
        storage = tensor.untyped_storage()
        if storage.nbytes() != tensor.nbytes or storage.data_ptr() in seen:
            tensor = tensor.clone()
        seen.add(tensor.untyped_storage().data_ptr())
        separate[name] = tensor
    return separate
