"""Mask R-CNN on ConvNeXt-T, COCO, 3x schedule, ImageNet-1k weights (arXiv 2201.03545).

Train:          tools/dist_train.sh configs/mask_rcnn_convnext_t.py 8
Evaluate:       tools/dist_test.sh configs/mask_rcnn_convnext_t.py CHECKPOINT 8
Hardware:       8 GPUs x 2 images, fp16 (7.3 GB each in mmdetection's run)
Published:      46.2 box AP, 41.7 mask AP; 48 M parameters, 262 GMAC at 1280x800
Measured here:  no
"""

_base_ = [
    "_base_/models/mask_rcnn_convnext.py",
    "_base_/datasets/coco_instance.py",
    "_base_/schedules/adamw_3x.py",
    "_base_/runtime_det.py",
]

weights = "https://dl.fbaipublicfiles.com/convnext/convnext_tiny_1k_224.pth"
model = dict(
    backbone=dict(arch="tiny", drop_path_rate=0.4, init_cfg=dict(type="Pretrained", checkpoint=weights)),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
optim_wrapper = dict(optimizer=dict(lr=1e-4), paramwise_cfg=dict(decay_rate=0.95, num_layers=6))
