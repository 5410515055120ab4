import ast
from pathlib import Path

import pytest
from mmengine.config import Config

from convnext_dense import config_files
from convnext_dense.complexity import count_params
from convnext_dense.config_files import config_card, find_config, shipped_configs, typed_config
from convnext_dense.errors import UserError
from convnext_dense.models.arch import ARCHS, count_backbone_params

from .configs.shipped import CONFIGS, LEAVES, build_model


def test_every_shipped_config_has_a_name_of_its_own():
    assert sorted(shipped_configs().values()) == LEAVES


@pytest.mark.parametrize(
    "name",
    ["upernet_convnext_atto_shapes", "demo/upernet_convnext_atto_shapes", "mask_rcnn_convnext_t"],
)
def test_a_config_is_found_by_its_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name.rpartition("/")[2]).mkdir()  # a folder of that name is no config
    assert find_config(name).stem == name.rpartition("/")[2]


def test_a_path_wins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("upernet_convnext_b").write_text("")
    assert find_config("upernet_convnext_b") == Path("upernet_convnext_b")


@pytest.mark.parametrize(
    ("typed", "what", "meant"),
    [
        ("upernet_convnext_bb", "there is no config 'upernet_convnext_bb'", "upernet_convnext_b "),
        ("maskrcnn_convnext_t", "there is no config", "mask_rcnn_convnext_t"),
        ("configs/upernet_convnext_b.py", "config file not found", "did you mean upernet_convnext_b?"),
        ("mine/upernet_convnext_xl.py", "config file not found", "upernet_convnext_xl_in22k"),
    ],
)
def test_a_mistyped_name_is_met_with_the_nearest(typed, what, meant, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as error:
        find_config(typed)
    assert what in error.value.what and meant in error.value.fix
    assert "convnext-dense list" in error.value.fix


def test_a_mistyped_path_is_met_with_the_nearest_file(monkeypatch):
    monkeypatch.chdir(CONFIGS.parent)
    with pytest.raises(UserError) as error:
        find_config("configs/upernet_convnext_bb.py")
    assert "did you mean configs/upernet_convnext_b.py" in error.value.fix


def test_a_config_is_typed_as_it_is_found(tmp_path, monkeypatch):
    monkeypatch.chdir(CONFIGS.parent)
    assert typed_config("upernet_convnext_atto_shapes") == "configs/demo/upernet_convnext_atto_shapes.py"
    monkeypatch.chdir(tmp_path)
    assert typed_config("upernet_convnext_atto_shapes") == "upernet_convnext_atto_shapes"


def test_files_of_one_name_keep_their_folders(tmp_path, monkeypatch):
    for name in ("_base_/models/net.py", "a/mine.py", "b/mine.py", "yours.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    monkeypatch.setattr(config_files, "_IN_WHEEL", tmp_path)
    shipped_configs.cache_clear()
    try:
        assert list(shipped_configs()) == ["a/mine", "b/mine", "yours"]
        assert find_config("b/mine") == tmp_path / "b/mine.py"
    finally:
        shipped_configs.cache_clear()


@pytest.mark.parametrize(("name", "path"), shipped_configs().items(), ids=shipped_configs())
def test_a_card_says_what_the_header_says(name, path):
    card = config_card(name, path)
    header = ast.get_docstring(ast.parse(path.read_text()))
    assert header.startswith(card.title)
    assert card.task == {"upernet": "segmentation"}.get(name.partition("_")[0], "detection")
    has_score = "Published:      nothing" not in header
    assert bool(card.published) == has_score
    assert bool(card.measured) == ("Measured here:  no" not in header)


@pytest.mark.parametrize(
    "name", [path.stem for path in LEAVES if path.parent != CONFIGS or "v2" in path.stem]
)
def test_parameters_of_the_header_are_the_models(name):
    """Those of the other recipes are held against the papers' tables in `tests/configs`."""
    path = shipped_configs()[name]
    params_M = count_params(build_model(Config.fromfile(path), "meta")) / 1e6
    stated = config_card(name, path).params_M
    assert stated == pytest.approx(params_M, abs=0.05 if stated < 10 else 0.5)


@pytest.mark.parametrize("text", ["_base_ = [", "_base_ = my_bases", "x = 1", "\xff"])
def test_a_config_that_says_nothing_is_listed_without_more(text, tmp_path):
    (tmp_path / "mine.py").write_text(text, encoding="latin-1")
    card = config_card("mine", tmp_path / "mine.py")
    assert (card.name, card.task, card.params_M, card.published, card.measured) == ("mine", "", None, "", "")


@pytest.mark.parametrize("name", ARCHS)
def test_parameters_of_a_size_are_computed_without_building_it(name):
    import torch

    from convnext_dense import ConvNeXt

    scale = 0.0 if ARCHS[name].use_grn else 1e-6
    with torch.device("meta"):
        net = ConvNeXt(arch=name, layer_scale_init_value=scale)
    assert count_backbone_params(ARCHS[name]) == count_params(net)
