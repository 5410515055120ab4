import os
import sys
from pathlib import Path

import pytest

# Scripts that a test starts find this Python, whether or not its environment is activated.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


@pytest.fixture(autouse=True)
def _own_default_scope():
    """Each run in a process leaves its registry scope behind, in which later tests would look names up."""
    yield
    registry = sys.modules.get("mmengine.registry")
    if registry is not None:
        registry.DefaultScope._instance_dict.clear()
