"""UperNet (arXiv 1807.10221) on ConvNeXt (arXiv 2201.03545).

A leaf states the backbone's `arch`, `drop_path_rate` and weights, and both heads' `in_channels`.
"""

norm_cfg = dict(type="SyncBN", requires_grad=True)
conv_cfg = dict(type="WinogradConv2d")  # an `nn.Conv2d` with less work, with the same weights and results
model = dict(
    type="BandedEncoderDecoder",
    data_preprocessor=dict(
        type="SegDataPreProcessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        size=(512, 512),
    ),
    backbone=dict(type="ConvNeXt", out_indices=(0, 1, 2, 3), layer_scale_init_value=1.0),
    decode_head=dict(
        type="FusedUPerHead",
        in_index=[0, 1, 2, 3],
        pool_scales=(1, 2, 3, 6),
        channels=512,
        dropout_ratio=0.1,
        num_classes=150,
        conv_cfg=conv_cfg,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
    ),
    auxiliary_head=dict(
        type="BandedFCNHead",
        in_index=2,
        channels=256,
        num_convs=1,
        concat_input=False,
        dropout_ratio=0.1,
        num_classes=150,
        conv_cfg=conv_cfg,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=0.4),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode="slide", crop_size=(512, 512), stride=(341, 341)),
)
