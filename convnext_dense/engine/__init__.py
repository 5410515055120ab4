"""Running: the runner, its hooks, and the bodies of the train and test tools."""

from ..report.train_batch import TrainBatchHook
from .distributed import BroadcastBuffersHook
from .dry_run import DryRunHook
from .fine_tune import KeepClassRowsHook
from .interrupt import InterruptHook
from .profiling import ProfileHook
from .progress import ProgressHook
from .run_folder import MetricsFileHook
from .runner import DenseRunner

__all__ = [
    "BroadcastBuffersHook",
    "DenseRunner",
    "DryRunHook",
    "InterruptHook",
    "KeepClassRowsHook",
    "MetricsFileHook",
    "ProfileHook",
    "ProgressHook",
    "TrainBatchHook",
]
