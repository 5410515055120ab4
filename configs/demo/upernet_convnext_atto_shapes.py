"""A small UperNet on ConvNeXt V2-atto, trained from scratch on the embedded data set.

Train:          tools/train.py configs/demo/upernet_convnext_atto_shapes.py   (or: make demo)
Evaluate:       tools/test.py configs/demo/upernet_convnext_atto_shapes.py CHECKPOINT
Hardware:       two CPU cores, about three minutes
Published:      nothing: the data set is this project's own
Measured here:  not yet
"""

_base_ = [
    "../_base_/models/upernet_convnext.py",
    "../_base_/datasets/shapes_seg.py",
    "../_base_/runtime_seg.py",
]

# ConvNeXt V1 has no atto size; V2's trains well from scratch, as GRN keeps its channels in use.
model = dict(
    data_preprocessor=dict(size=(160, 160)),
    backbone=dict(arch="v2_atto", layer_scale_init_value=0.0),
    decode_head=dict(in_channels=[40, 80, 160, 320], channels=64, num_classes=10, norm_cfg=dict(type="BN")),
    auxiliary_head=dict(in_channels=160, channels=32, num_classes=10, norm_cfg=dict(type="BN")),
    test_cfg=dict(mode="whole"),
)

optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=2e-3, betas=(0.9, 0.999), weight_decay=0.05),
    clip_grad=dict(max_norm=5.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, begin=0, end=50, by_epoch=False),
    dict(type="PolyLR", power=1.0, eta_min=0.0, begin=0, end=700, by_epoch=False),
]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=700, val_interval=700)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
default_hooks = dict(logger=dict(interval=25), checkpoint=dict(interval=700))
