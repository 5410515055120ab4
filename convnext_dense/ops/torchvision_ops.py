"""The operators that torchvision has kernels for, where its build loads beside the installed torch.

Its GPU kernels are preferred. On a CPU its RoIAlign is a scalar loop, which the PyTorch form outruns.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor


def preferred(tensor: Tensor) -> bool:
    """Tell whether torchvision's kernels are the choice for tensors on this device."""
    return tensor.device.type != "cpu" and loads(tensor.device.type)


@functools.cache
def loads(device_type: str) -> bool:
    """Tell whether torchvision is installed and its operators really run on a type of device.

    Builds are tied to one torch build: beside another one they fail on import in several ways, and a
    CPU build has no GPU kernels. So an operator is run.
    """
    try:
        import torchvision  # noqa: F401

        box = torch.zeros(1, 4, device=device_type)
        torch.ops.torchvision.nms(box, box[:, 0], 0.5)
    except Exception:  # whatever it is, torchvision is of no use here
        return False
    return True


def roi_align(
    input: Tensor,
    rois: Tensor,
    output_size: Sequence[int],
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """Pool RoIs; arguments and result as `convnext_dense.ops.roi_align.roi_align`."""
    compute = torch.promote_types(input.dtype, torch.float32)
    pooled = torch.ops.torchvision.roi_align(
        input.detach().to(compute), rois.to(compute), spatial_scale, *output_size, sampling_ratio, aligned
    )
    return pooled.to(input.dtype)


def roi_align_grad(
    grad_output: Tensor,
    rois: Tensor,
    input_shape: Sequence[int],
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """Return the gradient by the input; arguments as `convnext_dense.ops.roi_align.roi_align_grad`."""
    compute = torch.promote_types(grad_output.dtype, torch.float32)
    grad = torch.ops.torchvision._roi_align_backward(
        grad_output.to(compute),
        rois.to(compute),
        spatial_scale,
        *grad_output.shape[2:],
        *input_shape,
        sampling_ratio,
        aligned,
    )
    return grad.to(grad_output.dtype)


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Return the indices of the kept boxes by descending score."""
    compute = torch.promote_types(boxes.dtype, torch.float32)
    return torch.ops.torchvision.nms(boxes.detach().to(compute), scores.detach().to(compute), iou_threshold)
