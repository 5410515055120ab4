import json

import pytest

from convnext_dense.cli import main
from convnext_dense.data.split import split_coco
from convnext_dense.errors import UserError


@pytest.fixture
def annotations(tmp_path):
    data = {
        "images": [{"id": i, "file_name": f"{i}.jpg"} for i in (5, 3, 9, 1, 7)],
        "annotations": [{"id": 10 * i + k, "image_id": i} for i in (1, 3, 5, 7, 9) for k in range(2)],
        "categories": [{"id": 1, "name": "nut"}],
    }
    path = tmp_path / "all.json"
    path.write_text(json.dumps(data))
    return path


def images_of(path):
    return [image["id"] for image in json.loads(path.read_text())["images"]]


def test_every_image_and_its_annotations_are_in_one_part(annotations):
    train, val = split_coco(annotations, 2)
    assert len(images_of(val)) == 2
    assert sorted(images_of(train) + images_of(val)) == [1, 3, 5, 7, 9]
    for part in (train, val):
        data = json.loads(part.read_text())
        assert {record["image_id"] for record in data["annotations"]} == set(images_of(part))
        assert len(data["annotations"]) == 2 * len(data["images"])
        assert data["categories"] == [{"id": 1, "name": "nut"}]


def test_the_split_depends_on_the_seed_alone(annotations, tmp_path):
    data = json.loads(annotations.read_text())
    data["images"].reverse()
    shuffled = tmp_path / "shuffled.json"
    shuffled.write_text(json.dumps(data))
    first = images_of(split_coco(annotations, 2, out_dir=tmp_path / "a")[1])
    assert images_of(split_coco(shuffled, 2, out_dir=tmp_path / "b")[1]) == first
    others = {
        tuple(images_of(split_coco(annotations, 2, seed=s, out_dir=tmp_path / "c")[1])) for s in range(9)
    }
    assert len(others) > 1


def test_mistakes_are_named(annotations, tmp_path, capsys):
    for n_val in (0, 5):
        with pytest.raises(UserError, match="5 images"):
            split_coco(annotations, n_val)
    (tmp_path / "text.json").write_text("hello")
    assert main(["prepare-data", "split", str(tmp_path / "text.json"), "--val", "1"]) == 2
    assert "not a COCO annotation file" in capsys.readouterr().err
    assert main(["prepare-data", "split", str(tmp_path / "none.json"), "--val", "1"]) == 2
    assert "cannot be read" in capsys.readouterr().err
