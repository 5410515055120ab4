"""The operators under the names and signatures by which mmcv calls its compiled module `mmcv._ext`.

Each writes into the tensors that it is given, as the compiled ones do. The arguments' meaning is
documented with the functions that do the work.
"""

from __future__ import annotations

from torch import Tensor

from . import focal_loss, torchvision_ops
from .absent import AbsentOperatorError
from .nms import nms as _nms
from .roi_align import roi_align, roi_align_grad
from .soft_nms import nms_match as _nms_match
from .soft_nms import soft_nms

AVERAGE = 1  # mmcv's number for pool_mode='avg'


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    *,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Write RoIAlign of `input` to `output`; average pooling only."""
    _require_average(pool_mode)
    size = (aligned_height, aligned_width)
    if torchvision_ops.preferred(input):
        output.copy_(torchvision_ops.roi_align(input, rois, size, spatial_scale, sampling_ratio, aligned))
    else:
        roi_align(input, rois, size, spatial_scale, sampling_ratio, aligned, out=output)


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    *,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Write the gradient of RoIAlign to `grad_input`, a contiguous (B, C, H, W)."""
    _require_average(pool_mode)
    grad = torchvision_ops.roi_align_grad if torchvision_ops.preferred(grad_output) else roi_align_grad
    source = grad(grad_output, rois, grad_input.shape, spatial_scale, sampling_ratio, aligned)
    # copied image by image: PyTorch transposes matrices several times faster than it permutes 4-D tensors
    for target_image, source_image in zip(grad_input, source, strict=True):
        target_image.flatten(1).copy_(source_image.flatten(1))


def nms(boxes: Tensor, scores: Tensor, *, iou_threshold: float, offset: int) -> Tensor:
    """Return the indices of the boxes that greedy NMS keeps, by descending score."""
    if offset == 0 and torchvision_ops.preferred(boxes):
        return torchvision_ops.nms(boxes, scores, iou_threshold)
    return _nms(boxes, scores, iou_threshold, offset)


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    *,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Write the K boxes that soft-NMS leaves to the first K rows of `dets` (N, 5); return their indices."""
    left, index = soft_nms(boxes, scores, iou_threshold, sigma, min_score, method, offset)
    dets[: len(left)] = left.to(dets)
    return index.to(boxes.device)


def nms_match(dets: Tensor, *, iou_threshold: float) -> list[list[int]]:
    """Return one list of indices for each kept box: itself, then those that it suppresses."""
    return _nms_match(dets, iou_threshold)


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, *, gamma: float, alpha: float
) -> None:
    """Write the loss of every logit to `output`; an empty `weight` means none."""
    output.copy_(focal_loss.sigmoid_focal_loss(input, target, _given(weight), gamma, alpha))


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, *, gamma: float, alpha: float
) -> None:
    """Write the derivative of every loss by its logit to `grad_input`."""
    grad_input.copy_(focal_loss.sigmoid_focal_loss_grad(input, target, _given(weight), gamma, alpha))


def get_compiler_version() -> str:
    """Name what stands for the compiler in environment reports."""
    return "none (operators of convnext_dense.ops)"


def get_compiling_cuda_version() -> str:
    """Name what stands for the CUDA compiler in environment reports."""
    return "none (operators of convnext_dense.ops)"


OPERATORS = {
    function.__name__: function
    for function in (
        roi_align_forward,
        roi_align_backward,
        nms,
        softnms,
        nms_match,
        sigmoid_focal_loss_forward,
        sigmoid_focal_loss_backward,
        get_compiler_version,
        get_compiling_cuda_version,
    )
}


def _given(weight: Tensor) -> Tensor | None:
    return weight if weight.numel() else None


def _require_average(pool_mode: int) -> None:
    if pool_mode != AVERAGE:
        raise AbsentOperatorError(
            "RoIAlign with pool_mode='max' is not available without mmcv's compiled operators",
            fix="set pool_mode='avg' in the RoI layer's config",
        )
