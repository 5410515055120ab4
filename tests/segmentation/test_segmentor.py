"""`BandedEncoderDecoder` predicts the label maps of mmseg's `EncoderDecoder`."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import MODELS, DefaultScope
from mmseg.structures import SegDataSample

import convnext_dense.register  # noqa: F401
from convnext_dense.models import resized_rows
from convnext_dense.segmentation.window_rows import window_spans

from ..detection.allocations import peak_bytes
from ..subprocesses import output_of

SLIDE = dict(mode="slide", crop_size=(64, 64), stride=(40, 40))
CLASSES = 7


def build(kind, test_cfg=SLIDE, classes=CLASSES, dtype=torch.float64, head=None, **changes):
    norm = dict(type="BN")
    settings = dict(
        type=kind,
        backbone=dict(type="ConvNeXt", arch=dict(depths=(1, 1, 1, 1), dims=(4, 6, 8, 10), use_grn=False)),
        decode_head=dict(
            type="FusedUPerHead",
            in_channels=[4, 6, 8, 10],
            in_index=[0, 1, 2, 3],
            channels=8,
            num_classes=classes,
            norm_cfg=norm,
            **(head or {}),
        ),
        test_cfg=ConfigDict(test_cfg),
    )
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope("mmseg"):
        model = MODELS.build({**settings, **changes}).to(dtype).eval()
    for parameter in model.decode_head.conv_seg.parameters():
        torch.nn.init.normal_(parameter)
    return model


def samples(sizes, **meta):
    return [SegDataSample(metainfo={"ori_shape": size, "img_shape": size, **meta}) for size in sizes]


def predict(model, images, batch):
    with torch.no_grad():
        return [sample.pred_sem_seg.data for sample in model(images, batch, mode="predict")]


@pytest.fixture
def _small_blocks(monkeypatch):
    monkeypatch.setattr(resized_rows, "MIN_ROWS", 3)
    monkeypatch.setattr(resized_rows, "CPU_BLOCK", 1)


CASES = {
    "slide": ((150, 171), SLIDE, [(150, 171)], {}),
    "slide, larger photo": ((150, 171), SLIDE, [(331, 402)], {}),
    "slide, smaller photo": ((150, 171), SLIDE, [(67, 53)], {}),
    "slide, smaller than a window": ((40, 150), SLIDE, [(80, 300)], {}),
    "slide, gaps of one pixel": ((129, 64), SLIDE | {"stride": (64, 64)}, [(129, 64)], {}),
    "slide, a batch": ((150, 171), SLIDE, [(150, 171), (99, 120)], {}),
    "padded": ((150, 171), SLIDE, [(151, 160)], {"img_padding_size": (3, 8, 2, 13)}),
    "flipped": ((150, 171), SLIDE, [(151, 160)], {"flip": True, "flip_direction": "horizontal"}),
    "whole": ((97, 131), dict(mode="whole"), [(201, 187)], {}),
    "whole, a batch": ((97, 131), dict(mode="whole"), [(201, 187), (30, 40)], {"pad_shape": (97, 131)}),
}


@pytest.mark.usefixtures("_small_blocks")
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_label_maps_are_mmsegs(case, align):
    size, test_cfg, photos, meta = CASES[case]
    ours, theirs = (
        build(kind, test_cfg, head=dict(align_corners=align))
        for kind in ("BandedEncoderDecoder", "EncoderDecoder")
    )
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(len(photos), 3, *size, dtype=torch.float64)
    meta = {"img_shape": size} | meta
    found, expected = (predict(model, images, samples(photos, **meta)) for model in (ours, theirs))
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        assert len(b.unique()) > 2
        assert torch.equal(a.long(), b)


def test_without_samples_the_size_stays():
    ours, theirs = build("BandedEncoderDecoder"), build("EncoderDecoder")
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(1, 3, 100, 90, dtype=torch.float64)
    (a,), (b,) = predict(ours, images, None), predict(theirs, images, None)
    assert torch.equal(a.long(), b)


@pytest.mark.parametrize("per_batch", [1, 4])
def test_logits_on_request_are_mmsegs(per_batch):
    ours = build("BandedEncoderDecoder", seg_logits=True, windows_per_batch=per_batch)
    theirs = build("EncoderDecoder")
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(2, 3, 150, 171, dtype=torch.float64)
    with torch.no_grad():
        a, b = (model(images, samples([(99, 120)] * 2), mode="predict") for model in (ours, theirs))
    for x, y in zip(a, b, strict=True):
        torch.testing.assert_close(x.seg_logits.data, y.seg_logits.data, rtol=1e-10, atol=1e-10)
        assert torch.equal(x.pred_sem_seg.data, y.pred_sem_seg.data)


def test_logits_are_not_there_unasked():
    (sample,) = build("BandedEncoderDecoder")(
        torch.randn(1, 3, 64, 64, dtype=torch.float64), samples([(64, 64)]), mode="predict"
    )
    assert "seg_logits" not in sample


def test_test_time_augmentation_has_its_logits():
    photo = (90, 110)
    results = []
    for kind, tta in (("BandedEncoderDecoder", "LogitsTTAModel"), ("EncoderDecoder", "SegTTAModel")):
        model = build(kind, data_preprocessor=dict(type="SegDataPreProcessor"), dtype=torch.float32)
        with DefaultScope.overwrite_default_scope("mmseg"):
            merging = MODELS.build(dict(type=tta, module=model))
        generator = torch.Generator().manual_seed(1)
        views = []
        for flip in (False, True):
            meta = {"flip": flip, "flip_direction": "horizontal" if flip else None, "img_path": "a.jpg"}
            views.append(samples([photo], **meta))
        images = [torch.randn(3, 70, 80, generator=generator, dtype=torch.float32) for _ in views]
        with torch.no_grad():
            (merged,) = merging.test_step({"inputs": [[i] for i in images], "data_samples": views})
        results.append(merged.pred_sem_seg.data)
    assert torch.equal(*results)


@pytest.mark.parametrize(
    ("classes", "ignored", "dtype"),
    [(255, 255, torch.uint8), (256, 255, torch.int64), (7, -1, torch.int64), (7, None, torch.int64)],
)
def test_label_maps_are_bytes_where_these_hold_every_label(classes, ignored, dtype):
    model = build("BandedEncoderDecoder", classes=classes, head=dict(ignore_index=ignored))
    (labels,) = predict(model, torch.randn(1, 3, 64, 64, dtype=torch.float64), samples([(64, 64)]))
    assert labels.dtype == dtype


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_binary_head_is_left_to_mmseg():
    head = dict(out_channels=1, threshold=0.5)
    ours, theirs = (build(kind, classes=2, head=head) for kind in ("BandedEncoderDecoder", "EncoderDecoder"))
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(1, 3, 100, 90, dtype=torch.float64)
    (a,), (b,) = (predict(model, images, samples([(50, 60)])) for model in (ours, theirs))
    assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("size", "crop", "stride"), [(6, 6, 4), (7, 6, 4), (15, 6, 4), (3, 6, 4), (24, 6, 6)]
)
def test_windows_cover_the_image_and_end_with_it(size, crop, stride):
    spans = window_spans(size, crop, stride)
    assert (spans[0][0], spans[-1][1]) == (0, size)
    assert {stop - start for start, stop in spans} == {min(size, crop)}
    assert all(after[0] <= before[1] for before, after in pairwise(spans))


def test_a_large_photo_needs_no_memory_of_its_size():
    """The photo's logits would be 236 MB."""
    model = build("BandedEncoderDecoder", classes=100, dtype=torch.float32)
    images = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        used = peak_bytes(lambda: predict(model, images, samples([(768, 768)])))
    assert used < 768 * 768 * 100 * 4 / 4


