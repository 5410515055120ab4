"""Running the sides of a comparison in turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode, register_flop_formula

from ..errors import UserError
from .machine import synchronize
from .memory import peak_bytes

OURS = "ours"
BEST, DEFAULT = "best peer", "eager"
EAGER, CHANNELS_LAST, COMPILED, COMPILED_LAST = (
    "eager",
    "channels_last",
    "compiled",
    "compiled, channels_last",
)
#: Compares our outputs with a peer's: the largest difference, absolute and relative.
Compare = Callable[[Sequence[Tensor], Sequence[Tensor]], tuple[float, float]]


@dataclass(frozen=True)
class Side:
    """One way to do the work of a comparison.

    Attributes:
        name: `OURS`, or the peer's name.
        form: `EAGER` (as the library does it by default), `CHANNELS_LAST` or a form that begins with
            `COMPILED`.
        run: Does the work; it is what is timed.
        outputs: Computes what is compared, once and untimed; None for what `run` returns.
        reset: Called untimed before each run and after it, to give back what the run leaves.
        forward: The forward pass alone where `run` has a backward pass, too. Operations are counted of this,
            times three: PyTorch's counter does not know of a backward pass's groups.
    """

    name: str
    form: str
    run: Callable[[], Any]
    outputs: Callable[[], Sequence[Tensor]] | None = None
    reset: Callable[[], object] = lambda: None
    forward: Callable[[], object] | None = None

    @property
    def label(self) -> str:
        """Name and form."""
        return f"{self.name}, {self.form}"


@dataclass(frozen=True)
class Measured:
    """What was measured of a side.

    Attributes:
        name: Its name.
        form: Its form.
        seconds: Time of each round.
        first_s: Seconds of the first run, which does not count: with the compilation, if there is one.
        difference: Largest absolute difference from our outputs; None for our own.
        relative_difference: The same divided by the largest of our outputs, the largest over all outputs.
        peak_bytes: What a run allocates at most; None where that cannot be told.
        flops: Floating-point operations of convolutions and products in a run, 2 for each
            multiply-accumulate; None for compiled forms, which do as many.
        failure: Why the side did not run; all else is empty then.
    """

    name: str
    form: str
    seconds: list[float] = field(default_factory=list)
    first_s: float | None = None
    difference: float | None = None
    relative_difference: float | None = None
    peak_bytes: int | None = None
    flops: int | None = None
    failure: str | None = None

    @property
    def median_s(self) -> float:
        """Median of the rounds."""
        return median(self.seconds)


@dataclass(frozen=True)
class Ratio:
    """How often as fast one of our forms is.

    Attributes:
        ours: Our form.
        against: `BEST` (the fastest form of all peers) or `DEFAULT` (the fastest of the peers' eager forms).
        peer: The peer and form that this is here.
        value: Median over the rounds of peer's time / our time: above 1 we are faster.
        memory: Our peak memory / the peer's; None where that cannot be told.
    """

    ours: str
    against: str
    peer: str
    value: float
    memory: float | None


def measure(
    sides: Sequence[Side],
    rounds: int,
    device: str = "cpu",
    tolerance: float = 1e-3,
    compare: Compare | None = None,
    flops: bool = True,
) -> list[Measured]:
    """Time the sides in turns, after a round that does not count; then see what each allocates and computes.

    Args:
        sides: The first is ours and has the outputs that the others' are compared with.
        rounds: How often each is timed. Every round begins with another side.
        device: `cpu` or `cuda`.
        tolerance: How far relative to their largest value the outputs may lie apart.
        compare: How outputs are compared; by default as `compare_outputs` does.
        flops: Whether to count floating-point operations.

    Returns:
        As many as there are sides. A compiled form that fails has a `failure`.

    Raises:
        UserError: Outputs differ by more, so that the sides did not do the same work.
    """
    firsts = [_first_run(side, device) for side in sides]
    expected = firsts[0].outputs
    differences: list[tuple[float | None, float | None]] = []
    for side, first in zip(sides, firsts, strict=True):
        if first.failure or side is sides[0]:
            differences.append((None, None))
            continue
        absolute, relative = (compare or compare_outputs)(expected, first.outputs)
        if not relative <= tolerance:
            raise UserError(
                f"the outputs of {side.label} differ from ours by {relative:.1e} of the largest value; "
                f"{tolerance:.0e} is allowed",
                "the benchmark",
                "report this: one of the two does other work",
            )
        differences.append((absolute, relative))
        first.outputs.clear()
    times: list[list[float]] = [[] for _ in sides]
    works = [i for i, first in enumerate(firsts) if first.failure is None]
    for round_ in range(rounds):
        for turn in range(len(works)):
            index = works[(turn + round_) % len(works)]
            times[index].append(_timed(sides[index], device))
    measured = []
    for side, first, seconds, difference in zip(sides, firsts, times, differences, strict=True):
        if first.failure is not None:
            measured.append(Measured(side.name, side.form, failure=first.failure))
            continue
        peak, count = _look_closely(side, device, flops)
        measured.append(Measured(side.name, side.form, seconds, first.seconds, *difference, peak, count))
    return measured


def compare_outputs(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> tuple[float, float]:
    """Return the largest difference, absolute and relative to the largest value of each of our tensors.

    Raises:
        UserError: There are not as many tensors, or of other shapes.
    """
    shapes = [[tuple(tensor.shape) for tensor in side] for side in (ours, theirs)]
    if shapes[0] != shapes[1]:
        raise UserError(
            f"ours gives {shapes[0]}, the other side {shapes[1]}", "benchmark", "report this: it is a defect"
        )
    absolute = relative = 0.0
    for own, other in zip(ours, theirs, strict=True):
        if not own.numel():
            continue
        own, other = own.detach().double().cpu(), other.detach().double().cpu()
        difference, largest = (own - other).abs().max().item(), own.abs().max().item()
        if difference != difference:  # NaN compares with nothing
            return difference, difference
        absolute = max(absolute, difference)
        relative = max(relative, difference / largest if largest else difference)
    return absolute, relative


def ratios(measured: Sequence[Measured]) -> list[Ratio]:
    """Hold each of our forms against the fastest form of all peers and against the fastest default."""
    ran = [side for side in measured if side.failure is None]
    peers = [side for side in ran if side.name != OURS]
    if not peers:
        return []
    yardsticks = {BEST: min(peers, key=lambda side: side.median_s)}
    if defaults := [side for side in peers if side.form == EAGER]:
        yardsticks[DEFAULT] = min(defaults, key=lambda side: side.median_s)
    return [
        Ratio(ours.form, against, f"{peer.name}, {peer.form}", *_ratio(ours, peer))
        for ours in ran
        if ours.name == OURS
        for against, peer in yardsticks.items()
    ]


def _ratio(ours: Measured, peer: Measured) -> tuple[float, float | None]:
    memory = ours.peak_bytes / peer.peak_bytes if ours.peak_bytes and peer.peak_bytes else None
    return median(theirs / own for own, theirs in zip(ours.seconds, peer.seconds, strict=True)), memory


@dataclass
class _First:
    """What a first run gives: what is compared, its seconds, and why it failed if it did."""

    outputs: list[Tensor]
    seconds: float
    failure: str | None = None


def _first_run(side: Side, device: str) -> _First:
    try:
        seconds = _timed(side, device)
        outputs = side.run() if side.outputs is None else side.outputs()
        return _First([tensor.detach().clone() for tensor in outputs], seconds)
    except Exception as error:
        if not side.form.startswith(COMPILED):
            raise
        lines = str(error).strip().splitlines() or [""]
        return _First([], 0.0, f"{type(error).__name__}: {lines[0]}")
    finally:
        side.reset()


def _timed(side: Side, device: str) -> float:
    side.reset()
    synchronize(device)
    start = time.perf_counter()
    result = side.run()
    synchronize(device)
    seconds = time.perf_counter() - start
    del result
    side.reset()
    return seconds


def _look_closely(side: Side, device: str, flops: bool) -> tuple[int | None, int | None]:
    """Return what a run allocates at most, and how much it computes."""
    side.reset()
    peak = peak_bytes(side.run, device)
    side.reset()
    if not flops or side.form.startswith(COMPILED):
        return peak, None
    with FlopCounterMode(display=False) as counter, torch.random.fork_rng():
        (side.forward or side.run)()
    side.reset()
    return peak, counter.get_total_flops() * (3 if side.forward else 1) or None


def _linear_flops(
    x: Sequence[int], second: Sequence[int], third: Sequence[int] | None, *_: Any, **__: Any
) -> int:
    """Count oneDNN's fused linear layer, which PyTorch's counter does not know, from its arguments' shapes.

    They are map (..., C), weight (D, C) and bias (D,) or None; or map, other operand (..., D), weight, bias.
    """
    wide = (third if third and len(third) == 2 else second)[0]
    return 2 * prod(x) * wide


if hasattr(torch.ops.mkldnn, "_linear_pointwise"):
    register_flop_formula(torch.ops.mkldnn._linear_pointwise)(_linear_flops)
