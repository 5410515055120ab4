import convnext_dense.register  # noqa: F401  (before mmdet, which looks for mmcv.ops once, on import)
