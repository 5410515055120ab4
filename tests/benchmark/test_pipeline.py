import time

import pytest

from convnext_dense.benchmark.cases.pipeline import StageClock, wait_share


def test_a_stage_does_not_count_what_runs_within_it():
    clock = StageClock()
    inner = clock.timed("inner", lambda: time.sleep(0.03))
    clock.timed("outer", lambda: (inner(), inner()))()
    assert clock.seconds["inner"] >= 0.06
    assert clock.seconds["outer"] < 0.03


@pytest.mark.parametrize(("load", "step", "share"), [(0.5, 1.0, 0.0), (1.0, 1.0, 0.0), (2.0, 0.5, 0.75)])
def test_a_step_waits_for_what_loading_takes_longer(load, step, share):
    assert wait_share(load, step) == share
