"""A run's numbers as a table and curves."""

import csv
import json

import cv2
import numpy as np

from convnext_dense.report.curves import draw_curves, read_metrics, write_csv


def write(path, *records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_what_was_repeated_after_a_resume_counts_once(tmp_path):
    file = write(
        tmp_path / "metrics.jsonl",
        {"iter": 1, "lr": 0.1, "loss": 3.0},
        {"iter": 2, "lr": 0.1, "loss": 2.0},
        {"iter": 2, "mIoU": 10.0},
        {"iter": 3, "lr": 0.1, "loss": 9.0},
        {"resumed": 2},
        {"iter": 3, "lr": 0.1, "loss": 1.0},
    )
    with file.open("a") as half:
        half.write('{"iter": 4, "lo')
    records = read_metrics(file)
    assert [(r["iter"], r.get("loss")) for r in records] == [(1, 3.0), (2, 2.0), (2, None), (3, 1.0)]
    write_csv(records, tmp_path / "metrics.csv")
    rows = list(csv.DictReader((tmp_path / "metrics.csv").open()))
    assert [row["iter"] for row in rows] == ["1", "2", "3"]
    assert rows[1] == {"iter": "2", "lr": "0.1", "loss": "2.0", "mIoU": "10.0"}
    assert rows[2]["mIoU"] == ""


def colored(picture):
    """The number of pixels of a picture that are not gray."""
    return int((np.ptp(picture.astype(int), axis=2) > 60).sum())


def test_a_panel_for_what_there_is(tmp_path):
    steps = [{"iter": i, "lr": 1e-3 / i, "loss": 1 / i} for i in range(1, 50)]
    scores = [{"iter": 25, "coco/bbox_mAP": 0.2, "coco/bbox_mAP_50": -1.0, "coco/bbox_AR@1": 0.3}]
    heights = []
    for name, records in {"a": steps, "b": [*steps, *scores], "c": scores}.items():
        assert draw_curves(records, tmp_path / f"{name}.png", "a run")
        picture = cv2.imread(str(tmp_path / f"{name}.png"))
        heights.append(picture.shape[0])
        assert colored(picture) > 20
    assert heights == [600, 900, 300]
    assert not draw_curves([], tmp_path / "none.png", "a run")
    assert not (tmp_path / "none.png").exists()
