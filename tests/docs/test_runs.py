"""The commands and configs of `docs/runs.md`."""

import inspect
import re
import shlex
from importlib.util import find_spec
from pathlib import Path

import pytest
from mmengine.registry import VISBACKENDS

from convnext_dense.cli import build_parser
from convnext_dense.engine.config import load_config
from convnext_dense.engine.loggers import check_loggers
from convnext_dense.errors import UserError

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/runs.md").read_text()


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.M | re.S)


@pytest.mark.parametrize("command", [line for block in blocks("bash") for line in block.splitlines()])
def test_commands_parse(command):
    """They are run on toy configs by `test_run_folder.py` and `test_interrupt.py`."""
    program, *words = shlex.split(command.removeprefix("python "))
    assert program == "tools/train.py"
    assert (ROOT / build_parser().parse_args(["train", *words]).config).is_file()


@pytest.mark.parametrize(("block", "package"), zip(blocks("python"), ("wandb", "mlflow"), strict=True))
def test_logger_configs_load_and_name_the_package_that_is_missing(block, package, tmp_path):
    config = tmp_path / "logged.py"
    config.write_text(block.replace('"../', f'"{ROOT}/configs/'))
    cfg = load_config(config)
    local, logger = cfg.visualizer.vis_backends
    assert local.type == "LocalVisBackend"
    assert cfg.visualizer.type == "SegLocalVisualizer", "merged into the base's"
    arguments = {key: value for key, value in logger.items() if key != "type"}
    inspect.signature(VISBACKENDS.get(logger.type).__init__).bind(None, save_dir=".", **arguments)
    if find_spec(package) is None:
        with pytest.raises(UserError, match=f"pip install {package}"):
            check_loggers(cfg)
    else:
        check_loggers(cfg)
