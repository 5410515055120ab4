import math

import pytest
import torch

from convnext_dense.benchmark.timing import (
    BEST,
    CHANNELS_LAST,
    COMPILED,
    DEFAULT,
    EAGER,
    OURS,
    Measured,
    Side,
    compare_outputs,
    measure,
    ratios,
)
from convnext_dense.errors import UserError
from convnext_dense.models.convnext import Block


def side(name, value, calls, form=EAGER):
    def run():
        calls.append(name)
        return [torch.tensor([4.0, value])]

    return Side(name, form, run)


def test_sides_take_turns_and_each_round_begins_with_another():
    calls = []
    measured = measure([side(OURS, 2.0, calls), side("theirs", 2.0, calls)], rounds=3, flops=False)
    assert [len(one.seconds) for one in measured] == [3, 3]
    rounds = calls[4:10]  # after the first run and the outputs of each
    assert rounds == [OURS, "theirs", "theirs", OURS, OURS, "theirs"]


def test_the_largest_difference_is_told():
    ours, theirs = measure([side(OURS, 2.0, []), side("theirs", 2.002, [])], 1, flops=False)
    assert ours.difference is None
    assert theirs.difference == pytest.approx(0.002, rel=1e-3)
    assert theirs.relative_difference == pytest.approx(0.0005, rel=1e-3)


@pytest.mark.parametrize("value", [2.5, math.nan])
def test_sides_that_do_other_work_are_no_comparison(value):
    with pytest.raises(UserError, match="theirs, eager differ from ours"):
        measure([side(OURS, 2.0, []), side("theirs", value, [])], 1, flops=False)


def test_outputs_of_other_shapes_are_named():
    with pytest.raises(UserError, match=r"\(2,\).*\(3,\)"):
        compare_outputs([torch.zeros(2)], [torch.zeros(3)])


def test_a_compiled_form_that_fails_is_left_out_and_an_eager_one_is_an_error():
    def fail():
        raise RuntimeError("no compiler\nand more")

    measured = measure([side(OURS, 2.0, []), Side("theirs", COMPILED, fail)], 1, flops=False)
    assert measured[1].failure == "RuntimeError: no compiler"
    assert not ratios(measured)
    with pytest.raises(RuntimeError):
        measure([side(OURS, 2.0, []), Side("theirs", EAGER, fail)], 1, flops=False)


def test_multiplications_are_counted():
    weight = torch.ones(3, 5)
    (ours,) = measure([Side(OURS, EAGER, lambda: [torch.ones(7, 3) @ weight])], 1)
    assert ours.flops == 2 * 7 * 3 * 5


def test_fused_layers_and_backward_passes_are_counted():
    """A training step has three times its forward pass, whose own count is the plain operators'."""
    torch.manual_seed(0)
    block = Block(8, layer_scale_init_value=1.0)
    x = torch.randn(1, 8, 5, 3)

    def infer():
        with torch.no_grad():
            return [block(x)]

    def train():
        block(x).sum().backward()
        return [x]

    forward = 2 * 15 * 8 * (49 + 2 * 4 * 8)
    (fused,) = measure([Side(OURS, EAGER, infer)], 1)
    assert fused.flops == forward
    (trained,) = measure([Side(OURS, EAGER, train, forward=lambda: block(x))], 1)
    assert trained.flops == 3 * forward


def test_ours_is_held_against_the_fastest_form_of_all_and_the_fastest_default():
    measured = [
        Measured(OURS, EAGER, [1.0, 1.0, 2.0], peak_bytes=50),
        Measured("slow", EAGER, [9.0, 9.0, 9.0], peak_bytes=100),
        Measured("quick", EAGER, [3.0, 4.0, 5.0], peak_bytes=200),
        Measured("slow", CHANNELS_LAST, [2.0, 2.0, 5.0], peak_bytes=None),
        Measured("quick", COMPILED, failure="RuntimeError"),
    ]
    best, default = ratios(measured)
    assert (best.against, best.peer, best.value, best.memory) == (BEST, "slow, channels_last", 2.0, None)
    assert (default.against, default.peer, default.value, default.memory) == (
        DEFAULT,
        "quick, eager",
        3.0,
        0.25,
    )
