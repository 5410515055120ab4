"""Optimizers; importing the package registers its constructor at mmengine's root registry."""

from .layer_decay import ConvNeXtLayerDecay, default_num_layers, layer_id, lr_multiplier

__all__ = ["ConvNeXtLayerDecay", "default_num_layers", "layer_id", "lr_multiplier"]
