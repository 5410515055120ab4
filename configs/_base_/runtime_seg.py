"""Runtime of every segmentation config: scope, environment, logging, hooks."""

default_scope = "mmseg"
# All that a stock OpenMMLab tool needs to know of this project.
custom_imports = dict(imports=["convnext_dense.register", "convnext_dense.segmentation"])

env_cfg = dict(
    # Training crops and sliding windows have one size, so the search pays for itself.
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0),
    dist_cfg=dict(backend="nccl"),
)
randomness = dict(seed=0)

log_level = "INFO"
log_processor = dict(by_epoch=False)
visualizer = dict(type="SegLocalVisualizer", vis_backends=[dict(type="LocalVisBackend")])
default_hooks = dict(
    timer=dict(type="IterTimerHook"),
    logger=dict(type="LoggerHook", interval=50, log_metric_by_epoch=False),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(
        type="CheckpointHook", by_epoch=False, interval=16000, max_keep_ckpts=3, save_best="mIoU"
    ),
    sampler_seed=dict(type="DistSamplerSeedHook"),
    # Idle unless `draw` is set, which the stock test tool's `--show-dir` does.
    visualization=dict(type="SegVisualizationHook"),
)

load_from = None
resume = False
tta_model = dict(type="LogitsTTAModel")
