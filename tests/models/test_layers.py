import pytest
import torch
import torch.nn.functional as F

from convnext_dense.models.layers import GRN, DropPath, LayerNorm2d, pointwise


def test_layer_norm_normalises_the_channels_of_each_position():
    norm = LayerNorm2d(5).double()
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    x = torch.randn(2, 5, 3, 4, dtype=torch.float64)
    expected = (x - x.mean(1, keepdim=True)) / torch.sqrt(x.var(1, keepdim=True, correction=0) + 1e-6)
    expected = expected * norm.weight[:, None, None] + norm.bias[:, None, None]
    y = norm(x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)
    assert y.is_contiguous(memory_format=torch.channels_last)


def random_grn(channels, dtype=torch.float64):
    grn = GRN(channels).to(dtype)
    torch.nn.init.normal_(grn.gamma)
    torch.nn.init.normal_(grn.beta)
    return grn


def test_grn_equals_its_formula_channel_by_channel():
    grn = random_grn(3)
    x = torch.randn(2, 4, 5, 3, dtype=torch.float64)
    y = grn(x)
    for b in range(2):
        energy = [float((x[b, :, :, c] ** 2).sum()) ** 0.5 for c in range(3)]
        for c in range(3):
            ratio = energy[c] / (sum(energy) / 3 + 1e-6)
            expected = grn.gamma[0, 0, 0, c] * x[b, :, :, c] * ratio + grn.beta[0, 0, 0, c] + x[b, :, :, c]
            torch.testing.assert_close(y[b, :, :, c], expected, rtol=1e-12, atol=1e-12)


def test_grn_gradients():
    grn = random_grn(3)
    x = torch.randn(2, 3, 4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(grn, x)


def test_grn_starts_as_the_identity():
    x = torch.randn(1, 4, 4, 8)
    assert torch.equal(GRN(8)(x), x)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_grn_does_not_overflow_in_half_precision(dtype):
    grn = random_grn(4)
    x = 2000 * torch.randn(1, 64, 64, 4, dtype=torch.float64)  # of norm 128,000; float16 ends at 65,504
    expected = grn(x)
    x = x.to(dtype).requires_grad_()
    y = grn.to(dtype)(x)
    assert y.dtype == dtype
    torch.testing.assert_close(y.double(), expected, rtol=2e-2, atol=40.0)
    y.sum().backward()
    assert x.grad.isfinite().all()


def test_drop_path_drops_whole_samples_and_keeps_the_expectation():
    torch.manual_seed(0)
    drop = DropPath(0.3).train()
    x = torch.rand(20000, 2, 1, 2) + 1
    y = drop(x)
    kept = (y != 0).flatten(1)
    assert (kept.all(1) | ~kept.any(1)).all()
    kept = kept.all(1)
    torch.testing.assert_close(y[kept], x[kept] / 0.7)
    # six standard deviations of a binomial
    assert abs(kept.float().mean() - 0.7) < 6 * (0.3 * 0.7 / 20000) ** 0.5
    assert abs(y.mean() / x.mean() - 1) < 0.03


@pytest.mark.parametrize(("seed", "kept"), [(4, [0, 2]), (1, [0, 1, 2, 3]), (55, [])])
def test_dropped_samples_cost_nothing_and_change_nothing(seed, kept):
    """Against the whole branch times what was drawn: values, gradients, and what the branch is given."""
    layer = torch.nn.Conv2d(3, 3, 3, padding=1).double()
    drop = DropPath(0.4).train()
    seen = []

    def branch(x):
        seen.append(x.shape[0])
        return layer(x)

    def gradients(y, x):
        return torch.autograd.grad(y.sin().sum(), [x, *layer.parameters()])

    x = torch.randn(4, 3, 5, 7, dtype=torch.float64).to(memory_format=torch.channels_last).requires_grad_()
    torch.manual_seed(seed)
    keep = torch.empty(4).bernoulli_(0.6).double()
    assert keep.nonzero().flatten().tolist() == kept
    expected = x + layer(x) * (keep / 0.6)[:, None, None, None]
    torch.manual_seed(seed)
    y = drop.add_branch(x, branch)
    assert seen == [max(1, len(kept))]
    torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradients(y, x), gradients(expected, x), rtol=1e-12, atol=1e-12)
    assert y.is_contiguous(memory_format=torch.channels_last)


def test_drop_path_is_the_identity_in_evaluation_and_at_zero():
    x = torch.randn(8, 3)
    assert DropPath(0.9).eval()(x) is x
    assert DropPath(0.0).train()(x) is x


@pytest.fixture(params=[1, 2])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("size", [(1, 3, 5), (2, 16, 7), (1, 40, 33)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-13)])
def test_pointwise_equals_a_linear_layer_with_its_gradients(threads, size, dtype, tolerance):
    torch.manual_seed(0)
    x, weight, bias = (torch.randn(*shape, dtype=torch.float64) for shape in [(*size, 12), (20, 12), (20,)])
    grad = torch.randn(*size, 20, dtype=torch.float64)

    def outputs_and_gradients(function, dtype):
        leaves = [t.to(dtype).requires_grad_() for t in (x, weight, bias)]
        y = function(*leaves)
        y.backward(grad.to(dtype))
        return y, [leaf.grad for leaf in leaves]

    y, grads = outputs_and_gradients(pointwise, dtype)
    expected, expected_grads = outputs_and_gradients(F.linear, torch.float64)
    assert y.is_contiguous()
    for actual, wanted in zip([y, *grads], [expected, *expected_grads], strict=True):
        assert (actual.double() - wanted).abs().max() / wanted.abs().max() < tolerance
