"""Cascade Mask R-CNN on ConvNeXt-XL, COCO, 3x schedule, ImageNet-22k weights (arXiv 2201.03545).

Train:          tools/dist_train.sh configs/cascade_mask_rcnn_convnext_xl_in22k.py 8
Evaluate:       tools/dist_test.sh configs/cascade_mask_rcnn_convnext_xl_in22k.py CHECKPOINT 8
Hardware:       8 GPUs x 2 images, fp32
Published:      55.2 box AP, 47.7 mask AP; 407 M parameters, 1898 GMAC at 1280x800
Measured here:  no
"""

_base_ = [
    "_base_/models/cascade_mask_rcnn_convnext.py",
    "_base_/datasets/coco_instance.py",
    "_base_/schedules/adamw_3x.py",
    "_base_/runtime_det.py",
]

weights = "https://dl.fbaipublicfiles.com/convnext/convnext_xlarge_22k_224.pth"
model = dict(
    backbone=dict(arch="xlarge", drop_path_rate=0.8, init_cfg=dict(type="Pretrained", checkpoint=weights)),
    neck=dict(in_channels=[256, 512, 1024, 2048]),
)
# Trained in fp32. bf16: --cfg-options optim_wrapper.type=AmpOptimWrapper optim_wrapper.dtype=bfloat16
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(lr=1e-4))
