import json
import subprocess
import sys

import pytest

from convnext_dense.benchmark.cases import NAMES
from convnext_dense.benchmark.command import _TABLE, _jobs
from convnext_dense.cli import main

TINY = ["--arch", "v2_atto", "--size", "64", "--rounds", "1"]
#: Of each case: arguments, and how far a peer may lie apart.
CASES = {
    "backbone": TINY,
    "backbone --mode train --dtype bf16": TINY,
    "upernet_head --mode train --batch 2": TINY,
    "masks": ["--size", "64", "96", "--rounds", "1"],
    "eval": ["--number", "4", "--rounds", "1"],
    "pipeline": ["--number", "2", "--step-s", "0.5"],
}
#: Whole models take longer.
WHOLE = {
    "upernet": TINY,
    "upernet --mode train --batch 2": TINY,
    "mask_rcnn": ["--arch", "v2_atto", "--size", "128", "--rounds", "1"],
    "mask_rcnn --mode train": ["--arch", "v2_atto", "--size", "128", "--rounds", "1"],
    "cascade": ["--arch", "v2_atto", "--size", "128", "--rounds", "1"],
    "roi_align": ["--size", "64", "96", "--rounds", "1"],
    "nms": ["--rounds", "1"],
}


def run(case, options, tmp_path, capsys):
    out = tmp_path / "results.json"
    assert main(["benchmark", *case.split(), *options, "--out", str(out)]) == 0
    return json.loads(out.read_text()), capsys.readouterr().out


@pytest.mark.parametrize("case", CASES)
def test_a_case_runs_prints_and_is_written(case, tmp_path, capsys):
    record, printed = run(case, CASES[case], tmp_path, capsys)
    assert record["machine"]["versions"]["torch"]
    for result in record["results"]:
        assert result["case"] == case.split()[0]
        assert result["title"] in printed
        for side in result["sides"]:
            assert side["failure"] is None
            assert len(side["seconds"]) == 1
        if result["case"] == "pipeline":
            assert result["details"]["images_per_s_and_core"] > 0
            assert result["details"]["ms_per_image"]["decode"] > 0
            assert "with 4 workers waits" in printed
        else:
            assert result["sides"][0]["name"] == "ours"
            assert len(result["sides"]) > 1
            assert {ratio["against"] for ratio in result["ratios"]} >= {"best peer"}


@pytest.mark.full
@pytest.mark.parametrize("case", WHOLE)
def test_a_whole_model_runs(case, tmp_path, capsys):
    record, _ = run(case, WHOLE[case], tmp_path, capsys)
    assert all(side["failure"] is None for result in record["results"] for side in result["sides"])


def test_a_peer_that_does_not_load_is_a_note_and_no_error(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)  # as if it were not installed
    record, printed = run("backbone", [*TINY, "--peers", "timm", "plain"], tmp_path, capsys)
    assert "missing: timm does not load here" in printed
    assert {side["name"] for side in record["results"][0]["sides"]} == {"ours", "plain"}


def test_what_a_case_does_not_heed_is_told(tmp_path, capsys):
    _, printed = run("eval", ["--number", "2", "--rounds", "1", "--size", "64"], tmp_path, capsys)
    assert "without effect here: --size" in printed


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["backbon"], "did you mean 'backbone'?"),
        (["nms", "--rounds", "0"], "give 1 or more"),
        (["backbone", "--size", "100"], "multiples of 32 px"),
        (["backbone", "--peers", "tim"], "did you mean 'timm'?"),
        (["backbone", "--arch", "tinny"], "tiny"),
        (["upernet", "--mode", "train"], "--batch 2"),
        (["pipeline", "--data", "nowhere"], "no such folder"),
        (["nms", "--out", "nowhere/out.json"], "make the folder first"),
    ],
)
def test_mistakes_are_named(arguments, says, capsys):
    assert main(["benchmark", *arguments]) == 2
    assert says in capsys.readouterr().err


def test_the_overview_has_every_case_and_the_help_names_them():
    jobs = list(_jobs(["overview"], {"rounds": 3, "arch": "base"}))
    assert len(jobs) == len(_TABLE)
    assert {name for name, *_ in jobs} | {"upernet_head"} == set(NAMES)
    assert all(setting.rounds == 3 for _, _, setting, _ in jobs)
    assert next(setting.arch for name, _, setting, _ in jobs if name == "backbone") == "tiny"
    help_text = subprocess.run(
        [sys.executable, "-m", "convnext_dense.cli", "benchmark", "--help"], capture_output=True, text=True
    ).stdout
    assert all(name in help_text for name in (*NAMES, "overview"))


def test_without_compiled_operators_it_says_how_to_get_them(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("COMPILED_MMCV", str(tmp_path))
    assert main(["benchmark", "nms", "--rounds", "1"]) == 2
    assert "--no-build-isolation onedl-mmcv" in capsys.readouterr().err
