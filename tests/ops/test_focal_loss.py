import pytest
import torch
from torch.autograd import gradcheck

from convnext_dense import ops

ops.install()
from mmcv.ops import SigmoidFocalLoss, sigmoid_focal_loss  # noqa: E402

pytestmark = pytest.mark.usefixtures("stand_in")

N_CLASSES = 5


def case(dtype=torch.float64, spread=4.0):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(12, N_CLASSES, generator=generator, dtype=torch.float64) * spread
    target = torch.arange(12) % (N_CLASSES + 2) - 1  # −1 and 5 are background
    return logits.to(dtype), target


def formula(logits, target, gamma, alpha, weight=None):
    """The paper's loss, element by element and by probabilities; background weighs 1."""
    p = torch.sigmoid(logits)
    rows = []
    for n, t in enumerate(target.tolist()):
        factor = weight[t] if weight is not None and 0 <= t < N_CLASSES else 1.0
        for c in range(N_CLASSES):
            q, a = (p[n, c], alpha) if c == t else (1 - p[n, c], 1 - alpha)
            rows.append(-factor * a * (1 - q) ** gamma * torch.log(q))
    return torch.stack(rows).view_as(logits)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("gamma", "alpha"), [(2.0, 0.25), (0.0, 0.5), (1.5, 0.3)])
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_value_and_gradient_equal_the_formula(gamma, alpha, reduction, weighted):
    logits, target = case()
    weight = torch.linspace(0.5, 2, N_CLASSES, dtype=torch.float64) if weighted else None
    x, y = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    loss = sigmoid_focal_loss(x, target, gamma, alpha, weight, reduction)
    expected = formula(y, target, gamma, alpha, weight)
    expected = {"none": expected, "sum": expected.sum(), "mean": expected.sum() / len(logits)}[reduction]
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-12)
    loss.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(x.grad, y.grad, rtol=0, atol=1e-12)


def test_gradcheck():
    logits, target = case(spread=2.0)
    assert gradcheck(lambda x: sigmoid_focal_loss(x, target, 2.0, 0.25, None, "sum"), logits.requires_grad_())


def test_a_large_wrong_logit_keeps_its_loss_in_float32():
    loss = sigmoid_focal_loss(torch.tensor([[40.0]]), torch.tensor([1]), 2.0, 0.25, None, "none")
    assert loss.item() == pytest.approx(0.75 * 40)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_single(dtype):
    logits, target = case(dtype)
    x = logits.clone().requires_grad_()
    loss = SigmoidFocalLoss(2.0, 0.25, reduction="none")(x, target)
    expected = sigmoid_focal_loss(logits.float(), target, 2.0, 0.25, None, "none")
    assert torch.equal(loss, expected.to(dtype))
    loss.sum().backward()
    assert x.grad.dtype == dtype


def test_no_rows():
    loss = sigmoid_focal_loss(
        torch.zeros(0, N_CLASSES), torch.zeros(0, dtype=torch.long), 2.0, 0.25, None, "sum"
    )
    assert loss.item() == 0


@pytest.mark.gpu
def test_cuda_equals_cpu():
    logits, target = case(torch.float32)
    on_cpu = sigmoid_focal_loss(logits, target, 2.0, 0.25, None, "none")
    on_gpu = sigmoid_focal_loss(logits.cuda(), target.cuda(), 2.0, 0.25, None, "none")
    torch.testing.assert_close(on_gpu.cpu(), on_cpu, rtol=1e-5, atol=1e-6)
