"""36 epochs (3x) of AdamW at batch 16, the COCO recipe of ConvNeXt (arXiv 2201.03545).

An epoch is 7,330 iterations: 117,266 of the 118,287 training images have objects.
"""

optim_wrapper = dict(
    # fp16, as published; `dtype="bfloat16"` beside it has the range of fp32:
    # --cfg-options optim_wrapper.dtype=bfloat16
    type="AmpOptimWrapper",
    constructor="ConvNeXtLayerDecay",
    optimizer=dict(type="AdamW", lr=2e-4, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(decay_rate=0.7, decay_type="layer_wise", num_layers=12),
)
# The warm-up is mmdetection's, 1000 iterations; the original inherits 500 from its framework's defaults.
# (mmengine reaches a warm-up's end one iteration early.)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, begin=0, end=1000, by_epoch=False),
    dict(type="MultiStepLR", milestones=[27, 33], gamma=0.1, begin=0, end=36, by_epoch=True),
]
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=36, val_interval=1)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
# 8 GPUs x 2 images
auto_scale_lr = dict(enable=False, base_batch_size=16)
