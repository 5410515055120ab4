"""Reading the largest file needs little more memory than its size."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from convnext_dense.models.convnext import ConvNeXt

READ = """
import sys
from convnext_dense import ConvNeXt, load_weights

def status(key):
    line = next(line for line in open("/proc/self/status") if line.startswith(key + ":"))
    return int(line.split()[1]) * 1024

net = ConvNeXt("xlarge")
open("/proc/self/clear_refs", "w").write("5")  # the peak counts from here
before = status("VmRSS")
load_weights(net, sys.argv[1])
print(status("VmHWM") - before)
"""


@pytest.mark.full
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory from /proc")
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_reading_the_largest_net(tmp_path: Path, suffix: str) -> None:
    """1.4 GB into a net that is there: the mapped file and a little beside it."""
    file = tmp_path / f"xlarge.{suffix}"
    state = {n: t.detach() for n, t in ConvNeXt("xlarge").state_dict().items()}
    if suffix == "pth":
        torch.save({"model": state}, file)
    else:
        save_file(state, file)
    del state
    result = subprocess.run(
        [sys.executable, "-c", READ, str(file)], capture_output=True, text=True, check=True
    )
    growth, size = int(result.stdout.split()[-1]), file.stat().st_size
    file.unlink()
    assert size > 1.3e9
    assert growth < 1.3 * size, f"{growth / size:.2f} times the file's size"
