"""Decode heads of mmseg whose loss needs no logits of the label map's size."""

from __future__ import annotations

import torch
from mmengine.registry import MODELS
from mmseg.models.decode_heads import FCNHead
from mmseg.models.losses import CrossEntropyLoss
from mmseg.utils import SampleList
from torch import Tensor

from ..errors import UserError
from ..models.upsampled_loss import PixelSums, cross_entropy_of_upsampled

#: mmseg adds it to what it divides by.
_EPS = torch.finfo(torch.float32).eps


class BandedLoss:
    """A decode head's cross-entropy and accuracy, in blocks of rows; a mixin, named before mmseg's head.

    Loss, gradient and `acc_seg` are mmseg's but for rounding (where several classes share the largest logit,
    mmseg takes one of them, and here the label counts as found if it is among them). Any other loss than one
    `CrossEntropyLoss` over classes with the mean, and any pixel sampler, is left to mmseg.
    """

    def loss_by_feat(self, seg_logits: Tensor, batch_data_samples: SampleList) -> dict[str, Tensor]:
        """Return the loss and the accuracy in percent.

        Args:
            seg_logits: (B, C, h, w).
            batch_data_samples: With `gt_sem_seg`, (1, H, W).

        Raises:
            UserError: The number of class weights is not C; on a CPU also: a label is none of the classes.
        """
        if not self._has_plain_loss():
            return super().loss_by_feat(seg_logits, batch_data_samples)  # type: ignore[misc]
        loss = self.loss_decode  # type: ignore[attr-defined]
        labels = self._stack_batch_gt(batch_data_samples).squeeze(1)  # type: ignore[attr-defined]
        ignored = self.ignore_index  # type: ignore[attr-defined]
        _check_labels(labels, seg_logits.shape[1], ignored)
        weight = None
        if loss.class_weight is not None:
            # of the logits' type, as mmseg's
            weight = seg_logits.new_tensor(loss.class_weight)
            if len(weight) != seg_logits.shape[1]:
                raise UserError(
                    f"there are {len(weight)} class weights and {seg_logits.shape[1]} classes",
                    "class_weight of loss_decode",
                    "give one weight a class",
                )
        align = self.align_corners  # type: ignore[attr-defined]
        sums = cross_entropy_of_upsampled(seg_logits, labels, weight, ignored, align)
        accuracy = (sums.hits + _EPS) * 100 / (sums.pixels + _EPS)
        mean = sums.loss / (_divisor(sums, labels, loss) + _EPS)
        return {loss.loss_name: loss.loss_weight * mean, "acc_seg": accuracy[None]}

    def _has_plain_loss(self) -> bool:
        loss = self.loss_decode  # type: ignore[attr-defined]
        return (
            type(loss) is CrossEntropyLoss
            and not (loss.use_sigmoid or loss.use_mask)
            and loss.reduction == "mean"
            and self.sampler is None  # type: ignore[attr-defined]
            and self.ignore_index is not None  # type: ignore[attr-defined]
            and self.out_channels > 1  # type: ignore[attr-defined]
        )


def _divisor(sums: PixelSums, labels: Tensor, loss: CrossEntropyLoss) -> Tensor | int:
    """Return what mmseg divides the sum by: all pixels unless told otherwise, or the labels' weights."""
    if loss.class_weight is not None:
        return sums.weight
    return sums.pixels if loss.avg_non_ignore else labels.numel()


def _check_labels(labels: Tensor, classes: int, ignore_index: int) -> None:
    """Raise for a label that is no class; on a device the library's own check answers, without a wait."""
    if labels.device.type != "cpu":
        return
    wrong = labels[((labels < 0) | (labels >= classes)) & (labels != ignore_index)]
    if len(wrong):
        raise UserError(
            f"a label map has the value {int(wrong[0])}, the head has {classes} classes",
            "gt_sem_seg",
            f"correct the label maps (check-data finds all such) or num_classes; {ignore_index} is ignored",
        )


@MODELS.register_module()
class BandedFCNHead(BandedLoss, FCNHead):
    """`FCNHead` with the same arguments, weights and results, whose loss has a bounded memory."""
