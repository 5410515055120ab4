"""ADE20K scene parsing (ADEChallengeData2016): 150 classes, 512x512 crops.

Label 0 ("other") is ignored, 1-150 become 0-149: `ADE20KDataset` has `reduce_zero_label=True`.
`ade20k_640.py` is the same with another crop and image scale; a test holds the two together.
"""

data_root = "data/ade/ADEChallengeData2016"
crop_size = (512, 512)
image_scale = (2048, 512)

train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(type="RandomResize", scale=image_scale, ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type="RandomCrop", crop_size=crop_size, cat_max_ratio=0.75),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PhotoMetricDistortion"),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=image_scale, keep_ratio=True),
    # After the resize: predictions are scored at the label map's own size.
    dict(type="LoadAnnotations"),
    dict(type="PackSegInputs"),
]
# Multi-scale and flip. The published numbers multiply the *image scale* by the ratio, as here, and
# look at whole images: add `--cfg-options model.test_cfg.mode=whole` for exactly that protocol.
# mmsegmentation 1.x's own configs instead resize the *original image* by the ratio, and slide.
tta_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(
        type="TestTimeAug",
        transforms=[
            [
                dict(type="Resize", scale=tuple(int(side * ratio) for side in image_scale), keep_ratio=True)
                for ratio in (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
            ],
            [dict(type="RandomFlip", prob=0.0), dict(type="RandomFlip", prob=1.0)],
            [dict(type="LoadAnnotations")],
            [dict(type="PackSegInputs")],
        ],
    ),
]

train_dataloader = dict(
    batch_size=2,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(
        type="ADE20KDataset",
        data_root=data_root,
        data_prefix=dict(img_path="images/training", seg_map_path="annotations/training"),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="ADE20KDataset",
        data_root=data_root,
        data_prefix=dict(img_path="images/validation", seg_map_path="annotations/validation"),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(type="ConfusionIoUMetric", iou_metrics=["mIoU"])
test_evaluator = val_evaluator
