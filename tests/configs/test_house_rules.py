"""What every config file of this project keeps to."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config

from convnext_dense.data import shapes
from convnext_dense.engine.config import load_config

from .shipped import ADE20K, BASES, COCO, CONFIGS, LEAVES, name_of

HEADER = ("Train:", "Evaluate:", "Hardware:", "Published:", "Measured here:")
MAX_SETTINGS_LINES = 15
#: Recipes of their own, not sizes of one.
RECIPES_OF_THEIR_OWN = {"mask_rcnn_convnextv2_b": 32}
IMPORTS = {
    "mmseg": ["convnext_dense.register", "convnext_dense.segmentation"],
    "mmdet": ["convnext_dense.register", "convnext_dense.detection"],
}


def bases_of(path: Path) -> list[Path]:
    """The files that a config names in `_base_`."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "_base_":
            value = ast.literal_eval(node.value)
            return [path.parent / base for base in ([value] if isinstance(value, str) else value)]
    return []


def settings_lines(path: Path) -> list[str]:
    """The lines of code of a config, without its docstring, comments and `_base_`."""
    tree = ast.parse(path.read_text())
    body = [n for n in tree.body if not isinstance(n, ast.Expr)]
    body = [
        n for n in body if not (isinstance(n, ast.Assign) and getattr(n.targets[0], "id", "") == "_base_")
    ]
    lines = path.read_text().splitlines()
    code = [line for node in body for line in lines[node.lineno - 1 : node.end_lineno]]
    return [line for line in code if line.strip() and not line.strip().startswith("#")]


def test_the_promised_configs_are_shipped():
    names = {name_of(path) for path in LEAVES}
    assert names >= {
        *(f"upernet_convnext_{size}" for size in "tsb"),
        *(f"upernet_convnext_{size}_in22k" for size in ("b", "l", "xl")),
        "upernet_convnextv2_b",
        "mask_rcnn_convnext_t",
        *(f"cascade_mask_rcnn_convnext_{size}" for size in "tsb"),
        *(f"cascade_mask_rcnn_convnext_{size}_in22k" for size in ("b", "l", "xl")),
        "mask_rcnn_convnextv2_b",
        "demo/mask_rcnn_convnext_atto_shapes",
        "demo/cascade_mask_rcnn_convnext_atto_shapes",
        "custom/mask_rcnn_convnext_atto_coco",
        "demo/upernet_convnext_atto_shapes",
        "custom/upernet_convnextv2_atto_camvid",
    }


@pytest.mark.parametrize("path", BASES, ids=name_of)
def test_a_base_has_no_base(path):
    assert bases_of(path) == []


@pytest.mark.parametrize("path", LEAVES, ids=name_of)
def test_a_leaf_stands_on_bases_alone(path):
    bases = bases_of(path)
    assert bases
    assert {base.resolve() for base in bases} <= set(BASES)


@pytest.mark.parametrize("path", [*LEAVES, *BASES], ids=name_of)
def test_nothing_is_deleted_and_nothing_imported(path):
    nodes = list(ast.walk(ast.parse(path.read_text())))
    assert "_delete_" not in path.read_text()
    assert not any(isinstance(node, ast.Import | ast.ImportFrom) for node in nodes)


@pytest.mark.parametrize("path", LEAVES, ids=name_of)
def test_the_header_says_how_to_run_it_and_what_to_expect(path):
    header = ast.get_docstring(ast.parse(path.read_text()))
    for line in HEADER:
        assert line in header
    commands = re.findall(r"configs/\S+\.py", header)
    assert set(commands) == {str(path.relative_to(CONFIGS.parent))}


@pytest.mark.parametrize("path", [*ADE20K, *COCO], ids=name_of)
def test_a_variant_states_only_what_differs(path):
    most = RECIPES_OF_THEIR_OWN.get(path.stem, MAX_SETTINGS_LINES)
    assert 0 < len(settings_lines(path)) <= most


@pytest.mark.parametrize("path", LEAVES, ids=name_of)
def test_custom_imports_are_all_that_a_stock_tool_needs(path):
    cfg = Config.fromfile(path)
    assert cfg.custom_imports == {"imports": IMPORTS[cfg.default_scope]}


def switches_in(path: Path) -> list[list[str]]:
    """The `--cfg-options` that a config's comments name, each a list of settings."""
    found = re.findall(r"#.*?--cfg-options((?: [\w.]+=[\w.]+)+)", path.read_text())
    return [settings.split() for settings in found]


