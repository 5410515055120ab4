"""UperNet on ConvNeXt V2-B, ADE20K, 512x512 crops, fine-tuned ImageNet-1k weights (arXiv 2301.00808).

Train:          tools/dist_train.sh configs/upernet_convnextv2_b.py 8
Evaluate:       tools/dist_test.sh configs/upernet_convnextv2_b.py CHECKPOINT 8 [--tta]
Hardware:       8 GPUs x 2 images, fp32
Published:      52.1 mIoU multi-scale with flip
Measured here:  no; 122 M parameters

The paper gives a grid (lr 1e-4, 2e-4, 3e-4; decay 0.8, 0.9; drop path 0.1-0.4), not the point of it
that each model took, and no precision. Chosen here: lr 1e-4, decay 0.9 by layer, drop path 0.4, fp32.
"""

_base_ = [
    "_base_/models/upernet_convnext.py",
    "_base_/datasets/ade20k_512.py",
    "_base_/schedules/adamw_160k.py",
    "_base_/runtime_seg.py",
]

# Weights under CC BY-NC 4.0.
weights = "https://dl.fbaipublicfiles.com/convnext/convnextv2/im1k/convnextv2_base_1k_224_ema.pt"
model = dict(
    backbone=dict(
        arch="v2_base",
        drop_path_rate=0.4,
        layer_scale_init_value=0.0,
        init_cfg=dict(type="Pretrained", checkpoint=weights),
    ),
    decode_head=dict(in_channels=[128, 256, 512, 1024]),
    auxiliary_head=dict(in_channels=512),
)
# bf16: --cfg-options optim_wrapper.type=AmpOptimWrapper optim_wrapper.dtype=bfloat16
optim_wrapper = dict(type="OptimWrapper", paramwise_cfg=dict(decay_type="layer_wise"))
# The paper's ratios instead of V1's.
scales = [tuple(int(side * ratio) for side in _base_.image_scale) for ratio in (0.75, 0.875, 1, 1.125, 1.25)]
tta_pipeline = _base_.tta_pipeline
tta_pipeline[1].transforms[0] = [dict(type="Resize", scale=scale, keep_ratio=True) for scale in scales]
