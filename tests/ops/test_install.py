"""Which module `import mmcv._ext` gives, and what its operators do."""

import importlib.util
from importlib.machinery import PathFinder

import mmcv
import pytest
import torch

from convnext_dense import UserError, ops
from convnext_dense.ops import nms, roi_align, soft_nms, torchvision_ops

from ..subprocesses import output_of, run_python

ops.install()

WITH_EXTENSION = """
    import mmcv
    mmcv.__path__.append({folder!r})
    from convnext_dense import ops
    ops.install()
"""
OPERATORS = ("roi_align", "nms", "soft_nms", "nms_match", "sigmoid_focal_loss")


@pytest.fixture
def not_compiled():
    if PathFinder.find_spec("mmcv._ext", mmcv.__path__) is not None:
        pytest.skip("mmcv's compiled operators are installed here")


def test_mmengine_finds_the_operators():
    from mmengine.utils.dl_utils import mmcv_full_available

    assert mmcv_full_available()
    import mmcv.ops  # noqa: F401

    assert importlib.util.find_spec("mmcv._ext") is not None
    assert mmcv_full_available()


def test_an_absent_operator_names_itself_and_the_remedy(not_compiled):
    from mmcv.ops import RoIPool

    layer = RoIPool(2)
    with pytest.raises(
        ops.AbsentOperatorError, match=r"roi_pool_forward(.|\n)*pip install .*onedl-mmcv"
    ) as info:
        layer(torch.rand(1, 1, 4, 4), torch.zeros(1, 5))
    assert isinstance(info.value, UserError)
    assert isinstance(info.value, NotImplementedError)


def test_questions_of_the_import_system_are_no_operators(not_compiled):
    import mmcv._ext

    assert not hasattr(mmcv._ext, "__file__")
    assert not hasattr(mmcv._ext, "__path__")


def test_backend_on_a_cpu(not_compiled):
    assert ops.backend() == dict.fromkeys(OPERATORS, "torch")


def test_environment_reports_still_work(not_compiled):
    from mmcv.utils import collect_env

    assert "convnext_dense" in collect_env()["MMCV Compiler"]


def test_install_imports_nothing_heavy():
    script = """
        import sys
        from convnext_dense import ops
        ops.install()
        ops.install()
        print(sorted({"torch", "mmcv", "torchvision", "numpy"} & sys.modules.keys()))
        print(sum(type(finder).__module__.startswith("convnext_dense") for finder in sys.meta_path))
    """
    assert output_of(script).split("\n")[:2] == ["[]", "1"]


def test_a_compiled_extension_that_loads_is_used(tmp_path):
    (tmp_path / "_ext.py").write_text("def __getattr__(name):\n    return lambda *a, **k: name\n")
    script = WITH_EXTENSION.format(folder=str(tmp_path)) + "    print(ops.backend()['nms'])"
    if PathFinder.find_spec("mmcv._ext", mmcv.__path__) is None:
        assert output_of(script, warnings="error::RuntimeWarning").strip() == "mmcv"


@pytest.mark.parametrize("imported_before", [False, True])
def test_the_compiled_roi_align_is_right_for_channels_last(tmp_path, not_compiled, imported_before):
    """mmcv's reads memory as contiguous, and ConvNeXt's maps are not: without care it pools other pixels."""
    (tmp_path / "_ext.py").write_text(
        "def roi_align_forward(input, rois, **rest):\n    return input.is_contiguous(), rest\n"
    )
    before = f"""
    import mmcv
    mmcv.__path__.append({str(tmp_path)!r})
    import mmcv._ext
    """
    script = (before if imported_before else "") + WITH_EXTENSION.format(folder=str(tmp_path))
    script += """
    ops.install()
    import mmcv._ext, torch
    maps = torch.zeros(1, 3, 4, 4).to(memory_format=torch.channels_last)
    print(maps.is_contiguous(), mmcv._ext.roi_align_forward(maps, torch.zeros(1, 5), aligned=True))
    """
    assert output_of(script).strip() == "False (True, {'aligned': True})"


