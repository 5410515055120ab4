"""160,000 iterations of AdamW at batch 16, the ADE20K recipe of ConvNeXt (arXiv 2201.03545)."""

optim_wrapper = dict(
    # fp16, as published; `dtype="bfloat16"` beside it has the range of fp32.
    type="AmpOptimWrapper",
    constructor="ConvNeXtLayerDecay",
    optimizer=dict(type="AdamW", lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(decay_rate=0.9, decay_type="stage_wise", num_layers=12),
)
# The original schedule is one polynomial over all 160,000 iterations with the warm-up laid over it: both
# schedulers start at 0, and multiply. A PolyLR that begins after the warm-up, at 1500, is another curve.
# (mmengine reaches a scheduler's end one iteration early, so the rates differ by up to 1/1500 of lr.)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-6, begin=0, end=1500, by_epoch=False),
    dict(type="PolyLR", power=1.0, eta_min=0.0, begin=0, end=160000, by_epoch=False),
]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=160000, val_interval=16000)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
# 8 GPUs x 2 images
auto_scale_lr = dict(enable=False, base_batch_size=16)
