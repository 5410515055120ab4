"""A data set of your own, images and masks, by the example of CamVid (480x360, 11 classes).

Train:          tools/train.py configs/custom/upernet_convnextv2_atto_camvid.py
Evaluate:       tools/test.py configs/custom/upernet_convnextv2_atto_camvid.py CHECKPOINT
Hardware:       two CPU cores, about ten minutes; from scratch
Published:      nothing comparable
Measured here:  mIoU 33.6 (60 training images), 11 minutes on one CPU core; 4.1 M parameters

Copy this file, then go through the numbered steps.
"""

_base_ = ["../_base_/models/upernet_convnext.py", "../_base_/runtime_seg.py"]

# 1. Where the data lies. A mask has its image's name and size; one 8-bit channel, one class per value:
#        data/camvid/images/{train,val}/NAME.jpg
#        data/camvid/annotations/{train,val}/NAME.png
data_root = "data/camvid"
img_suffix, seg_map_suffix = ".jpg", ".png"

# 2. Names of the classes: value 0 in a mask is the first, 1 the second, ... Colours are for pictures only.
metainfo = dict(
    classes=(
        "Sky",
        "Building",
        "Pole",
        "Road",
        "Pavement",
        "Tree",
        "SignSymbol",
        "Fence",
        "Car",
        "Pedestrian",
        "Bicyclist",
    ),
    palette=[
        (128, 128, 128),
        (128, 0, 0),
        (192, 192, 128),
        (128, 64, 128),
        (60, 40, 222),
        (128, 128, 0),
        (192, 128, 128),
        (64, 64, 128),
        (64, 0, 128),
        (64, 64, 0),
        (0, 128, 192),
    ],
)
num_classes = 11

# 3. The value of unlabelled pixels, here 11. They count neither in training nor in evaluation: losses,
#    padding, cropping and the metric are all told, below. 255 is usual. If 0 is "unlabelled" and the
#    classes start at 1, use `reduce_zero_label=True` in both data sets and `ignore_index = 255`.
ignore_index = 11

# 4. Size of the training crops, and of the images before cropping (long side, short side).
crop_size = (256, 256)
image_scale = (480, 360)

train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(type="RandomResize", scale=image_scale, ratio_range=(0.75, 1.5), keep_ratio=True),
    dict(type="RandomCrop", crop_size=crop_size, cat_max_ratio=0.75, ignore_index=ignore_index),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PhotoMetricDistortion"),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=image_scale, keep_ratio=True),
    dict(type="LoadAnnotations"),
    dict(type="PackSegInputs"),
]
train_dataloader = dict(
    batch_size=4,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(
        type="BaseSegDataset",
        metainfo=metainfo,
        data_root=data_root,
        data_prefix=dict(img_path="images/train", seg_map_path="annotations/train"),
        img_suffix=img_suffix,
        seg_map_suffix=seg_map_suffix,
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="BaseSegDataset",
        metainfo=metainfo,
        data_root=data_root,
        data_prefix=dict(img_path="images/val", seg_map_path="annotations/val"),
        img_suffix=img_suffix,
        seg_map_suffix=seg_map_suffix,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="ConfusionIoUMetric", iou_metrics=["mIoU"], ignore_index=ignore_index)
test_evaluator = val_evaluator

# 5. The model: any `arch` of ConvNeXt, with its four widths as `in_channels`. To start from published
#    weights, which a small data set gains much from, add to the backbone:
#        init_cfg=dict(type="Pretrained", checkpoint=FILE_OR_URL)
#    and lower the learning rate to 1e-4.
model = dict(
    data_preprocessor=dict(size=crop_size, seg_pad_val=ignore_index),
    backbone=dict(arch="v2_atto", layer_scale_init_value=0.0),
    decode_head=dict(
        in_channels=[40, 80, 160, 320],
        channels=64,
        num_classes=num_classes,
        ignore_index=ignore_index,
        norm_cfg=dict(type="BN"),
    ),
    auxiliary_head=dict(
        in_channels=160,
        channels=32,
        num_classes=num_classes,
        ignore_index=ignore_index,
        norm_cfg=dict(type="BN"),
    ),
    test_cfg=dict(mode="whole"),
)

# 6. The schedule.
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=2e-3, betas=(0.9, 0.999), weight_decay=0.05),
    clip_grad=dict(max_norm=5.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, begin=0, end=50, by_epoch=False),
    dict(type="PolyLR", power=1.0, eta_min=0.0, begin=0, end=1000, by_epoch=False),
]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=1000, val_interval=500)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
default_hooks = dict(logger=dict(interval=25), checkpoint=dict(interval=500))
