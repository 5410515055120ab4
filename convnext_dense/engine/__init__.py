"""Running: the runner, its hooks, and the bodies of the train and test tools."""

from .distributed import BroadcastBuffersHook
from .fine_tune import KeepClassRowsHook
from .progress import ProgressHook
from .run_folder import MetricsFileHook
from .runner import DenseRunner

__all__ = ["BroadcastBuffersHook", "DenseRunner", "KeepClassRowsHook", "MetricsFileHook", "ProgressHook"]
