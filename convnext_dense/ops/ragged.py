"""Groups of unequal length, laid out flat."""

from __future__ import annotations

import torch
from torch import Tensor


def ragged_arange(length: Tensor) -> tuple[Tensor, Tensor]:
    """Number the members of consecutive groups, e.g. lengths 2, 0, 3 give 0 0 2 2 2 and 0 1 0 1 2.

    Args:
        length: (G,) int64, how many members each group has.

    Returns:
        The group of each member and its rank within the group, both (sum of length,) int64.
    """
    start = length.cumsum(0) - length
    group = torch.repeat_interleave(length)
    rank = torch.arange(len(group), device=length.device) - start.index_select(0, group)
    return group, rank
