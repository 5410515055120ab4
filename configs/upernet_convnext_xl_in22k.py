"""UperNet on ConvNeXt-XL, ADE20K, 640x640 crops, ImageNet-22k weights (arXiv 2201.03545).

Train:          tools/dist_train.sh configs/upernet_convnext_xl_in22k.py 8
Evaluate:       tools/dist_test.sh configs/upernet_convnext_xl_in22k.py CHECKPOINT 8 [--tta]
Hardware:       8 GPUs x 2 images, fp32 (26.2 GB each in mmsegmentation's run in fp16; more in fp32)
Published:      53.6 mIoU single-scale, 54.0 multi-scale with flip; 391 M parameters, 3335 GMAC
Measured here:  no
"""

_base_ = [
    "_base_/models/upernet_convnext.py",
    "_base_/datasets/ade20k_640.py",
    "_base_/schedules/adamw_160k.py",
    "_base_/runtime_seg.py",
]

weights = "https://dl.fbaipublicfiles.com/convnext/convnext_xlarge_22k_224.pth"
model = dict(
    data_preprocessor=dict(size=(640, 640)),
    backbone=dict(arch="xlarge", drop_path_rate=0.4, init_cfg=dict(type="Pretrained", checkpoint=weights)),
    decode_head=dict(in_channels=[256, 512, 1024, 2048]),
    auxiliary_head=dict(in_channels=1024),
    test_cfg=dict(crop_size=(640, 640), stride=(426, 426)),
)
# Trained in fp32. bf16: --cfg-options optim_wrapper.type=AmpOptimWrapper optim_wrapper.dtype=bfloat16
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(lr=8e-5))
