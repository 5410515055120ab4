"""UperNet on ConvNeXt-L, ADE20K, 640x640 crops, ImageNet-22k weights (arXiv 2201.03545).

Train:          tools/dist_train.sh configs/upernet_convnext_l_in22k.py 8
Evaluate:       tools/dist_test.sh configs/upernet_convnext_l_in22k.py CHECKPOINT 8 [--tta]
Hardware:       8 GPUs x 2 images, fp32 (12.1 GB each in mmsegmentation's run in fp16; more in fp32)
Published:      53.2 mIoU single-scale, 53.7 multi-scale with flip; 235 M parameters, 2458 GMAC
Measured here:  no
"""

_base_ = [
    "_base_/models/upernet_convnext.py",
    "_base_/datasets/ade20k_640.py",
    "_base_/schedules/adamw_160k.py",
    "_base_/runtime_seg.py",
]

weights = "https://dl.fbaipublicfiles.com/convnext/convnext_large_22k_224.pth"
model = dict(
    data_preprocessor=dict(size=(640, 640)),
    backbone=dict(arch="large", drop_path_rate=0.4, init_cfg=dict(type="Pretrained", checkpoint=weights)),
    decode_head=dict(in_channels=[192, 384, 768, 1536]),
    auxiliary_head=dict(in_channels=768),
    test_cfg=dict(crop_size=(640, 640), stride=(426, 426)),
)
# Trained in fp32. bf16: --cfg-options optim_wrapper.type=AmpOptimWrapper optim_wrapper.dtype=bfloat16
optim_wrapper = dict(type="OptimWrapper")
