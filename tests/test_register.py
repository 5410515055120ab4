"""What importing `convnext_dense.register` promises to OpenMMLab."""

from importlib.util import find_spec

import torch

from .subprocesses import output_of, run_python

BROKEN_TORCHVISION = "raise RuntimeError('operator torchvision::nms does not exist')\n"


def test_models_of_both_libraries_import_after_it():
    script = """
        import convnext_dense.register
        import convnext_dense.register
        import mmdet.models, mmseg.models
        from mmengine.registry import MODELS
        print(MODELS.get("ConvNeXt").__module__)
    """
    done = run_python(script, warnings="error::UserWarning")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("convnext_dense.")
    assert "Line NMS is not compiled" not in done.stdout + done.stderr


def test_it_helps_after_mmcv_ops_failed_to_import():
    script = """
        import mmcv
        try:
            import mmcv.ops
        except ImportError as error:
            print(error)
        import convnext_dense.register
        import mmcv.ops, mmdet.models
        import torch
        print(mmcv.ops.nms(torch.tensor([[0., 0, 9, 9], [0, 0, 9, 8]]), torch.ones(2), 0.5)[1].tolist())
    """
    assert output_of(script).splitlines()[-1] == "[0]"


def test_a_broken_torchvision_breaks_nothing(tmp_path):
    """A CUDA build of torchvision beside a CPU-only torch fails with a RuntimeError, not an ImportError."""
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(BROKEN_TORCHVISION)
    script = """
        import convnext_dense.register
        import mmdet.models, mmseg.models, torch
        from convnext_dense import ops
        from convnext_dense.ops import torchvision_ops
        print(torchvision_ops.loads("cpu"), ops.backend()["roi_align"])
        from mmcv.ops import RoIAlign
        print(RoIAlign(2)(torch.ones(1, 1, 4, 4), torch.tensor([[0., 0, 0, 4, 4]])).sum().item())
        from mmengine.utils.dl_utils import collect_env  # every Runner calls it
        print("TorchVision" in collect_env())
        try:
            import torchvision
        except ModuleNotFoundError as error:
            print(error)
    """
    lines = output_of(script, path=tmp_path).splitlines()[-4:]
    assert lines[0].split()[0] == "False"
    assert lines[1:3] == ["4.0", "False"]
    assert lines[3].startswith("torchvision is installed, but does not load")
    assert lines[3].endswith("operator torchvision::nms does not exist")


def test_a_working_torchvision_is_left_as_it_is(tmp_path):
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text("__version__ = '9.9'\n")
    script = """
        import inspect
        from convnext_dense import ops
        ops.install()
        import torchvision
        print(torchvision.__version__, inspect.getsource(torchvision).strip(), torchvision.__spec__.name)
    """
    assert output_of(script, path=tmp_path).strip() == "9.9 __version__ = '9.9' torchvision"


def test_no_registered_name_collides_with_a_child_registry():
    """A child registry wins over the root: a name that both have would silently give the library's class."""
    import mmdet.utils
    import mmengine.registry
    import mmseg.utils

    mmdet.utils.register_all_modules(init_default_scope=False)
    mmseg.utils.register_all_modules(init_default_scope=False)
    registries = [r for r in vars(mmengine.registry).values() if isinstance(r, mmengine.registry.Registry)]
    ours = {
        (registry.name, name): [
            child.scope for child in registry.children.values() if name in child.module_dict
        ]
        for registry in registries
        for name, entry in registry.module_dict.items()
        if entry.__module__.startswith("convnext_dense.")
    }
    assert ("model", "ConvNeXt") in ours
    assert {key: scopes for key, scopes in ours.items() if scopes} == {}


def test_sync_bn_reverts_to_bn_on_one_device():
    """With operators found, mmengine reverts mmcv's SyncBN as well, so it must be able to import it."""
    import mmdet.registry
    import mmseg.registry
    from mmengine.model import revert_sync_batchnorm

    import convnext_dense.register  # noqa: F401

    norm = {"type": "SyncBN"}
    fcn = {"type": "FCNHead", "in_channels": 4, "channels": 4, "num_classes": 3, "norm_cfg": norm}
    fpn = {"type": "FPN", "in_channels": [4, 8], "out_channels": 4, "num_outs": 2, "norm_cfg": norm}
    cases = [
        (mmseg.registry.MODELS.build(fcn), [torch.randn(2, 4, 6, 6)]),
        (mmdet.registry.MODELS.build(fpn), [torch.randn(2, 4, 8, 8), torch.randn(2, 8, 4, 4)]),
    ]
    for module, maps in cases:
        assert any(isinstance(layer, torch.nn.SyncBatchNorm) for layer in module.modules())
        names = list(module.state_dict())
        reverted = revert_sync_batchnorm(module)
        assert not any("SyncB" in type(layer).__name__ for layer in reverted.modules())
        assert list(reverted.state_dict()) == names
        reverted.train()(maps)  # SyncBN would refuse to train without a process group


TINY_MASK_RCNN = """
_base_ = [{base!r}]
custom_imports = dict(imports=["convnext_dense.register"])
default_scope = "mmdet"
model = dict(
    backbone=dict(depth=18, base_channels=8, init_cfg=None),
    neck=dict(in_channels=[8, 16, 32, 64], out_channels=16),
    rpn_head=dict(in_channels=16, feat_channels=16),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=16),
        bbox_head=dict(in_channels=16, fc_out_channels=32, num_classes=3),
        mask_roi_extractor=dict(out_channels=16),
        mask_head=dict(in_channels=16, conv_out_channels=16, num_classes=3)),
    test_cfg=dict(rcnn=dict(score_thr=0.0)))
"""
TRAIN_AND_PREDICT = """
import torch
from mmengine.config import Config
cfg = Config.fromfile({config!r})

from mmdet.registry import MODELS
from mmdet.testing import demo_mm_inputs
from mmdet.utils import register_all_modules

register_all_modules()
torch.manual_seed(0)
model = MODELS.build(cfg.model).train()
inputs = demo_mm_inputs(2, [[3, 64, 64], [3, 64, 64]], num_classes=3, with_mask=True)
losses = model(**model.data_preprocessor(inputs, True), mode="loss")
loss, _ = model.parse_losses(losses)
loss.backward()
for weight in (model.backbone.layer4[0].conv1.weight, model.roi_head.mask_head.convs[0].conv.weight):
    assert weight.grad.abs().sum() > 0
torch.optim.SGD(model.parameters(), lr=1e-3).step()
with torch.no_grad():
    found = model.eval()(**model.data_preprocessor(inputs, False), mode="predict")[0].pred_instances
assert 0 < len(found.bboxes) == len(found.masks) <= 100
print("finite loss:", loss.isfinite().item())
"""


def test_a_stock_mask_rcnn_trains_and_predicts_through_custom_imports(tmp_path):
    base = find_spec("mmdet").submodule_search_locations[0]
    base = f"{base}/.mim/configs/_base_/models/mask-rcnn_r50_fpn.py"
    config = tmp_path / "tiny.py"
    config.write_text(TINY_MASK_RCNN.format(base=base))
    assert output_of(TRAIN_AND_PREDICT.format(config=str(config))).splitlines()[-1] == "finite loss: True"
