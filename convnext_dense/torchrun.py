"""torchrun, with a Ctrl-C that ends in peace: `python -m convnext_dense.torchrun [torchrun's options]`.

On Ctrl-C PyTorch's launcher kills processes that need more than 30 seconds to stop, which writing a
checkpoint can take, and buries what they say last under a traceback of its own.
"""

from __future__ import annotations

import os
import sys

#: Seconds that a process has to write its checkpoint. (Older PyTorch knows nothing but 30.)
_SHUTDOWN_S = 600


def main() -> None:
    """Run torchrun with the process's arguments."""
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(_SHUTDOWN_S))
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.api import SignalException

    try:
        run.main()
    except SignalException as stopped:
        sys.exit(128 + int(stopped.sigval))


if __name__ == "__main__":
    main()
