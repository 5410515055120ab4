"""What every config file of this project keeps to."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from mmengine.config import Config

from convnext_dense.data import shapes

from .shipped import ADE20K, BASES, CONFIGS, LEAVES, name_of

HEADER = ("Train:", "Evaluate:", "Hardware:", "Published:", "Measured here:")
MAX_SETTINGS_LINES = 15


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


@pytest.mark.parametrize("path", ADE20K, ids=name_of)
def test_a_variant_states_only_what_differs(path):
    assert 0 < len(settings_lines(path)) <= MAX_SETTINGS_LINES


@pytest.mark.parametrize("path", LEAVES, ids=name_of)
def test_custom_imports_are_all_that_a_stock_tool_needs(path):
    assert Config.fromfile(path).custom_imports == {"imports": ["convnext_dense.register"]}


def test_the_two_crops_of_ade20k_differ_in_their_sizes_alone():
    small, large = ((CONFIGS / f"_base_/datasets/ade20k_{crop}.py").read_text() for crop in (512, 640))
    small_sizes, large_sizes = (
        {"2048": "2560", "512": "640", "640": "512"},
        {"2560": "2048", "640": "512", "512": "640"},
    )
    numbers = re.compile(r"(?<!\d)(2048|2560|512|640)(?!\d)")
    assert numbers.sub(lambda m: small_sizes[m[0]], small) == large
    assert numbers.sub(lambda m: large_sizes[m[0]], large) == small


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
