import copy

import pytest
import torch
from torch import nn

from convnext_dense.engine.compile import compile_parts, describe_compiled


class Head(nn.Module):
    """Called by its `forward`, as mmseg's heads are."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 2, 1)

    def forward(self, x):
        return self.conv(x).sigmoid()

    def predict(self, x):
        return self.forward(x).argmax(1)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.GELU())
        self.decode_head = Head()
        self.auxiliary_head = nn.ModuleList([Head()])

    def forward(self, images):
        maps = self.backbone(images)
        return self.decode_head.forward(maps), self.auxiliary_head[0](maps)


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()


@pytest.fixture
def no_compiler(monkeypatch):
    """A machine without a C++ compiler, on which nothing was compiled before."""
    monkeypatch.setattr(torch._inductor.config.cpp, "cxx", ("/nonexistent/g++",))
    monkeypatch.setattr(torch._inductor.config, "force_disable_caches", True)


def losses_and_gradients(model, images):
    model.zero_grad()
    outputs = model(images)
    sum(output.square().sum() for output in outputs).backward()
    return [*outputs, *(parameter.grad for parameter in model.parameters())]


def test_the_same_results_names_and_weights():
    model, eager = Model(), Model()
    names = list(model.state_dict())
    parts = compile_parts(model)
    assert [part.name for part in parts] == ["backbone", "decode_head", "auxiliary_head.0"]
    images = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(losses_and_gradients(model, images), losses_and_gradients(eager, images))
    # the auxiliary head is of the same kind as the other, and takes its graph
    assert [part.graphs for part in parts] == [1, 1, 0]
    assert not any(part.failure for part in parts)
    assert list(model.state_dict()) == names
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.5)
        eager.load_state_dict(model.state_dict())
        torch.testing.assert_close(model(images), eager(images))
    assert "backbone (2), decode_head (2)" in describe_compiled(parts)


def test_sizes_that_change_need_one_graph_when_they_are_symbols():
    model, eager = Model(), Model()
    parts = compile_parts(model, dynamic=True)
    with torch.no_grad():
        for size in ((32, 64), (64, 32), (96, 96), (32, 96)):
            images = torch.randn(2, 3, *size)
            torch.testing.assert_close(model(images), eager(images))
    assert [part.graphs for part in parts] == [1, 1, 0]


def test_a_copy_has_weights_of_its_own():
    """`--ema` copies the model."""
    model = Model()
    compile_parts(model)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin.backbone[0].weight.zero_()
        twin.backbone[0].bias.zero_()
        assert twin.backbone(torch.randn(1, 3, 8, 8)).abs().max() == 0
        assert model.backbone(torch.randn(1, 3, 8, 8)).abs().max() > 0


def test_without_a_compiler_it_runs_as_it_is_and_says_so_once(no_compiler, capsys):
    model, eager = Model(), Model()
    parts = compile_parts(model)
    images = torch.randn(2, 3, 24, 16)
    for _ in range(2):
        torch.testing.assert_close(losses_and_gradients(model, images), losses_and_gradients(eager, images))
    assert all(part.failure for part in parts)
    assert describe_compiled(parts) == "not compiled: backbone, decode_head, auxiliary_head.0"


def test_an_error_of_the_model_is_no_reason_to_go_on():
    model = Model()
    compile_parts(model)
    with pytest.raises(Exception, match="expected input"):
        model(torch.randn(1, 5, 8, 8))
