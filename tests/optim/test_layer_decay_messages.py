"""What learning-rate decay shows its user: the table of groups, and the errors."""

import logging

import pytest
from mmengine.logging import MMLogger
from torch import nn

from convnext_dense.errors import UserError
from convnext_dense.optim import ConvNeXtLayerDecay

from .upernet_like import DECAY, LR, TOY, UperNetLike, build, on_meta


def logged_table(model, caplog, **paramwise):
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    try:
        with caplog.at_level(logging.INFO):
            build(model, **paramwise)
    finally:
        logger.removeHandler(caplog.handler)
    (record,) = (r for r in caplog.records if "decay" in r.getMessage())
    return record.getMessage().splitlines()


def test_the_groups_are_logged_once_in_a_readable_table(caplog):
    model = on_meta("tiny", frozen_stages=1)
    lines = logged_table(
        model, caplog, decay_rate=0.7, decay_type="layer_wise", custom_keys={"dwconv": dict(decay_mult=0.5)}
    )
    assert lines[0] == "layer_wise learning-rate decay 0.7 (lr 0.0002, weight decay 0.05):"
    assert max(map(len, lines)) <= 100
    assert lines[2].split() == [
        "3.36e-05",
        "0.168",
        "0.05",
        "7",
        "958,464",
        *["downsample_layers.1,", "stages.1.0-2"],
    ]
    rows = [line.split() for line in lines[2:]]
    assert rows[-1][0] == "frozen"
    assert sum(int(row[3]) for row in rows[:-1]) == sum(p.requires_grad for p in model.parameters())
    counted = sum(int(row[4].replace(",", "")) for row in rows[:-1]) + int(rows[-1][2].replace(",", ""))
    assert counted == sum(p.numel() for p in model.parameters())
    assert lines[-2].endswith("norm1-3, decode_head, auxiliary_head")


@pytest.mark.parametrize(
    ("paramwise", "message"),
    [
        (dict(), "no decay_rate"),
        (dict(decay_rate=0.0), "decay_rate is 0.0"),
        (dict(decay_rate=1.5), r"in \(0, 1\]"),
        (dict(decay_rate="0.9"), "decay_rate is '0.9'"),
        (dict(decay_rat=0.9), "unknown option 'decay_rat'.*did you mean 'decay_rate'"),
        (dict(decay_rate=0.9, norm_decay_mult=0.0), "unknown option 'norm_decay_mult'"),
        (dict(decay_rate=0.9, decay_type="stagewise"), "did you mean 'stage_wise'"),
        (dict(decay_rate=0.9, num_layers=12), "num_layers is 12.*has 5 layers.*num_layers=5"),
        (dict(decay_rate=0.9, decay_type="stage_wise", num_layers=2), "integer from 3"),
        (dict(decay_rate=0.9, custom_keys={"decod_head": {}}), "did you mean 'decode_head'"),
        (dict(decay_rate=0.9, custom_keys={"decode_head": dict(lr=3.0)}), "lr_mult, decay_mult"),
        (dict(decay_rate=0.9, custom_keys={"decode_head": 0.1}), "stands for 0.1"),
        (dict(decay_rate=0.9, optimizer=dict(type="AdamW", lr=1e-4)), "no weight_decay"),
        (dict(decay_rate=0.9, optimizer=dict(type="AdamW", weight_decay=0.1)), "no lr"),
    ],
)
def test_wrong_options_are_refused(paramwise, message):
    with pytest.raises(UserError, match=f"(?s){message}"):
        build(UperNetLike(TOY), **paramwise)


def test_no_options_at_all_are_refused():
    with pytest.raises(UserError, match="no decay_rate"):
        ConvNeXtLayerDecay(dict(optimizer=dict(type="AdamW", lr=LR, weight_decay=DECAY)))


def test_another_backbone_is_refused():
    model = UperNetLike(TOY)
    model.backbone = nn.Conv2d(3, 8, 1)
    with pytest.raises(UserError, match="its backbone is Conv2d"):
        build(model, decay_rate=0.9)


def test_a_wholly_frozen_model_is_refused():
    model = UperNetLike(TOY).requires_grad_(False)
    with pytest.raises(UserError, match="frozen"):
        build(model, decay_rate=0.9)
