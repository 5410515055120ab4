from pathlib import Path

import pytest

from convnext_dense.cli import main
from convnext_dense.engine.config import load_config

CONFIGS = Path(__file__).parents[2] / "configs"


DEMO = "demo/upernet_convnext_atto_shapes.py"


def write_toy_config(folder: Path, name: str = "toy", source: str = DEMO, **changes) -> Path:
    """Write a shrunk config, with changes, and return its path.

    Its file has a name of its own: mmengine keeps loggers by name.
    """
    import convnext_dense.register  # noqa: F401
    from convnext_dense.testing import shrink

    cfg = shrink(load_config(CONFIGS / source), folder / "data")
    cfg.pop("work_dir")
    cfg.model.backbone.pop("init_cfg", None)  # None could not be replaced by a dict
    cfg.test_dataloader = cfg.val_dataloader
    cfg.merge_from_dict({"train_cfg.max_iters": 4, "default_hooks.checkpoint.interval": 2, **changes})
    path = folder / f"{name}_{folder.name}.py"
    cfg.dump(path)
    return path


@pytest.fixture
def toy_config(tmp_path):
    """A function: `write_toy_config` into this test's folder."""
    return lambda name="toy", source=DEMO, **changes: write_toy_config(tmp_path, name, source, **changes)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Config and run's folder of a finished run of four iterations; read, not written, by the tests."""
    folder = tmp_path_factory.mktemp("trained")
    config = write_toy_config(folder)
    assert main(["train", str(config), "--work-dir", str(folder / "run")]) == 0
    return config, folder / "run/latest"
