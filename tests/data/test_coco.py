"""Reading COCO files: labels by name, whatever the file's order and ids."""

from __future__ import annotations

import pytest

from convnext_dense.data.coco import category_names, classes_of, read_coco
from convnext_dense.errors import UserError

from .coco_file import valid, writer


@pytest.fixture
def write(tmp_path):
    return writer(tmp_path)


@pytest.mark.parametrize("classes", [("cat", "dog", "owl"), ("owl", "cat", "dog"), ["dog", "owl", "cat"]])
def test_labels_follow_the_order_of_the_classes(write, classes):
    coco = read_coco(write(valid()), classes)
    ids = {"cat": 9, "dog": 2, "owl": 5}
    assert coco.classes == tuple(classes)
    assert coco.labels == {ids[name]: label for label, name in enumerate(classes)}


def test_without_classes_they_are_the_files_own_by_ascending_id(write):
    coco = read_coco(write(valid()))
    assert (coco.classes, coco.category_ids) == (("dog", "owl", "cat"), (2, 5, 9))
    assert category_names(coco.path) == coco.classes
    assert list(coco.images) == [7, 3]
    assert [len(items) for items in coco.annotations.values()] == [3, 0]
    assert coco.notices == ()


def test_a_misspelt_class_is_an_error_with_the_nearest_name(write):
    with pytest.raises(UserError) as error:
        read_coco(write(valid()), ["cat", "dgo", "horse"])
    assert "no category 'dgo', 'horse'" in error.value.what
    assert "'dgo': did you mean 'dog'?" in error.value.fix
    assert "cat, dog, owl" in error.value.fix


def test_a_subset_of_the_classes_is_a_notice(write):
    coco = read_coco(write(valid()), ["dog"])
    assert coco.notices == ("train.json: cat, owl not among the classes (2 annotations left out)",)
    assert [item["id"] for item in coco.annotations[7]] == [2]


def test_a_class_without_annotations_is_a_notice(write):
    data = valid()
    data["annotations"] = data["annotations"][:1]
    assert read_coco(write(data)).notices == ("train.json: no annotation of dog, owl",)


@pytest.mark.parametrize(
    ("classes", "message"),
    [("cat", "is the text 'cat'"), (["cat", "cat"], "repeated: cat"), ([], "not a list of names")],
)
def test_classes_that_are_no_list_of_names(write, classes, message):
    with pytest.raises(UserError, match=message):
        read_coco(write(valid()), classes)


def test_classes_of_a_config_need_no_data_set_built(write):
    path = write(valid())
    own = {"type": "CocoInstances", "ann_file": path.name, "data_root": str(path.parent)}
    assert classes_of(own) == ("dog", "owl", "cat")
    assert classes_of({**own, "metainfo": {"classes": ["b", "a"]}}) == ("b", "a")
    assert classes_of({"type": "RepeatDataset", "times": 2, "dataset": own}) == ("dog", "owl", "cat")
    assert classes_of({"type": "ConcatDataset", "datasets": [own, own]}) == ("dog", "owl", "cat")
    assert classes_of({"type": "CocoDataset", "ann_file": path.name}) is None
    other = {**own, "metainfo": {"classes": ["cat"]}}
    with pytest.raises(UserError, match="different classes"):
        classes_of({"type": "ConcatDataset", "datasets": [own, other]})
    names = path.with_name("names.txt")
    names.write_text("traffic light\ncat\n")
    assert classes_of({"metainfo": {"classes": str(names)}}) == ("traffic light", "cat")
