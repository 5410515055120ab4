import dataclasses

import pytest
from mmengine.visualization import Visualizer
from torch import nn
from torch.optim import AdamW

from convnext_dense.engine.signatures import accepted_arguments


class Base(nn.Module):
    def __init__(self, width, init_cfg=None):
        super().__init__()


class Passing(Base):
    def __init__(self, depth, *, with_cp=False, **kwargs):
        super().__init__(**kwargs)


class Reading(Passing):
    def __init__(self, **kwargs):
        self.score = kwargs.pop("score", 0)
        if "flag" in kwargs:
            kwargs.pop("flag")
        super(Reading, self).__init__(depth=1, **kwargs)  # noqa: UP008


class Mixin:
    def __init__(self, mixed=1, **rest):
        super().__init__(**rest)


class Mixed(Mixin, Passing):
    pass


class Storing(Base):
    def __init__(self, **kwargs):
        super().__init__(1)
        self.settings = kwargs


class Skipping(Mixed):
    def __init__(self, **kwargs):
        super(Mixin, self).__init__(**kwargs)


class Losing(Passing):
    def __init__(self, score, **kwargs):
        super().__init__(1)


class Copying(Base):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.settings = dict(kwargs)


@dataclasses.dataclass
class Plain:
    first: int
    second: int = 0


def function(a, b=1, /, *args, c, d=2):
    pass


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (Base, {"width", "init_cfg"}),
        (Passing, {"depth", "with_cp", "width", "init_cfg"}),
        (Reading, {"score", "flag", "depth", "with_cp", "width", "init_cfg"}),
        (Mixed, {"mixed", "depth", "with_cp", "width", "init_cfg"}),
        (Plain, {"first", "second"}),
        (function, {"c", "d"}),
        (nn.ReLU, {"inplace"}),
    ],
)
def test_names_follow_the_bases_to_which_kwargs_are_handed_on(kind, names):
    accepted = accepted_arguments(kind)
    assert accepted.names == names and not accepted.others


@pytest.mark.parametrize("kind", [Storing, Losing, Skipping, Copying, dict, lambda **kwargs: None])
def test_what_may_take_anything_is_known_to(kind):
    assert accepted_arguments(kind).others


def test_names_of_the_libraries():
    assert {"lr", "betas", "weight_decay"} <= accepted_arguments(AdamW).names
    assert {"name", "vis_backends", "save_dir"} <= accepted_arguments(Visualizer).names
