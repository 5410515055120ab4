import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from convnext_dense.cli import main
from convnext_dense.errors import EXIT_SOME_FAILED, UserError
from convnext_dense.predict.files import find_images, output_names, predict_files


@pytest.fixture
def folder(segmentor, tmp_path, monkeypatch):
    """A current folder with `in/0.jpg`, `in/deep/1.jpg` and a text file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in/deep").mkdir(parents=True)
    shutil.copy(segmentor.images[0], "in/0.jpg")
    shutil.copy(segmentor.images[1], "in/deep/1.jpg")
    Path("in/notes.txt").write_text("no image")
    return tmp_path


def _files(root):
    return sorted(str(path.relative_to(root)) for path in Path(root).rglob("*") if path.is_file())


def test_a_folder_of_images_becomes_a_folder_of_label_maps(segmentor, segment, folder, capsys):
    assert main(["predict", str(segmentor.checkpoint), "in"]) == 0
    expected = ["labels/0.png", "labels/deep/1.png", "overlays/0.jpg", "overlays/deep/1.jpg"]
    assert _files("predictions") == expected
    saved = cv2.imread("predictions/labels/deep/1.png", cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(saved, segment("in/deep/1.jpg")[0].labels)
    assert "2 of 2 images predicted" in capsys.readouterr().out
    # The results of a former run are no input of the next.
    assert main(["predict", str(segmentor.checkpoint), ".", "--no-draw", "--batch-size", "2"]) == 0
    assert "2 of 2 images predicted" in capsys.readouterr().out


def test_detections_of_all_images_are_one_coco_file(detector, detect, folder):
    assert main(["predict", str(detector.checkpoint), "in/*.jpg", "in/deep/1.jpg", "--out", "out"]) == 0
    assert _files("out") == ["overlays/0.jpg", "overlays/deep/1.jpg", "predictions.json"]
    content = json.loads(Path("out/predictions.json").read_text())
    assert [image["file_name"] for image in content["images"]] == ["in/0.jpg", "in/deep/1.jpg"]
    expected = [
        entry
        for i, result in enumerate(detect(["in/0.jpg", "in/deep/1.jpg"]), 1)
        for entry in result.to_coco(i)
    ]
    assert expected
    written = [{key: entry[key] for key in expected[0]} for entry in content["annotations"]]
    assert written == expected


def test_a_score_threshold_applies_to_the_json(detector, detect, folder):
    scores = np.concatenate([result.scores for result in detect(["in/0.jpg", "in/deep/1.jpg"])])
    threshold = float(np.median(scores))
    assert main(["predict", str(detector.checkpoint), "in", "--no-draw", "--score-thr", str(threshold)]) == 0
    content = json.loads(Path("predictions/predictions.json").read_text())
    assert len(content["annotations"]) == (scores >= threshold).sum() < len(scores)
    assert len(content["images"]) == 2


@pytest.mark.parametrize("kind", ["segmentor", "detector"])
def test_bad_files_are_named_and_the_rest_is_done(kind, folder, capsys, request):
    trained = request.getfixturevalue(kind)
    Path("in/empty.png").touch()
    whole = Path("in/0.jpg").read_bytes()
    Path("in/cut.jpg").write_bytes(whole[: len(whole) // 2])
    command = ["predict", str(trained.checkpoint), "in", "in/notes.txt", "--batch-size", "2"]
    assert main(command) == EXIT_SOME_FAILED == 1
    message = capsys.readouterr().err
    assert "3 of 5 images could not be read" in message
    assert all(name in message for name in ("in/empty.png", "in/cut.jpg", "in/notes.txt"))
    assert "Traceback" not in message
    written = _files("predictions")
    assert {"overlays/0.jpg", "overlays/deep/1.jpg"} <= set(written)
    if kind == "detector":
        assert len(json.loads(Path("predictions/predictions.json").read_text())["images"]) == 2


def test_an_interrupted_run_leaves_what_was_found(detector, detect, folder, monkeypatch):
    found = detect("in/0.jpg")[0]

    def stop(paths, **kwargs):
        yield 0, found
        raise KeyboardInterrupt

    monkeypatch.setattr(detect, "stream", stop)
    with pytest.raises(KeyboardInterrupt):
        predict_files(detect, [Path("in/0.jpg"), Path("in/deep/1.jpg")], Path("out"))
    assert len(json.loads(Path("out/predictions.json").read_text())["images"]) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "no such file or folder: nowhere"),
        (["in/*.gif"], "nothing matches: in/*.gif"),
        (["empty"], "the folder holds no image"),
        (["in", "--out", "in/notes.txt"], "output folder cannot be made"),
        (["in", "--score-thr", "30"], "a score is 0 to 1"),
        (["in", "--score-thr", "0.3"], "--score-thr is for detectors"),
        (["in", "--batch-size", "0"], "at least one image"),
        (["in", "--config", "no.py"], "config file not found"),
        (["in", "--device", "nothing"], "no such device"),
    ],
)
def test_mistakes_are_met_before_anything_is_predicted(segmentor, folder, arguments, message, capsys):
    Path("empty").mkdir()
    assert main(["predict", str(segmentor.checkpoint), *arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert "fix:" in captured.err
    assert "%" not in captured.err, "the progress had begun"


def test_a_missing_checkpoint_is_named(folder, capsys):
    assert main(["predict", "gone.pth", "in"]) == 2
    assert "gone.pth" in capsys.readouterr().err


def test_inputs_are_taken_once_and_in_order(folder):
    found = find_images(["in/deep/1.jpg", "in", "in/**/*.jpg"], Path("out"))
    assert list(map(str, found)) == ["in/deep/1.jpg", "in/0.jpg"]
    with pytest.raises(UserError):
        find_images(["in/deep/2.jpg"], Path("out"))


def test_results_of_files_of_the_same_name_do_not_meet():
    assert output_names([Path("a/x.jpg"), Path("b/x.jpg")]) == ["a/x", "b/x"]
    assert output_names([Path("a/x.jpg"), Path("a/x.png"), Path("a/y.png")]) == ["x.jpg", "x.png", "y"]
    assert output_names([Path("a/b/x.v2.jpg")]) == ["x.v2"]
