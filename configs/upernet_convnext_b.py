"""UperNet on ConvNeXt-B, ADE20K, 512x512 crops, ImageNet-1k weights (arXiv 2201.03545).

Train:          tools/dist_train.sh configs/upernet_convnext_b.py 8
Evaluate:       tools/dist_test.sh configs/upernet_convnext_b.py CHECKPOINT 8 [--tta]
Hardware:       8 GPUs x 2 images, fp16 (6.3 GB each in mmsegmentation's run)
Published:      49.1 mIoU single-scale, 49.9 multi-scale with flip; 122 M parameters, 1170 GMAC
Measured here:  no
"""

_base_ = [
    "_base_/models/upernet_convnext.py",
    "_base_/datasets/ade20k_512.py",
    "_base_/schedules/adamw_160k.py",
    "_base_/runtime_seg.py",
]

weights = "https://dl.fbaipublicfiles.com/convnext/convnext_base_1k_224.pth"
model = dict(
    backbone=dict(arch="base", drop_path_rate=0.4, init_cfg=dict(type="Pretrained", checkpoint=weights)),
    decode_head=dict(in_channels=[128, 256, 512, 1024]),
    auxiliary_head=dict(in_channels=512),
)
