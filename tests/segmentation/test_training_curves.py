"""A segmentor with this project's parts trains as one with mmseg's: loss and gradient curves of 20 steps."""

import pytest
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from convnext_dense.benchmark.stock import build_pair, shipped_model

STEPS, CLASSES, SIZE = 20, 5, (72, 104)


def batch():
    """Return three images and label maps, a tenth of whose pixels are to be ignored."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(3, 3, *SIZE, generator=generator, dtype=torch.float64)
    samples = []
    for _ in images:
        labels = torch.randint(CLASSES, (1, *SIZE), generator=generator)
        labels[torch.rand(labels.shape, generator=generator) < 0.1] = 255
        sample = SegDataSample(metainfo=dict(img_shape=SIZE, ori_shape=SIZE))
        sample.gt_sem_seg = PixelData(data=labels)
        samples.append(sample)
    return images, samples


def curve(model):
    """Train in float64; return losses, accuracies and the gradients' norm of every step."""
    model = model.double().train()
    images, samples = batch()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2, momentum=0.9)
    rows = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        total, named = model.parse_losses(model.loss(images, samples))
        total.backward()
        norms = [weight.grad.norm() for weight in model.parameters() if weight.grad is not None]
        rows.append(
            torch.stack([*(named[name] for name in sorted(named)), torch.stack(norms).norm()]).detach()
        )
        optimizer.step()
    return torch.stack(rows)


@pytest.mark.filterwarnings("ignore:Default ``avg_non_ignore``")
@pytest.mark.parametrize("arch", [pytest.param("tiny", marks=pytest.mark.full), "v2_atto"])
def test_the_stock_curves(arch, winograd_calls):
    """All at once: backbone, fused head, Winograd's convolutions, losses in bands."""
    cfg = shipped_model("upernet", arch)
    for head in (cfg.decode_head, cfg.auxiliary_head):
        head.update(channels=16, num_classes=CLASSES)
    ours, stock = build_pair("upernet", cfg)
    found, expected = curve(ours), curve(stock)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)
    # forwards and backwards: fusion, pyramid pooling, three levels and the auxiliary head
    assert len(winograd_calls) == STEPS * 2 * 6
    assert expected[-1, -2] < expected[0, -2], "it learns"
