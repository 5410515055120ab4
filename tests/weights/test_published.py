"""The table of published weights: complete, and true to the recipes and to their publishers' names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from convnext_dense.models.arch import ARCHS
from convnext_dense.weights.published import find_published, listing, published_weights

CONFIGS = Path(__file__).parents[2] / "configs"


def test_every_size_is_there_by_its_short_name() -> None:
    names = published_weights()
    for arch in ARCHS:
        size = arch.removeprefix("v2_")
        if arch.startswith("v2_"):
            assert {f"convnextv2_{size}_fcmae", f"convnextv2_{size}_1k"} <= set(names)
        else:
            assert f"convnext_{size}_22k" in names
    assert "cascade_mask_rcnn_convnext_base_22k_3x" in names
    assert "upernet_convnext_xlarge_22k_640x640" in names


def test_short_names_and_files_are_unique() -> None:
    entries = published_weights().values()
    assert len({entry.file for entry in entries}) == len({entry.url for entry in entries}) == len(entries)
    for entry in entries:
        assert entry.url.startswith("https://") and entry.licence.url.startswith("https://")
        assert entry.gated or entry.url.endswith("/" + entry.file)


def test_the_urls_of_the_recipes_are_in_the_table() -> None:
    """So that their licence is told, and a file of another tool's cache is found."""
    urls = {url for file in CONFIGS.glob("*.py") for url in re.findall(r'"(https://.+)"', file.read_text())}
    assert len(urls) >= 8
    for url in urls:
        entry = find_published(url)
        assert entry is not None and entry.url == url


@pytest.mark.parametrize(
    ("name", "file", "licence", "score"),
    [
        ("convnext_tiny_1k", "convnext_tiny_1k_224.pth", "MIT", ""),
        ("convnext_base_22k_1k", "convnext_base_22k_1k_224.pth", "MIT", "ImageNet-1k top-1 85.8"),
        ("convnextv2_huge_22k_512", "convnextv2_huge_22k_512_ema.pt", "CC BY-NC", "88.9"),
        ("mask_rcnn_convnext_tiny_1k_3x", "mask_rcnn_convnext_tiny_1k_3x.pth", "MIT", "AP 46.2, mask"),
        ("upernet_convnext_base_1k_512x512", "upernet_convnext_base_1k_512x512.pth", "MIT", "49.1, ms"),
        ("dinov3_convnext_large", "dinov3_convnext_large_pretrain_lvd1689m-61fa432d.pth", "DINOv3", "47.8"),
    ],
)  # fmt: skip
def test_some_of_them(name: str, file: str, licence: str, score: str) -> None:
    entry = published_weights()[name]
    assert entry.file == file
    assert entry.licence.name.startswith(licence) and score in entry.score
    assert find_published(name) == find_published(f"downloads/{file}") == entry
    assert name in listing() and score in listing()


def test_a_fine_tuned_model_knows_its_recipe() -> None:
    recipes = {entry.name: entry.recipe for entry in published_weights().values() if entry.recipe}
    assert len(recipes) == 13
    assert recipes["cascade_mask_rcnn_convnext_xlarge_22k_3x"] == "cascade_mask_rcnn_convnext_xl_in22k"
    for recipe in recipes.values():
        assert (CONFIGS / f"{recipe}.py").is_file()


def test_the_hash_is_read_off_a_name_that_carries_one() -> None:
    assert published_weights()["torchvision_convnext_tiny"].sha256 == "983f1562"
    assert published_weights()["mmdet_mask_rcnn_convnext_tiny_3x"].sha256 == "050731f4"
    assert published_weights()["convnext_tiny_1k"].sha256 is None
    assert find_published("convnext_tiny_1k_224_mine.pth") is None
