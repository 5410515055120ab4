"""The heads' losses are mmseg's."""

import pytest
import torch
from mmengine.structures import PixelData
from mmseg.models.decode_heads import FCNHead
from mmseg.structures import SegDataSample

from convnext_dense.errors import UserError
from convnext_dense.segmentation import BandedFCNHead

from ..detection.allocations import peak_bytes

CLASSES = 6
CE = dict(type="CrossEntropyLoss", loss_weight=0.4)
WEIGHTS = [0.1, 0.5, 1.0, 2.0, 3.0, 0.7]


def build(kind, **changes):
    settings = dict(
        in_channels=4,
        in_index=0,
        channels=8,
        num_convs=1,
        concat_input=False,
        num_classes=CLASSES,
        dropout_ratio=0.0,
        norm_cfg=dict(type="BN"),
        loss_decode=CE,
    )
    return kind(**settings | changes)


def samples(size=(33, 45), ignored=255, classes=CLASSES, batch=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (batch, *size), generator=generator)
    labels[torch.rand(labels.shape, generator=generator) < 0.2] = ignored
    return [SegDataSample(gt_sem_seg=PixelData(data=map_[None])) for map_ in labels]


def losses_and_gradient(head, logits, batch):
    logits = logits.clone().requires_grad_()
    losses = head.loss_by_feat(logits, batch)
    (slope,) = torch.autograd.grad(sum(losses[key] for key in losses if "loss" in key), logits)
    return {**losses, "slope": slope}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"align_corners": True},
        {"ignore_index": 3},
        {"loss_decode": CE | {"avg_non_ignore": True}},
        {"loss_decode": CE | {"class_weight": WEIGHTS}},
        # what is left to mmseg
        {"loss_decode": [CE, dict(type="DiceLoss")]},
        {"loss_decode": CE | {"use_sigmoid": True}},
        {"loss_decode": CE | {"reduction": "sum"}},
        {"sampler": dict(type="OHEMPixelSampler", thresh=0.7, min_kept=50)},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_losses_accuracy_and_gradient_are_mmsegs(changes):
    logits = torch.randn(2, CLASSES, 9, 11, dtype=torch.float64)
    batch = samples(ignored=changes.get("ignore_index", 255))
    ours, theirs = (
        losses_and_gradient(build(kind, **changes), logits, batch) for kind in (BandedFCNHead, FCNHead)
    )
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        assert ours[key].shape == value.shape
        # mmseg's accuracy is a single-precision number
        torch.testing.assert_close(
            ours[key].double(), value.double(), rtol=1e-6 if key == "acc_seg" else 1e-12, atol=1e-12
        )


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_a_batch_without_any_label_has_a_loss_of_zero(weights):
    batch = samples()
    for sample in batch:
        sample.gt_sem_seg.data[:] = 255
    head = build(BandedFCNHead, loss_decode=CE | {"class_weight": weights, "avg_non_ignore": True})
    found = losses_and_gradient(head, torch.randn(2, CLASSES, 9, 11), batch)
    assert found["loss_ce"] == 0
    assert found["slope"].abs().max() == 0


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_twenty_steps_train_like_mmsegs():
    """Loss and gradient norm of each step, in double precision from the same weights."""
    curves, state = [], build(FCNHead).state_dict()
    for kind in (BandedFCNHead, FCNHead):
        head = build(kind).double().train()
        head.load_state_dict(state)
        optimizer, curve = torch.optim.AdamW(head.parameters(), lr=1e-2), []
        for step in range(20):
            generator = torch.Generator().manual_seed(step)
            features = [torch.randn(2, 4, 9, 11, generator=generator, dtype=torch.float64)]
            losses = head.loss(features, samples(seed=step), None)
            optimizer.zero_grad()
            losses["loss_ce"].backward()
            norm = torch.nn.utils.get_total_norm([p.grad for p in head.parameters()])
            curve.append([losses["loss_ce"].item(), norm.item(), losses["acc_seg"].item()])
            optimizer.step()
        curves.append(torch.tensor(curve, dtype=torch.float64))
    torch.testing.assert_close(*curves, rtol=1e-6, atol=1e-8)
    assert curves[0][-1, 0] < curves[0][0, 0]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_loss_needs_no_logits_of_the_label_maps_size():
    logits, batch = torch.randn(2, 64, 32, 32), samples((256, 256), classes=64)
    full = 4 * 2 * 64 * 256 * 256
    head = build(BandedFCNHead, num_classes=64)
    assert peak_bytes(lambda: losses_and_gradient(head, logits, batch)) < 0.6 * full
    head = build(FCNHead, num_classes=64)
    assert peak_bytes(lambda: losses_and_gradient(head, logits, batch)) > 2 * full


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_labels_and_weights_that_fit_no_class_are_named():
    batch = samples(classes=CLASSES + 2)
    with pytest.raises(UserError, match=r"has the value [67], the head has 6 classes"):
        build(BandedFCNHead).loss_by_feat(torch.randn(2, CLASSES, 9, 11), batch)
    head = build(BandedFCNHead, loss_decode=CE | {"class_weight": [1.0, 2.0]})
    with pytest.raises(UserError, match="2 class weights and 6 classes"):
        head.loss_by_feat(torch.randn(2, CLASSES, 9, 11), samples())
