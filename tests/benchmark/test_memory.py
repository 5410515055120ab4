import sys

import numpy as np
import pytest

from convnext_dense.benchmark.memory import peak_bytes


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc, which Linux has")
def test_what_is_freed_again_counts_and_what_was_there_does_not():
    megabytes = 64
    held = np.ones(megabytes << 20, np.uint8)

    def work():
        return np.ones(megabytes << 20, np.uint8).sum()

    used = peak_bytes(work)
    assert used == pytest.approx(megabytes << 20, rel=0.15)
    assert held.all()
