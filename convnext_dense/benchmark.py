"""Timing this toolkit against its peers: both sides in one process, in turns, on the same inputs.

On a machine that others use, too, a time says little and a ratio much: each round times every side once, and
what counts is the median over the rounds of the ratio within a round.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from types import ModuleType

import torch
from torch import Tensor

from .errors import UserError, did_you_mean

IMAGE_PX = (800, 1216)  #: (H, W) of the published detection recipes' usual input
STRIDES = (4, 8, 16, 32)


@dataclass(frozen=True)
class Comparison:
    """One case: this toolkit against a peer.

    Attributes:
        case: What was done.
        peer: Who it is compared with.
        ours_s: Median seconds of this toolkit.
        peer_s: Median seconds of the peer.
        ratio: Median over the rounds of peer's time / our time: above 1 we are faster.
        max_difference: Largest absolute difference of the two outputs.
    """

    case: str
    peer: str
    ours_s: float
    peer_s: float
    ratio: float
    max_difference: float


def compare(
    case: str, peer: str, ours: Callable[[], Tensor], theirs: Callable[[], Tensor], rounds: int
) -> Comparison:
    """Time two functions that compute the same tensor in turns, after one round that does not count.

    Raises:
        UserError: The outputs have different shapes, so that the two did not do the same work.
    """
    times: tuple[list[float], list[float]] = ([], [])
    outputs: list[Tensor] = []
    for round_ in range(rounds + 1):
        outputs = []
        for function, spent in zip((ours, theirs), times, strict=True):
            start = time.perf_counter()
            outputs.append(function())
            if round_:
                spent.append(time.perf_counter() - start)
    if outputs[0].shape != outputs[1].shape:
        shapes = " and ".join(str(tuple(output.shape)) for output in outputs)
        raise UserError(f"the two sides give {shapes}", f"benchmark {case}", "report this: it is a defect")
    difference = (outputs[0].double() - outputs[1].double()).abs().max().item() if outputs[0].numel() else 0.0
    ratio = median(theirs_s / ours_s for ours_s, theirs_s in zip(*times, strict=True))
    return Comparison(case, peer, median(times[0]), median(times[1]), ratio, difference)


def random_boxes(count: int, seed: int = 0) -> Tensor:
    """Return boxes (count, 4) in an image of `IMAGE_PX`, from 12 to 300 px wide as proposals are."""
    generator = torch.Generator().manual_seed(seed)
    height, width = IMAGE_PX
    corner = torch.rand(count, 2, generator=generator) * torch.tensor([0.8 * width, 0.8 * height])
    size = torch.exp(torch.rand(count, 2, generator=generator) * 3.2 + 2.5)
    return torch.cat((corner, corner + size), 1).minimum(torch.tensor([width, height, width, height]))


def compare_roi_align(rounds: int) -> list[Comparison]:
    """1,000 RoIs of 7×7 from a pyramid of 256 channels, sampling ratio 0, fp32, against compiled mmcv."""
    compiled, ours = _extensions()
    boxes = random_boxes(1000)
    rois = torch.cat((torch.zeros(len(boxes), 1), boxes), 1)
    # Lin et al., "FPN", 2017, equation 1, as mmdet has it
    side = (boxes[:, 2:] - boxes[:, :2]).prod(1).sqrt()
    level = (side / 56 + 1e-6).log2().floor().clamp(0, len(STRIDES) - 1)
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(1, 256, *(side // s for side in IMAGE_PX), generator=generator) for s in STRIDES]
    settings = dict(aligned_height=7, aligned_width=7, sampling_ratio=0, pool_mode=1, aligned=True)
    none = torch.zeros(0)

    def pool(extension: ModuleType, channels_last: bool) -> Tensor:
        parts = []
        for index, (stride, map_) in enumerate(zip(STRIDES, maps, strict=True)):
            chosen = rois[level == index]
            out = map_.new_zeros(len(chosen), map_.shape[1], 7, 7)
            given = formats[channels_last][index]
            extension.roi_align_forward(given, chosen, out, none, none, spatial_scale=1 / stride, **settings)
            parts.append(out)
        return torch.cat(parts)

    formats = {False: maps, True: [map_.to(memory_format=torch.channels_last) for map_ in maps]}
    return [
        compare(
            f"RoIAlign, 1,000 RoIs, {'channels_last' if last else 'contiguous'} maps",
            "compiled mmcv",
            partial(pool, ours, last),
            partial(pool, compiled, last),
            rounds,
        )
        for last in (False, True)
    ]


def compare_nms(rounds: int) -> list[Comparison]:
    """NMS of 2,000 boxes, scattered and in clusters as an RPN's are, against compiled mmcv."""
    compiled, ours = _extensions()
    generator = torch.Generator().manual_seed(0)
    centres = random_boxes(100)[torch.randint(100, (2000,), generator=generator)]
    scores = torch.rand(2000, generator=generator)
    kinds = {
        "scattered": random_boxes(2000),
        "in clusters": centres + 4 * torch.randn(2000, 4, generator=generator),
    }

    def keep(extension: ModuleType, boxes: Tensor) -> Tensor:
        return extension.nms(boxes, scores, iou_threshold=0.7, offset=0)

    return [
        compare(
            f"NMS, 2,000 boxes {kind}",
            "compiled mmcv",
            partial(keep, ours, boxes),
            partial(keep, compiled, boxes),
            rounds,
        )
        for kind, boxes in kinds.items()
    ]


