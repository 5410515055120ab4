"""`ConfusionIoUMetric` has the numbers of mmseg's `IoUMetric`, on any number of processes."""

import json
import socket
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.multiprocessing as multiprocessing
from mmseg.evaluation import IoUMetric

from convnext_dense.errors import UserError
from convnext_dense.segmentation import ConfusionIoUMetric

CLASSES = 6
IMAGES = 7


def sample(index, dtype=torch.int64, ignored=255, classes=CLASSES):
    generator = torch.Generator().manual_seed(index)
    size = (20 + index, 30)
    truth = torch.randint(classes - 1, size, generator=generator)
    guess = torch.where(
        torch.rand(size, generator=generator) < 0.6,
        truth,
        torch.randint(classes - 1, size, generator=generator),
    )
    truth[torch.rand(size, generator=generator) < 0.2] = ignored
    return {
        "img_path": f"images/{index}.jpg",
        "pred_sem_seg": {"data": guess[None].to(dtype)},
        "gt_sem_seg": {"data": truth[None]},
    }


def make(kind, classes=CLASSES, **settings):
    metric = kind(**settings)
    metric.dataset_meta = {"classes": tuple(f"class {i}" for i in range(classes))}
    return metric


def score(metric, samples, size=None):
    for each in samples:
        metric.process(None, [each])
    return metric.evaluate(len(samples) if size is None else size)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
@pytest.mark.parametrize(
    "settings",
    [{}, {"iou_metrics": ["mIoU", "mDice", "mFscore"]}, {"nan_to_num": 0}, {"ignore_index": 11}],
    ids=str,
)
def test_numbers_are_mmsegs(settings, dtype):
    """The last class is nowhere: undefined, and no part of a mean."""
    samples = [sample(i, dtype, settings.get("ignore_index", 255)) for i in range(IMAGES)]
    ours, theirs = (score(make(kind, **settings), samples) for kind in (ConfusionIoUMetric, IoUMetric))
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(float(value), abs=0.011, nan_ok=True), name


def test_a_metric_begins_anew_after_each_evaluation():
    metric = make(ConfusionIoUMetric)
    score(metric, [sample(0)])
    assert score(metric, [sample(1)]) == score(make(ConfusionIoUMetric), [sample(1)])


def test_nothing_is_kept_of_an_image():
    metric = make(ConfusionIoUMetric)
    for index in range(IMAGES):
        metric.process(None, [sample(index)])
    kept = [value for value in vars(metric).values() if torch.is_tensor(value)]
    assert {value.shape for value in kept} == {(CLASSES, CLASSES)}
    assert metric.results == []


@pytest.mark.parametrize("value", [CLASSES, 300, -1])
def test_a_label_that_is_no_class_is_named(value):
    wrong = sample(0, torch.uint8)
    wrong["gt_sem_seg"]["data"][0, 3, 4] = value
    with pytest.raises(UserError, match=rf"has the value {value}, the data set has 6 classes") as caught:
        make(ConfusionIoUMetric).process(None, [wrong])
    assert caught.value.where == "images/0.jpg"


def test_a_prediction_that_is_no_class_is_named():
    with pytest.raises(UserError, match="predicts label 4, the data set has 4 classes"):
        wrong = sample(0)
        wrong["gt_sem_seg"]["data"].clamp_(max=3)
        make(ConfusionIoUMetric, 4, ignore_index=9).process(None, [wrong])


def test_nothing_to_evaluate_is_said():
    with pytest.raises(UserError, match="nothing to evaluate"):
        make(ConfusionIoUMetric).evaluate(0)


@pytest.mark.parametrize("reduced", [False, True])
def test_label_maps_are_written_as_mmseg_writes_them(tmp_path, reduced):
    pictures = []
    for kind in (ConfusionIoUMetric, IoUMetric):
        folder = tmp_path / kind.__name__
        metric = make(kind, output_dir=str(folder), format_only=True)
        assert score(metric, [sample(0, torch.uint8) | {"reduce_zero_label": reduced}]) == {}
        pictures.append(cv2.imread(str(folder / "0.png"), cv2.IMREAD_UNCHANGED))
    assert pictures[0].dtype == np.uint8
    assert np.array_equal(*pictures)


def test_labels_above_255_are_written_in_16_bits(tmp_path):
    many = sample(0)
    many["pred_sem_seg"]["data"][0, 0, 0] = 299
    score(make(ConfusionIoUMetric, 300, output_dir=str(tmp_path), format_only=True), [many])
    assert cv2.imread(str(tmp_path / "0.png"), cv2.IMREAD_UNCHANGED)[0, 0] == 299


def _evaluate_on_rank(rank, world_size, port, indices, folder):
    torch.distributed.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world_size
    )
    values = score(make(ConfusionIoUMetric), [sample(i) for i in indices[rank]], size=IMAGES)
    (folder / f"{rank}.json").write_text(json.dumps(values))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("sampler", ["default", "blocks"])
@pytest.mark.parametrize("world_size", [2, 3])
def test_every_image_counts_once_on_any_number_of_processes(tmp_path, monkeypatch, world_size, sampler):
    from ..detection.test_coco_ranks import shares

    monkeypatch.chdir(tmp_path)
    alone = score(make(ConfusionIoUMetric), [sample(i) for i in range(IMAGES)])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = (world_size, port, shares(sampler, IMAGES, world_size), tmp_path)
    # Forked, as importing mmseg again takes longer than the test.
    multiprocessing.start_processes(_evaluate_on_rank, arguments, world_size, start_method="fork")
    for rank in range(world_size):
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == alone
    assert not Path(".dist_test").exists()