FULL_SIZE = """
    import resource, torch
    import convnext_dense.register
    from mmengine.config import Config
    from mmengine.registry import MODELS, DefaultScope
    from mmseg.structures import SegDataSample

    torch.set_num_threads({threads})
    cfg = Config.fromfile({config!r})
    cfg.model.backbone.init_cfg = None
    cfg.model.decode_head.norm_cfg = cfg.model.auxiliary_head.norm_cfg = dict(type="BN")
    with DefaultScope.overwrite_default_scope("mmseg"):
        model = MODELS.build(cfg.model).eval()
    sample = SegDataSample(metainfo=dict(ori_shape=(4000, 6000), img_shape=(4000, 6000)))
    image = torch.randint(256, (3, 4000, 6000), dtype=torch.uint8)
    with torch.no_grad():
        (found,) = model.test_step(dict(inputs=[image], data_samples=[sample]))
    labels = found.pred_sem_seg.data
    assert (tuple(labels.shape), labels.dtype) == ((1, 4000, 6000), torch.uint8)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@pytest.mark.full
def test_a_photo_of_24_megapixels_is_predicted_within_4_gb():
    """UperNet-T, 150 classes, windows of 512 over the whole photo, in a process of its own."""
    config = Path(__file__).parents[2] / "configs/upernet_convnext_t.py"
    script = FULL_SIZE.format(config=str(config), threads=torch.get_num_threads())
    assert int(output_of(script, timeout=3400).split()[-1]) < 4e9