def test_a_compiled_extension_that_does_not_load_is_replaced_with_one_warning(tmp_path, not_compiled):
    (tmp_path / "_ext.py").write_text("raise ImportError('undefined symbol: _ZN3c10')\n")
    script = WITH_EXTENSION.format(folder=str(tmp_path)) + (
        "    import mmcv.ops, torch\n"
        "    print(ops.backend()['nms'], mmcv.ops.nms(torch.zeros(2, 4), torch.ones(2), 0.5)[1].tolist())"
    )
    done = run_python(script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "torch [0, 1]"
    assert done.stderr.count("do not load") == 1
    assert "undefined symbol: _ZN3c10" in done.stderr


@pytest.mark.parametrize("error", ["RuntimeError", "ImportError", "OSError"])
def test_however_torchvision_fails_to_load_it_counts_as_absent(tmp_path, error):
    (tmp_path / "torchvision.py").write_text(f"raise {error}('undefined symbol')")
    script = """
        from convnext_dense import ops
        ops.install()
        try:
            import torchvision
        except ModuleNotFoundError as error:
            print(error)
    """
    assert "does not load beside the installed torch: undefined symbol" in output_of(script, path=tmp_path)


def random_rois(n=60):
    corner = torch.rand(n, 2) * 200 - 20
    return torch.cat((torch.zeros(n, 1), corner, corner + torch.rand(n, 2) * 100), 1)


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("sampling_ratio", [0, 2])
def test_roi_align_equals_torchvision(aligned, sampling_ratio):
    if not torchvision_ops.loads("cpu"):
        pytest.skip("torchvision is not installed, or does not load beside this torch")
    maps, rois = torch.randn(1, 4, 50, 60, dtype=torch.float64), random_rois().double()
    arguments = ((7, 7), 0.25, sampling_ratio, aligned)
    ours, theirs = (module.roi_align(maps, rois, *arguments) for module in (roi_align, torchvision_ops))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    grads = (
        module.roi_align_grad(ours, rois, maps.shape, *arguments[1:])
        for module in (roi_align, torchvision_ops)
    )
    torch.testing.assert_close(*grads, rtol=0, atol=1e-12)
    boxes, scores = random_rois(500)[:, 1:], torch.rand(500)
    assert torch.equal(nms.nms(boxes, scores, 0.5), torchvision_ops.nms(boxes, scores, 0.5))


@pytest.fixture
def compiled():
    import mmcv.ops

    if set(ops.backend().values()) != {"mmcv"}:
        pytest.skip("mmcv's compiled operators are not installed")
    return mmcv.ops


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("sampling_ratio", [0, 2])
def test_roi_align_equals_compiled_mmcv(compiled, aligned, sampling_ratio):
    rois = random_rois()
    maps = torch.randn(1, 4, 50, 60, requires_grad=True)
    theirs = compiled.roi_align(maps, rois, (7, 7), 0.25, sampling_ratio, "avg", aligned)
    arguments = (0.25, sampling_ratio, aligned)
    torch.testing.assert_close(roi_align.roi_align(maps, rois, (7, 7), *arguments), theirs, rtol=0, atol=1e-5)
    theirs.sum().backward()
    ours = roi_align.roi_align_grad(torch.ones_like(theirs), rois, maps.shape, *arguments)
    torch.testing.assert_close(ours, maps.grad, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("offset", [0, 1])
def test_nms_equals_compiled_mmcv(compiled, offset):
    boxes, scores = random_rois(1000)[:, 1:], torch.rand(1000)
    assert torch.equal(
        nms.nms(boxes, scores, 0.5, offset), compiled.nms(boxes, scores, 0.5, offset=offset)[1]
    )
    for number, method in enumerate(("naive", "linear", "gaussian")):
        dets, index = compiled.soft_nms(boxes, scores, 0.3, 0.5, 1e-3, method, offset)
        ours, our_index = soft_nms.soft_nms(boxes, scores, 0.3, 0.5, 1e-3, number, offset)
        assert torch.equal(our_index, index)
        torch.testing.assert_close(ours, dets)
