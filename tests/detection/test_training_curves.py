"""A detector with this project's parts trains as one with mmdet's: loss and gradient curves of 20 steps."""

import pytest
import torch

from . import tiny

STEPS = 20


def curves(model):
    """Train on one batch in float64; return the losses and the gradients' norms of every step."""
    torch.set_default_dtype(torch.float64)  # mmdet makes anchors and targets in it
    try:
        model = model.double().train()
        data = tiny.batch(model, training=True)
        data["inputs"] = data["inputs"].double()
        for sample in data["data_samples"]:
            sample.gt_instances.bboxes = sample.gt_instances.bboxes.double()
        optimizer = torch.optim.SGD(model.parameters(), lr=3e-4, momentum=0.9)
        rows = []
        for _ in range(STEPS):
            torch.manual_seed(0)  # the samplers draw at random
            optimizer.zero_grad()
            losses = model(**data, mode="loss")
            total, named = model.parse_losses(losses)
            total.backward()
            norms = [weight.grad.norm() for weight in model.parameters() if weight.grad is not None]
            rows.append(
                torch.stack([*(named[name] for name in sorted(named)), torch.stack(norms).norm()]).detach()
            )
            torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
        return torch.stack(rows)
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(("config", "seed"), [(tiny.mask_rcnn, 0), (tiny.cascade_mask_rcnn, 4)])
def test_the_stock_curves(config, seed, winograd_calls):
    stock, ours = tiny.build(config(), seed), tiny.build(tiny.with_our_heads(config()), seed)
    ours.load_state_dict(stock.state_dict(), strict=True)
    expected, found = curves(stock), curves(ours)
    torch.testing.assert_close(found[:2], expected[:2], rtol=1e-9, atol=1e-12)
    # a rounding that meets a tie, such as a mask bin covered by just one half, moves a loss by 1e-5
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-6)
    assert len(winograd_calls) > 10 * STEPS  # of the neck, the RPN and the mask heads, forwards and backwards
    assert (expected[-1] / expected[0] - 1).abs().max() > 0.01  # the weights have moved
