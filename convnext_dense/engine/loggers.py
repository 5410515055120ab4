"""Loggers beside the run's own files: mmengine's visualizer back ends.

None is on by itself. TensorBoard writes files; what W&B and MLflow do with theirs is set in the config (see
docs/runs.md).
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

from mmengine.config import Config

from ..errors import UserError

#: Back end → the package that it needs, by the name that it is installed under
_PACKAGES = {
    "TensorboardVisBackend": "tensorboard",
    "WandbVisBackend": "wandb",
    "MLflowVisBackend": "mlflow",
}


def add_tensorboard(cfg: Config) -> None:
    """Let the run write TensorBoard's event files, too, as `--tensorboard` asks; in place."""
    backends = cfg.visualizer.setdefault("vis_backends", [])
    if all(backend["type"] != "TensorboardVisBackend" for backend in backends):
        backends.append(dict(type="TensorboardVisBackend"))


def check_loggers(cfg: Config) -> None:
    """Stop now where a logger of the config cannot work.

    Raises:
        UserError: The package of a back end is not installed.
    """
    for backend in (cfg.get("visualizer") or {}).get("vis_backends") or []:
        package = _PACKAGES.get(backend["type"])
        if package and find_spec(package) is None:
            asked = "--tensorboard, or " if package == "tensorboard" else ""
            raise UserError(
                f"{backend['type']} needs the package {package}, which is not installed",
                f"{asked}visualizer.vis_backends in the config",
                f"install it: {sys.executable} -m pip install {package}",
            )
