"""What a comparison is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Setting:
    """One line of the table that is asked for.

    Attributes:
        mode: `infer` (evaluation mode, no gradients) or `train` (a forward and a backward pass; what the
            optimizer does is the same on all sides and left out).
        dtype: A key of `DTYPES`; weights are fp32 on all sides, and all run under autocast in bf16 and fp16.
        arch: A name of `convnext_dense.models.arch.ARCHS`.
        size: (H, W) of the images, px.
        batch: Images at once.
        compile: Whether every side also runs compiled.
        rounds: How often each side is timed.
        peers: Names of the peers to run; None for all.
        device: `cpu` or `cuda`.
        number: Images that the COCO metric scores or the input pipeline loads.
        data: Folder of a data set for the input pipeline; None for generated images.
        step_s: Seconds of a training step that the input pipeline is held against; None for none.
    """

    mode: str = "infer"
    dtype: str = "fp32"
    arch: str = "tiny"
    size: tuple[int, int] = (512, 512)
    batch: int = 1
    compile: bool = False
    rounds: int = 5
    peers: tuple[str, ...] | None = None
    device: str = "cpu"
    number: int = 500
    data: str | None = None
    step_s: float | None = None

    @property
    def trains(self) -> bool:
        """Whether gradients are computed."""
        return self.mode == "train"

    @contextmanager
    def precision(self) -> Iterator[None]:
        """Run under autocast where less than fp32 is asked for."""
        reduced = self.dtype != "fp32"
        with torch.autocast(self.device, DTYPES[self.dtype] if reduced else None, enabled=reduced):
            yield

    def wants(self, peer: str) -> bool:
        """Whether a peer is to run."""
        return self.peers is None or peer in self.peers

    def images(self) -> Tensor:
        """Return random images (batch, 3, H, W) as a data preprocessor gives them: normalised, contiguous."""
        return torch.randn(self.batch, 3, *self.size, generator=self.generator()).to(self.device)

    def generator(self, seed: int = 0) -> torch.Generator:
        """Return a generator of random numbers that are the same in each call."""
        return torch.Generator().manual_seed(seed)
