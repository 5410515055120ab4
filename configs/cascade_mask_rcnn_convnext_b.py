"""Cascade Mask R-CNN on ConvNeXt-B, COCO, 3x schedule, ImageNet-1k weights (arXiv 2201.03545).

Train:          tools/dist_train.sh configs/cascade_mask_rcnn_convnext_b.py 8
Evaluate:       tools/dist_test.sh configs/cascade_mask_rcnn_convnext_b.py CHECKPOINT 8
Hardware:       8 GPUs x 2 images, fp16
Published:      52.7 box AP, 45.6 mask AP; 146 M parameters, 964 GMAC at 1280x800
Measured here:  no
"""

_base_ = [
    "_base_/models/cascade_mask_rcnn_convnext.py",
    "_base_/datasets/coco_instance.py",
    "_base_/schedules/adamw_3x.py",
    "_base_/runtime_det.py",
]

weights = "https://dl.fbaipublicfiles.com/convnext/convnext_base_1k_224.pth"
model = dict(
    backbone=dict(arch="base", drop_path_rate=0.7, init_cfg=dict(type="Pretrained", checkpoint=weights)),
    neck=dict(in_channels=[128, 256, 512, 1024]),
)
optim_wrapper = dict(paramwise_cfg=dict(decay_rate=0.8))
