"""The embedded data set as label maps: 400 training and 80 validation scenes of 160x160.

Made by `tools/prepare_data.py shapes`. Label 0, a one-pixel border round objects, is ignored; 1-10
become 0-9.
"""

data_root = "data/shapes"
# `SEMANTIC_CLASSES` and `SEMANTIC_PALETTE` of convnext_dense/data/shapes.py.
metainfo = dict(
    classes=(
        "background",
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
        (90, 90, 90),
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

train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(type="RandomCrop", crop_size=(128, 128)),
    dict(type="RandomFlip", prob=0.5),
    dict(type="RandomFlip", prob=0.5, direction="vertical"),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(type="PackSegInputs"),
]

train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(
        type="BaseSegDataset",
        metainfo=metainfo,
        reduce_zero_label=True,
        data_root=data_root,
        data_prefix=dict(img_path="images/train", seg_map_path="labels/train"),
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
        reduce_zero_label=True,
        data_root=data_root,
        data_prefix=dict(img_path="images/val", seg_map_path="labels/val"),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(type="ConfusionIoUMetric", iou_metrics=["mIoU"])
test_evaluator = val_evaluator
