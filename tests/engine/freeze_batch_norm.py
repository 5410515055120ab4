"""A hook for `test_distributed.py`: batch statistics depend on how a batch is shared among ranks."""

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from torch.nn.modules.batchnorm import _BatchNorm


@HOOKS.register_module()
class FreezeBatchNormHook(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        for module in runner.model.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
