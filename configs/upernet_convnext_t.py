"""UperNet on ConvNeXt-T, ADE20K, 512x512 crops, ImageNet-1k weights (arXiv 2201.03545).

Train:          tools/dist_train.sh configs/upernet_convnext_t.py 8
Evaluate:       tools/dist_test.sh configs/upernet_convnext_t.py CHECKPOINT 8 [--tta]
Hardware:       8 GPUs x 2 images, fp16 (4.2 GB each in mmsegmentation's run)
Published:      46.0 mIoU single-scale, 46.7 multi-scale with flip; 60 M parameters, 939 GMAC
Measured here:  no
"""

_base_ = [
    "_base_/models/upernet_convnext.py",
    "_base_/datasets/ade20k_512.py",
    "_base_/schedules/adamw_160k.py",
    "_base_/runtime_seg.py",
]

weights = "https://dl.fbaipublicfiles.com/convnext/convnext_tiny_1k_224.pth"
model = dict(
    backbone=dict(arch="tiny", drop_path_rate=0.4, init_cfg=dict(type="Pretrained", checkpoint=weights)),
    decode_head=dict(in_channels=[96, 192, 384, 768]),
    auxiliary_head=dict(in_channels=384),
)
optim_wrapper = dict(paramwise_cfg=dict(num_layers=6))