@pytest.mark.parametrize("path", LEAVES, ids=name_of)
def test_the_switches_in_the_comments_are_accepted(path):
    # A base speaks of mixed precision to those that have it; a leaf in fp32 has a switch of its own.
    has_amp = Config.fromfile(path).optim_wrapper.type == "AmpOptimWrapper"
    sources = [path, *bases_of(path)] if has_amp else [path]
    for settings in (s for source in sources for s in switches_in(source)):
        cfg = load_config(path, settings)
        for setting in settings:
            key, value = setting.split("=")
            assert reduce(getattr, key.split("."), cfg) == value


def test_the_two_crops_of_ade20k_differ_in_their_sizes_alone():
    small, large = ((CONFIGS / f"_base_/datasets/ade20k_{crop}.py").read_text() for crop in (512, 640))
    small_sizes, large_sizes = (
        {"2048": "2560", "512": "640", "640": "512"},
        {"2560": "2048", "640": "512", "512": "640"},
    )
    numbers = re.compile(r"(?<!\d)(2048|2560|512|640)(?!\d)")
    assert numbers.sub(lambda m: small_sizes[m[0]], small) == large
    assert numbers.sub(lambda m: large_sizes[m[0]], large) == small


def differences(a: Any, b: Any, path: str = "") -> set[str]:
    """The dotted paths at which two configs differ."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return {d for key in {*a, *b} for d in differences(a.get(key), b.get(key), f"{path}.{key}")}
    return set() if a == b else {path}


def test_the_two_detectors_differ_in_the_cascade_alone():
    mask, cascade = (
        Config.fromfile(CONFIGS / f"_base_/models/{name}_convnext.py").model
        for name in ("mask_rcnn", "cascade_mask_rcnn")
    )
    assert differences(mask, cascade) == {
        ".type",
        ".rpn_head.loss_bbox.type",
        ".rpn_head.loss_bbox.beta",
        ".roi_head.type",
        ".roi_head.num_stages",
        ".roi_head.stage_loss_weights",
        ".roi_head.bbox_head",
        ".train_cfg.rpn.allowed_border",
        ".train_cfg.rpn_proposal.max_per_img",
        ".train_cfg.rcnn",
    }


def test_the_demo_knows_the_classes_of_its_data():
    cfg = Config.fromfile(CONFIGS / "demo/upernet_convnext_atto_shapes.py")
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        assert tuple(loader.dataset.metainfo.classes) == tuple(shapes.SEMANTIC_CLASSES)
        assert [tuple(c) for c in loader.dataset.metainfo.palette] == [
            tuple(c) for c in shapes.SEMANTIC_PALETTE
        ]
        assert loader.dataset.reduce_zero_label
    assert (
        cfg.model.decode_head.num_classes
        == cfg.model.auxiliary_head.num_classes
        == len(shapes.SEMANTIC_CLASSES)
    )


@pytest.mark.parametrize("detector", ["mask_rcnn", "cascade_mask_rcnn"])
def test_the_detection_demos_know_the_classes_of_their_data(detector):
    cfg = Config.fromfile(CONFIGS / f"demo/{detector}_convnext_atto_shapes.py")
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        assert tuple(loader.dataset.metainfo.classes) == shapes.CLASSES
        assert [tuple(c) for c in loader.dataset.metainfo.palette] == [tuple(c) for c in shapes.PALETTE]
    roi_head = cfg.model.roi_head
    heads = roi_head.bbox_head if isinstance(roi_head.bbox_head, list) else [roi_head.bbox_head]
    assert {head.num_classes for head in (*heads, roi_head.mask_head)} == {len(shapes.CLASSES)}


def test_the_demos_stages_stay_the_published_ones_but_for_their_width():
    """The stages are lists, which a leaf replaces: nothing of them may be lost."""
    demo, published = (
        Config.fromfile(CONFIGS / path).model
        for path in (
            "demo/cascade_mask_rcnn_convnext_atto_shapes.py",
            "_base_/models/cascade_mask_rcnn_convnext.py",
        )
    )
    slim = {"num_shared_convs", "in_channels", "conv_out_channels", "fc_out_channels", "num_classes"}
    for ours, theirs in zip(demo.roi_head.bbox_head, published.roi_head.bbox_head, strict=True):
        changed = {key.lstrip(".") for key in differences(ours, theirs)}
        assert changed == {*slim, "norm_cfg.type", "norm_cfg.requires_grad"}
    for ours, theirs in zip(demo.train_cfg.rcnn, published.train_cfg.rcnn, strict=True):
        assert differences(ours, theirs) == {".sampler.num"}
