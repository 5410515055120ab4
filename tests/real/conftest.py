"""Small real data sets beside the repository; without them these tests skip."""

from pathlib import Path

import pytest

SHARED = Path(__file__).parents[3] / "shared" / "data"


def _folder(name: str) -> Path:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"needs the real images of {folder}, which are not here")
    return folder


@pytest.fixture
def ade20k_sample():
    return _folder("ade20k_sample")


@pytest.fixture
def camvid():
    return _folder("camvid_small")


@pytest.fixture
def nuts():
    return _folder("nuts_coco")
