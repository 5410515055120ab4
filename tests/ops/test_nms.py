import numpy as np
import pytest
import torch

from convnext_dense import ops
from convnext_dense.ops import nms as implementation

from . import reference

ops.install()
from mmcv.ops import batched_nms, nms, nms_match, soft_nms  # noqa: E402

pytestmark = pytest.mark.usefixtures("stand_in")


def scene(n, size=100.0, seed=0, levels=20, dtype=np.float32):
    """Boxes that overlap a lot, on integer pixels and with few score levels, so that ties abound."""
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, size, (n, 2))
    boxes = np.concatenate((corner, corner + rng.uniform(1, 60, (n, 2))), 1).round()
    scores = rng.integers(1, levels + 1, n) / levels
    return boxes.astype(dtype), scores.astype(dtype)


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.7, 1.0])
def test_equals_brute_force(threshold, offset):
    boxes, scores = scene(150)
    boxes[:10] = boxes[10:20]  # duplicates
    boxes[20:24, 2:] = boxes[20:24, :2]  # no area
    boxes[24:28] = boxes[24:28][:, [2, 3, 0, 1]]  # corners exchanged
    dets, kept = nms(boxes, scores, threshold, offset=offset)
    assert kept.tolist() == reference.nms(boxes, scores, threshold, offset)
    np.testing.assert_array_equal(dets, np.concatenate((boxes, scores[:, None]), 1)[kept])


@pytest.mark.parametrize("by_pairs", [True, False])
def test_the_first_of_all_that_are_kept(by_pairs, monkeypatch):
    if not by_pairs:
        monkeypatch.setattr(implementation, "_pairs", lambda *args: None)
    monkeypatch.setattr(implementation, "BLOCK", 7)
    boxes, scores = map(torch.from_numpy, scene(150, size=400))
    kept = implementation.nms(boxes, scores, 0.3).tolist()
    assert len(kept) > 30
    for most in (0, 1, 8, 30, 1000):
        assert implementation.nms(boxes, scores, 0.3, max_num=most).tolist() == kept[:most]


def test_an_iou_equal_to_the_threshold_does_not_suppress():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5]])
    scores = torch.tensor([0.9, 0.8])
    assert nms(boxes, scores, 0.5)[1].tolist() == [0, 1]
    assert nms(boxes, scores, 0.49)[1].tolist() == [0]


@pytest.mark.parametrize("along", [[0, 1, 2, 3], [1, 0, 3, 2]])
def test_with_offset_boxes_that_share_an_edge_overlap_by_a_pixel(along):
    boxes = torch.tensor([[0.0, 0, 9, 9], [9, 0, 18, 9], [40, 40, 50, 50], [30, 30, 31, 31]])[:, along]
    scores = torch.tensor([0.9, 0.8, 0.7, 0.6])
    assert nms(boxes, scores, 0.05, offset=1)[1].tolist() == [0, 2, 3]  # IoU 10 / 190
    assert nms(boxes, scores, 0.05, offset=0)[1].tolist() == [0, 1, 2, 3]


def test_a_suppressed_box_suppresses_nothing():
    boxes = torch.tensor([[4.0 * i, 0, 4 * i + 10, 10] for i in range(9)])  # each overlaps the next by 3/7
    scores = torch.linspace(1, 0.2, 9)
    assert nms(boxes, scores, 0.4)[1].tolist() == [0, 2, 4, 6, 8]


def test_a_negative_threshold_keeps_one_box():
    boxes, scores = scene(20)
    assert len(nms(boxes, scores, -1.0)[1]) == 1


def greedy_in_numpy(boxes, scores, threshold):
    """The reference with its inner loop vectorised, for sizes at which it would take minutes."""
    order = np.argsort(-scores, kind="stable")
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    kept = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(int(best))
        top = np.maximum(boxes[best, :2], boxes[order, :2])
        overlap = (np.minimum(boxes[best, 2:], boxes[order, 2:]) - top).clip(0).prod(1)
        order = order[~(overlap / (area[best] + area[order] - overlap) > boxes.dtype.type(threshold))]
    return kept


@pytest.mark.parametrize("size", [60.0, 1000.0])
def test_three_thousand_boxes(size):
    boxes, scores = scene(3000, size, levels=10**6)
    assert nms(boxes, scores, 0.6)[1].tolist() == greedy_in_numpy(boxes, scores, 0.6)


@pytest.mark.parametrize("cost", [1, 10**9], ids=["pairs", "blocks"])
@pytest.mark.parametrize("offset", [0, 1])
def test_the_result_does_not_depend_on_how_many_boxes_are_settled_at_a_time(monkeypatch, offset, cost):
    boxes, scores = scene(400)
    whole = nms(boxes, scores, 0.5, offset=offset)[1]
    monkeypatch.setattr(implementation, "COST_OF_A_PAIR", cost)
    monkeypatch.setattr(implementation, "BLOCK", 7)
    monkeypatch.setattr(implementation, "TILE", {"cpu": 100})
    assert nms(boxes, scores, 0.5, offset=offset)[1].tolist() == whole.tolist()


