"""Sigmoid focal loss in plain PyTorch (Lin et al., "Focal Loss for Dense Object Detection", 2017).

With p = sigmoid(x), the loss of a logit is −α (1 − p)^γ log p if its class is the target and
−(1 − α) p^γ log(1 − p) otherwise. Logarithms are taken of the logit itself, so a large logit keeps its
exact loss, where log(1 − sigmoid(x)) would have rounded to log 0.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def sigmoid_focal_loss(
    logits: Tensor, target: Tensor, weight: Tensor | None, gamma: float, alpha: float
) -> Tensor:
    """Return the loss of every logit.

    Args:
        logits: (N, C), any floating dtype; half precision is computed in float32.
        target: (N,) int64 class; anything outside 0 … C−1 is background, a negative for every class.
        weight: (C,) factor of the rows of each target class, or None. Background has the factor 1.
        gamma: Focusing parameter.
        alpha: Weight of the positives.

    Returns:
        (N, C), dtype of `logits`.
    """
    x, positive = _prepare(logits, target)
    # by the sign of the logit, one formula serves positives and negatives: z = x or −x, q = sigmoid(z)
    z = torch.where(positive, x, -x)
    loss = -(torch.sigmoid(-z) ** gamma) * F.logsigmoid(z)
    return _balanced(loss, positive, target, weight, alpha).to(logits.dtype)


def sigmoid_focal_loss_grad(
    logits: Tensor, target: Tensor, weight: Tensor | None, gamma: float, alpha: float
) -> Tensor:
    """Return the derivative of every loss by its logit, (N, C); arguments as `sigmoid_focal_loss`."""
    x, positive = _prepare(logits, target)
    z = torch.where(positive, x, -x)
    q, rest = torch.sigmoid(z), torch.sigmoid(-z)
    by_z = -(rest**gamma) * (rest - gamma * q * F.logsigmoid(z))
    grad = torch.where(positive, by_z, -by_z)
    return _balanced(grad, positive, target, weight, alpha).to(logits.dtype)


def _prepare(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logits in at least float32 and where they belong to the target class, both (N, C)."""
    x = logits.detach().to(torch.promote_types(logits.dtype, torch.float32))
    return x, target[:, None] == torch.arange(x.shape[1], device=x.device)


def _balanced(
    values: Tensor, positive: Tensor, target: Tensor, weight: Tensor | None, alpha: float
) -> Tensor:
    values = torch.where(positive, alpha * values, (1 - alpha) * values)
    if weight is None:
        return values
    n_classes = values.shape[1]
    foreground = (target >= 0) & (target < n_classes)
    per_row = weight.to(values)[target.clamp(0, n_classes - 1)]
    return values * torch.where(foreground, per_row, 1.0)[:, None]