def compare_upernet_head(rounds: int) -> list[Comparison]:
    """UperNet-T's head on a 512×512 image, fp32, against mmseg's order of the same work; channels_last maps.

    In evaluation the logits are compared; in a training step (two images) the gradient of the fusion
    convolution.
    """
    from .engine.libraries import load_libraries

    load_libraries("mmseg")
    from .segmentation import FusedUPerHead

    dims = (96, 192, 384, 768)
    generator = torch.Generator().manual_seed(0)
    maps = [
        torch.randn(2, dim, 512 // stride, 512 // stride, generator=generator).to(
            memory_format=torch.channels_last
        )
        for dim, stride in zip(dims, STRIDES, strict=True)
    ]
    head = FusedUPerHead(
        in_channels=list(dims),
        in_index=[0, 1, 2, 3],
        channels=512,
        num_classes=150,
        norm_cfg=dict(type="BN"),
        dropout_ratio=0.0,
        align_corners=False,
    )

    def evaluate(fused: bool) -> Tensor:
        head.eval().fused = fused
        with torch.no_grad():
            return head([map_[:1] for map_ in maps])

    def train(fused: bool) -> Tensor:
        head.train().fused = fused
        head.zero_grad()
        head(maps).square().mean().backward()
        return head.fpn_bottleneck.conv.weight.grad

    return [
        compare(
            f"UPerHead of T, 512², {name}", "mmseg's order", partial(step, True), partial(step, False), rounds
        )
        for name, step in (("eval", evaluate), ("train step, batch 2", train))
    ]


CASES: dict[str, Callable[[int], list[Comparison]]] = {
    "roi_align": compare_roi_align,
    "nms": compare_nms,
    "upernet_head": compare_upernet_head,
}


def run(args: argparse.Namespace) -> None:
    """Run the cases of the command line, print a table and write JSON if asked."""
    if args.rounds < 1:
        raise UserError(f"{args.rounds} rounds", "--rounds", "give 1 or more")
    # The libraries warn of each other's old interfaces, about which their user can do nothing.
    warnings.filterwarnings("ignore", module=r"(mm\w+|torch)\..*")
    if args.threads:
        torch.set_num_threads(args.threads)
    for case in args.cases:
        if case not in CASES:
            raise UserError(f"unknown case {case!r}", "benchmark", did_you_mean(case, CASES))
    results = [result for case in args.cases or CASES for result in CASES[case](args.rounds)]
    print_table(results)
    if args.out:
        machine = {
            "platform": platform.platform(),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
        }
        record = {"machine": machine, "results": [asdict(result) for result in results]}
        Path(args.out).write_text(json.dumps(record, indent=1) + "\n")


def print_table(results: Sequence[Comparison]) -> None:
    """Print one line per comparison to standard output."""
    from rich.console import Console
    from rich.table import Table

    table = Table("case", "peer", "peer ms", "ours ms", "ratio", "largest difference")
    for r in results:
        numbers = (1e3 * r.peer_s, 1e3 * r.ours_s)
        times = [f"{number:.1f}" for number in numbers]
        table.add_row(r.case, r.peer, *times, f"{r.ratio:.2f}", f"{r.max_difference:.1e}")
    # A file has no width at which to fold.
    Console(width=None if sys.stdout.isatty() else 120).print(table)


def _extensions() -> tuple[ModuleType, ModuleType]:
    """Return mmcv's compiled operators and ours.

    Raises:
        UserError: There are no compiled ones to compare with.
    """
    from . import ops
    from .ops.absent import REMEDY
    from .ops.stand_in import load_compiled, make_stand_in

    ops.install()
    folder = os.environ.get("COMPILED_MMCV")
    compiled = load_compiled(folder)
    if compiled is None:
        raise UserError(
            "there are no compiled operators of mmcv to compare with",
            f"COMPILED_MMCV={folder}" if folder else "the installed mmcv",
            f"compile them in an environment of its own ({REMEDY.rpartition(': ')[2]}), and name its "
            "site-packages folder in the variable COMPILED_MMCV",
        )
    return compiled, make_stand_in()
