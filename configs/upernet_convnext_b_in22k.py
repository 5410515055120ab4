"""UperNet on ConvNeXt-B, ADE20K, 640x640 crops, ImageNet-22k weights (arXiv 2201.03545).

Train:          tools/dist_train.sh configs/upernet_convnext_b_in22k.py 8
Evaluate:       tools/dist_test.sh configs/upernet_convnext_b_in22k.py CHECKPOINT 8 [--tta]
Hardware:       8 GPUs x 2 images, fp16 (8.5 GB each in mmsegmentation's run)
Published:      52.6 mIoU single-scale, 53.1 multi-scale with flip; 122 M parameters, 1828 GMAC
Measured here:  no
"""

_base_ = [
    "_base_/models/upernet_convnext.py",
    "_base_/datasets/ade20k_640.py",
    "_base_/schedules/adamw_160k.py",
    "_base_/runtime_seg.py",
]

weights = "https://dl.fbaipublicfiles.com/convnext/convnext_base_22k_224.pth"
model = dict(
    data_preprocessor=dict(size=(640, 640)),
    backbone=dict(arch="base", drop_path_rate=0.4, init_cfg=dict(type="Pretrained", checkpoint=weights)),
    decode_head=dict(in_channels=[128, 256, 512, 1024]),
    auxiliary_head=dict(in_channels=512),
    test_cfg=dict(crop_size=(640, 640), stride=(426, 426)),
)
