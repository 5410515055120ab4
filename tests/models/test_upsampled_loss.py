"""Cross-entropy of upsampled logits: PyTorch's, in blocks of rows."""

import pytest
import torch
import torch.nn.functional as F

from convnext_dense.models import resized_rows
from convnext_dense.models.resized_rows import RowResize, argmax_of_rows, as_rows
from convnext_dense.models.upsampled_loss import cross_entropy_of_upsampled

CLASSES = 5


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    """Several blocks, the last of another height."""
    monkeypatch.setattr(resized_rows, "MIN_ROWS", 3)
    monkeypatch.setattr(resized_rows, "CPU_BLOCK", 1)


def data(small=(7, 9), full=(29, 37), batch=2, dtype=torch.float64):
    torch.manual_seed(0)
    logits = (3 * torch.randn(batch, CLASSES, *small, dtype=dtype)).requires_grad_()
    labels = torch.randint(CLASSES, (batch, *full))
    labels[torch.rand(labels.shape) < 0.2] = 255
    return logits, labels


def reference(logits, labels, weight, align):
    full = F.interpolate(logits, labels.shape[1:], mode="bilinear", align_corners=align)
    loss = F.cross_entropy(full, labels, weight, reduction="sum", ignore_index=255)
    return loss, (full.argmax(1) == labels).sum()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize("small", [(7, 9), (29, 37), (29, 9), (7, 37), (40, 50), (1, 1)])
def test_loss_gradient_and_hits_are_pytorchs(small, align, weighted):
    logits, labels = data(small)
    weight = torch.rand(CLASSES, dtype=torch.float64) if weighted else None
    expected, hits = reference(logits, labels, weight, align)
    (slope,) = torch.autograd.grad(1.7 * expected, logits)
    sums = cross_entropy_of_upsampled(logits, labels, weight, 255, align)
    torch.testing.assert_close(sums.loss, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(torch.autograd.grad(1.7 * sums.loss, logits)[0], slope, rtol=1e-11, atol=1e-11)
    assert int(sums.hits) == int(hits)
    assert int(sums.pixels) == int((labels != 255).sum())


def test_gradcheck():
    logits, labels = data((3, 4), (10, 11), batch=1)
    assert torch.autograd.gradcheck(lambda x: cross_entropy_of_upsampled(x, labels).loss, logits)


def test_an_image_without_any_label_has_no_loss_and_no_gradient():
    logits, labels = data()
    labels[1] = 255
    sums = cross_entropy_of_upsampled(logits, labels)
    (slope,) = torch.autograd.grad(sums.loss, logits)
    assert slope[0].abs().max() > 0
    assert slope[1].abs().max() == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_other_precisions_sum_up_in_single(dtype):
    logits, labels = data(dtype=dtype)
    exact = logits.detach().double().requires_grad_()
    expected, _ = reference(exact, labels, None, False)
    (slope,) = torch.autograd.grad(expected, exact)
    sums = cross_entropy_of_upsampled(logits, labels)
    assert sums.loss.dtype == torch.float32
    torch.testing.assert_close(sums.loss.double(), expected, rtol=1e-5, atol=0)
    found = torch.autograd.grad(sums.loss, logits)[0].double()
    rounding = torch.finfo(dtype).eps
    torch.testing.assert_close(found, slope, rtol=2 * rounding, atol=2e-6)


def test_blocks_of_a_resized_map_are_pytorchs():
    torch.manual_seed(0)
    for source, target in [((7, 9), (29, 37)), ((29, 37), (7, 9)), ((7, 9), (7, 9))]:
        map_ = torch.randn(4, *source, dtype=torch.float64)
        expected = F.interpolate(map_[None], target, mode="bilinear")[0]
        resize, rows = RowResize(source, target, False, map_), as_rows(map_)
        parts = []
        for start, stop in resize.blocks(4):
            first, end = resize.span(start, stop)
            parts.append(resize(rows[first:end], start, stop))
        assert len(parts) > 2
        torch.testing.assert_close(torch.cat(parts).transpose(0, 1), expected, rtol=1e-12, atol=1e-12)


def test_argmax_takes_the_first_of_equals_and_finds_nan():
    block = torch.tensor([[0.0, 1.0, 1.0, 0.5], [2.0, 2.0, -1.0, 2.0]])[..., None]
    assert argmax_of_rows(block).flatten().tolist() == [1, 0]
    block[0, 2] = torch.nan
    assert argmax_of_rows(block).flatten().tolist() == [2, 0]