def test_thousands_of_equal_boxes_fit():
    boxes = torch.tensor([[0.0, 0, 10, 10]]).expand(12_000, 4)
    assert nms(boxes, torch.rand(12_000), 0.5)[1].shape == (1,)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_dtypes(dtype):
    boxes, scores = (torch.from_numpy(x).to(dtype) for x in scene(100))
    dets, kept = nms(boxes, scores, 0.5)
    exact = np.float64 if dtype == torch.float64 else np.float32
    expected = reference.nms(boxes.double().numpy().astype(exact), scores.double().numpy(), 0.5)
    assert dets.dtype == dtype
    assert kept.tolist() == expected


def test_nothing_to_suppress():
    assert nms(torch.zeros(0, 4), torch.zeros(0), 0.5)[1].shape == (0,)
    assert nms(torch.tensor([[0.0, 0, 1, 1]]), torch.ones(1), 0.5)[1].tolist() == [0]


def test_max_num_and_score_threshold():
    boxes, scores = scene(100)
    expected = [i for i in reference.nms(boxes, scores, 0.5) if scores[i] > 0.5][:7]
    assert nms(boxes, scores, 0.5, score_threshold=0.5, max_num=7)[1].tolist() == expected


@pytest.mark.parametrize("kind", ["nms", "soft_nms"])
def test_batched_nms_on_both_sides_of_split_thr(kind):
    boxes, scores = (torch.from_numpy(x) for x in scene(300, levels=10**6))
    classes = torch.arange(300) % 4
    results = [
        batched_nms(boxes, scores, classes, {"type": kind, "iou_threshold": 0.5, "split_thr": limit})
        for limit in (10_000, 10)
    ]
    if kind == "nms":
        expected = [
            members[k].item()
            for members in ((classes == c).nonzero().flatten() for c in range(4))
            for k in reference.nms(boxes[members].numpy(), scores[members].numpy(), 0.5)
        ]
        for dets, kept in results:
            assert kept.tolist() == sorted(expected, key=lambda i: -scores[i])
            assert torch.equal(dets[:, :4], boxes[kept])
    else:
        below, above = ({i: d[4].item() for d, i in zip(d, k.tolist(), strict=True)} for d, k in results)
        assert below.keys() == above.keys()
        assert below == pytest.approx(above, abs=1e-5)


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("method", ["naive", "linear", "gaussian"])
def test_soft_nms_equals_the_scalar_version(method, offset):
    boxes, scores = scene(80, levels=5, dtype=np.float64)
    dets, kept = soft_nms(boxes, scores, 0.3, sigma=0.5, min_score=0.05, method=method, offset=offset)
    index, new_scores = reference.soft_nms(boxes, scores, 0.3, 0.5, 0.05, method, offset)
    assert kept.tolist() == index
    np.testing.assert_array_equal(dets[:, :4], boxes[index])
    np.testing.assert_allclose(dets[:, 4], new_scores, rtol=0, atol=1e-12)


def test_soft_nms_leaves_its_input_and_keeps_the_dtype():
    boxes, scores = (torch.from_numpy(x) for x in scene(30))
    before = boxes.clone(), scores.clone()
    dets, kept = soft_nms(boxes, scores)
    assert torch.equal(boxes, before[0])
    assert torch.equal(scores, before[1])
    assert dets.dtype == torch.float32
    assert kept.dtype == torch.int64
    assert soft_nms(boxes.bfloat16(), scores.bfloat16())[0].dtype == torch.bfloat16
    assert soft_nms(boxes[:0], scores[:0])[0].shape == (0, 5)


def test_soft_nms_always_returns_the_best_box():
    boxes, scores = (torch.from_numpy(x) for x in scene(5))
    assert len(soft_nms(boxes, scores * 1e-6)[1]) == 1


def test_nms_match_groups_every_box_with_the_one_that_suppresses_it():
    boxes, scores = scene(60, levels=10**6)
    groups = nms_match(np.concatenate((boxes, scores[:, None]), 1), 0.4)
    assert sorted(np.concatenate(groups).tolist()) == list(range(60))
    left = sorted(range(60), key=lambda i: -scores[i])
    for kept, *matched in groups:
        assert left[0] == kept
        assert matched == [i for i in left[1:] if reference.iou(boxes[kept], boxes[i], 0) >= np.float32(0.4)]
        left = [i for i in left if i != kept and i not in matched]


@pytest.mark.gpu
@pytest.mark.parametrize("offset", [0, 1])
def test_cuda_equals_cpu(offset):
    boxes, scores = (torch.from_numpy(x) for x in scene(3000, 500.0, levels=10**6))
    on_cpu = implementation.nms(boxes, scores, 0.6, offset)
    assert torch.equal(implementation.nms(boxes.cuda(), scores.cuda(), 0.6, offset).cpu(), on_cpu)
    assert torch.equal(nms(boxes.cuda(), scores.cuda(), 0.6, offset=offset)[1].cpu(), on_cpu)
    assert soft_nms(boxes.cuda()[:200], scores.cuda()[:200])[0].is_cuda
