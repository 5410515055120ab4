"""Runtime of every detection config: scope, environment, logging, hooks."""

default_scope = "mmdet"
# All that a stock OpenMMLab tool needs to know of this project.
custom_imports = dict(imports=["convnext_dense.register", "convnext_dense.detection"])

env_cfg = dict(
    # Images have many sizes, so the search would begin anew for each.
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0),
    dist_cfg=dict(backend="nccl"),
)
randomness = dict(seed=0)

log_level = "INFO"
log_processor = dict(by_epoch=True)
visualizer = dict(type="InstanceVisualizer", vis_backends=[dict(type="LocalVisBackend")])
default_hooks = dict(
    timer=dict(type="IterTimerHook"),
    logger=dict(type="LoggerHook", interval=50),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(type="CheckpointHook", interval=1, max_keep_ckpts=3, save_best="coco/bbox_mAP"),
    sampler_seed=dict(type="DistSamplerSeedHook"),
    # Idle unless `draw` is set, which the stock test tool's `--show-dir` does.
    visualization=dict(type="DetVisualizationHook"),
)

load_from = None
resume = False
