import json

import pytest
import torch

from convnext_dense import benchmark
from convnext_dense.cli import main
from convnext_dense.errors import UserError
from convnext_dense.ops.stand_in import make_stand_in


def test_sides_take_turns_and_the_first_round_does_not_count():
    calls = []

    def side(name, value):
        calls.append(name)
        return torch.tensor([1.0, value])

    result = benchmark.compare("case", "peer", lambda: side("ours", 2.0), lambda: side("theirs", 2.5), 3)
    assert calls == ["ours", "theirs"] * 4
    assert result.max_difference == 0.5
    assert result.ratio > 0


def test_sides_that_do_other_work_are_no_comparison():
    with pytest.raises(UserError, match=r"\(2,\) and \(3,\)"):
        benchmark.compare("case", "peer", lambda: torch.zeros(2), lambda: torch.zeros(3), 1)


def test_boxes_lie_in_the_image():
    boxes = benchmark.random_boxes(500)
    height, width = benchmark.IMAGE_PX
    assert (boxes >= 0).all()
    assert (boxes[:, 2] <= width).all()
    assert (boxes[:, 3] <= height).all()
    assert ((boxes[:, 2:] - boxes[:, :2]) > 0).all()


def test_cases_run_and_are_written(monkeypatch, tmp_path, capsys):
    """Our operators on both sides, so that it runs where none are compiled."""
    monkeypatch.setattr(benchmark, "_extensions", lambda: (make_stand_in(), make_stand_in()))
    out = tmp_path / "results.json"
    assert main(["benchmark", "nms", "--rounds", "1", "--out", str(out)]) == 0
    results = json.loads(out.read_text())["results"]
    assert [r["max_difference"] for r in results] == [0.0, 0.0]
    assert "2,000 boxes in clusters" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"), [(["nmss"], "did you mean 'nms'?"), (["--rounds", "0"], "give 1 or more")]
)
def test_mistakes_are_named(arguments, says, capsys):
    assert main(["benchmark", *arguments]) == 2
    assert says in capsys.readouterr().err


def test_without_compiled_operators_it_says_how_to_get_them(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("COMPILED_MMCV", str(tmp_path))
    assert main(["benchmark", "nms"]) == 2
    assert "--no-build-isolation onedl-mmcv" in capsys.readouterr().err
