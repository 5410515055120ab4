"""Rows of classes with the same name come from the checkpoint, whatever their order; all others stay."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from convnext_dense.errors import UserError
from convnext_dense.weights.class_rows import keep_class_rows

OLD, NEW = ("cat", "dog", "owl"), ("owl", "fox", "cat", "bee")


class Heads(nn.Module):
    """The last layers of a box head, a mask head and a segmentor, with values that name their row."""

    def __init__(self, classes, first):
        super().__init__()
        number = len(classes)
        self.fc_cls = nn.Linear(5, number + 1)
        self.fc_reg = nn.Linear(5, 4 * number)
        self.conv_logits = nn.Conv2d(5, number, 1)
        self.conv_seg = nn.Conv2d(5, number, 1)
        self.shared = nn.Linear(5, 5)
        for parameter in self.parameters():
            rows = torch.arange(first, first + len(parameter), dtype=torch.float32)
            parameter.data = rows.view(-1, *[1] * (parameter.dim() - 1)).expand(parameter.shape).clone()


class Net(nn.Module):
    def __init__(self, classes, first):
        super().__init__()
        self.head = Heads(classes, first)


@pytest.fixture
def checkpoint(tmp_path):
    def save(model, **meta):
        path = tmp_path / "old.pth"
        torch.save({"meta": meta, "state_dict": model.state_dict()}, path)
        return path

    return save


@pytest.mark.parametrize(
    "meta", [{"dataset_meta": {"classes": OLD}}, {"dataset_meta": {"CLASSES": list(OLD)}}, {"CLASSES": OLD}]
)
def test_rows_follow_names(checkpoint, meta):
    path = checkpoint(Net(OLD, 100), **meta)
    model = Net(NEW, 0)
    assert keep_class_rows(model, path, NEW) == (("owl", "cat"), ("fox", "bee"))
    assert model.head.conv_seg.bias.tolist() == [102, 1, 100, 3]
    assert model.head.conv_logits.weight[:, 0, 0, 0].tolist() == [102, 1, 100, 3]
    assert model.head.fc_cls.bias.tolist() == [102, 1, 100, 3, 103], "background, too"
    assert model.head.fc_reg.weight[:, 0].tolist() == [
        *range(108, 112),
        *range(4, 8),
        *range(100, 104),
        *range(12, 16),
    ]
    assert model.head.shared.bias.tolist() == [0, 1, 2, 3, 4], "load_weights' work"


def test_equal_numbers_of_classes_in_another_order(checkpoint):
    path = checkpoint(Net(OLD, 100), CLASSES=OLD)
    model = Net(OLD, 0)
    keep_class_rows(model, path, OLD[::-1])
    assert model.head.conv_seg.bias.tolist() == [102, 101, 100]


def test_a_row_that_belonged_to_another_class_begins_anew(checkpoint):
    """With equal numbers, `load_weights` has put dog's row where fox's is now."""
    model = Net(("cat", "fox", "owl"), 100)
    kept, new = keep_class_rows(model, checkpoint(Net(OLD, 100), CLASSES=OLD), ("cat", "fox", "owl"))
    assert (kept, new) == (("cat", "owl"), ("fox",))
    assert model.head.conv_seg.bias.tolist() == [100, 0, 102]
    assert 0 < model.head.fc_cls.weight[1].abs().max() < 0.1


def test_a_box_regression_for_all_classes_is_left_alone(checkpoint):
    old, model = Net(OLD, 100), Net(NEW, 0)
    old.head.fc_reg, model.head.fc_reg = nn.Linear(5, 4), nn.Linear(5, 4)
    before = model.head.fc_reg.weight.clone()
    keep_class_rows(model, checkpoint(old, CLASSES=OLD), NEW)
    assert torch.equal(model.head.fc_reg.weight, before)


@pytest.mark.parametrize(
    ("meta", "classes", "message"),
    [
        ({}, NEW, "does not name its classes"),
        ({"CLASSES": OLD}, ("Cat", "bear"), "'Cat': the checkpoint has 'cat'"),
        ({"CLASSES": (*OLD, "bat")}, ("cat", "fox", "bee", "owl"), "which has 4 classes"),
    ],
)
def test_what_cannot_be_kept_is_refused_and_nothing_is_changed(checkpoint, meta, classes, message):
    model = Net(classes, 0)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(UserError, match=message):
        keep_class_rows(model, checkpoint(Net(OLD, 100), **meta), classes)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
