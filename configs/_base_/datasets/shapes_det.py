"""The embedded data set as COCO instances: 400 training and 80 validation scenes of 160x160, 9 classes.

Made by `tools/prepare_data.py shapes`.
"""

data_root = "data/shapes"
# `CLASSES` and `PALETTE` of convnext_dense/data/shapes.py.
metainfo = dict(
    classes=(
        "disc",
        "ring",
        "square",
        "hexagon",
        "triangle",
        "star",
        "cross",
        "crescent",
        "heart",
    ),
    palette=[
        (245, 130, 32),
        (0, 170, 160),
        (30, 80, 220),
        (120, 190, 255),
        (60, 170, 60),
        (255, 220, 40),
        (170, 130, 0),
        (165, 70, 210),
        (230, 30, 70),
    ],
)

# Small in training, so that the network sees the 400 scenes often. Colours stay as they are: hue and
# saturation tell most classes apart.
image_scale = (112, 112)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
    dict(type="RandomResize", scale=image_scale, ratio_range=(0.8, 1.14), keep_ratio=True),
    dict(type="RandomFlip", prob=0.5),
    dict(type="RandomFlip", prob=0.5, direction="vertical"),
    dict(type="PackDetInputs"),
]
# A network trained on random sizes finds more in an image somewhat larger (Touvron et al., 2019).
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(128, 128), keep_ratio=True),
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
    dict(type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")),
]

train_dataloader = dict(
    batch_size=4,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(
        type="CocoInstances",
        metainfo=metainfo,
        data_root=data_root,
        ann_file="annotations/instances_train.json",
        data_prefix=dict(img="images/train"),
        filter_cfg=dict(filter_empty_gt=True, min_size=32),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="CocoInstances",
        metainfo=metainfo,
        data_root=data_root,
        ann_file="annotations/instances_val.json",
        data_prefix=dict(img="images/val"),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(type="CocoDetectionMetric", metric=["bbox", "segm"])
test_evaluator = val_evaluator
