import json

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from convnext_dense import Predictor
from convnext_dense.cli import main
from convnext_dense.errors import UserError
from convnext_dense.predict import Detections, SegmentationMap


def test_label_maps_are_those_of_the_test_tool(segmentor, segment, tmp_path):
    command = ["test", str(segmentor.config), str(segmentor.checkpoint), "--work-dir", str(tmp_path / "w")]
    assert main([*command, "--out", str(tmp_path / "maps")]) == 0
    results = segment(segmentor.images)
    assert len(results) == len(segmentor.images) > 1
    for image, result in zip(segmentor.images, results, strict=True):
        assert isinstance(result, SegmentationMap)
        expected = cv2.imread(str(tmp_path / "maps" / f"{image.stem}.png"), cv2.IMREAD_UNCHANGED)
        # The test tool writes in the data set's own numbers, where 0 is "ignored".
        np.testing.assert_array_equal(result.labels + 1, expected)
        assert len(np.unique(result.labels)) > 1


def test_detections_are_those_of_the_test_tool(detector, detect, tmp_path):
    command = ["test", str(detector.config), str(detector.checkpoint), "--work-dir", str(tmp_path / "w")]
    assert main([*command, "--out", str(tmp_path)]) == 0
    results = detect(detector.images)
    assert all(isinstance(result, Detections) for result in results)
    truth = json.loads(next(detector.images[0].parents[2].rglob("*test*.json")).read_text())
    image_ids = {image["file_name"].rpartition("/")[2]: image["id"] for image in truth["images"]}
    ours = []
    for image, result in zip(detector.images, results, strict=True):
        ours += result.to_coco(image_ids[image.name])
    assert len(ours) > 20
    assert len({entry["segmentation"]["counts"] for entry in ours}) > 10

    def by_rank(entries, key):
        return sorted(
            tuple(json.dumps(entry[name]) for name in ("image_id", "category_id", "score", key))
            for entry in entries
        )

    boxes = json.loads((tmp_path / "predictions.bbox.json").read_text())
    masks = json.loads((tmp_path / "predictions.segm.json").read_text())
    assert by_rank(ours, "bbox") == by_rank(boxes, "bbox")
    assert by_rank(ours, "segmentation") == by_rank(masks, "segmentation")


@pytest.mark.parametrize("kind", ["segment", "detect"])
def test_batches_give_what_single_images_give_in_the_images_order(kind, request):
    predict = request.getfixturevalue(kind)
    rng = np.random.default_rng(0)
    sizes = [(64, 96), (96, 64), (64, 96), (50, 60), (64, 96), (96, 64), (64, 96)]
    images = [rng.integers(256, size=(*size, 3), dtype=np.uint8) for size in sizes]
    singles, batched = predict(images), predict(images, batch_size=3)
    for image, one, other in zip(images, singles, batched, strict=True):
        if kind == "segment":
            assert one.labels.shape == other.labels.shape == image.shape[:2]
            assert (one.labels == other.labels).mean() > 0.999
        else:
            assert one.image_size == other.image_size == image.shape[:2]
            np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-3)
            np.testing.assert_allclose(one.scores, other.scores, atol=1e-5)


def test_images_of_different_size_never_share_a_batch(segment, monkeypatch):
    seen = []
    step = segment.model.test_step

    def spy(data):
        seen.append([tuple(image.shape[1:]) for image in data["inputs"]])
        return step(data)

    monkeypatch.setattr(segment.model, "test_step", spy)
    shapes = [(64, 64), (64, 96), (64, 64), (64, 96), (64, 64)]
    segment([np.zeros((*shape, 3), np.uint8) for shape in shapes], batch_size=2)
    assert sorted(map(len, seen)) == [1, 2, 2]
    assert all(len(set(batch)) == 1 for batch in seen)


def test_arrays_and_files_of_the_same_image_agree(segmentor, segment, detector, detect):
    for predict, path in ((segment, segmentor.images[0]), (detect, detector.images[0])):
        image = cv2.imread(str(path))
        kept = image.copy()
        from_file, from_array = (predict(source)[0] for source in (str(path), image))
        np.testing.assert_array_equal(image, kept)
        assert from_file.source == str(path)
        assert from_array.source is None
        np.testing.assert_array_equal(from_file.draw(), from_array.draw())
        if predict is segment:
            np.testing.assert_array_equal(from_file.labels, from_array.labels)
        else:
            assert from_file.to_coco(1) == from_array.to_coco(1)
    assert segment([]) == []


def test_unusual_files_are_read_as_the_pipeline_reads_them(segment, tmp_path):
    rng = np.random.default_rng(1)
    color = Image.fromarray(cv2.resize(rng.integers(256, size=(6, 8, 3), dtype=np.uint8), (80, 60)))
    deep = (np.asarray(color)[..., 0].astype(np.uint16) * 257).astype(np.uint16)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    color.convert("L").save(tmp_path / "gray.png")
    color.convert("RGBA").save(tmp_path / "alpha.png")
    color.convert("CMYK").save(tmp_path / "cmyk.jpg")
    color.save(tmp_path / "turned.jpg", exif=exif)
    cv2.imwrite(str(tmp_path / "deep.png"), deep)
    files = sorted(tmp_path.iterdir())
    sizes = {file.name: result.labels.shape for file, result in zip(files, segment(files), strict=True)}
    assert sizes.pop("turned.jpg") == (80, 60)
    assert set(sizes.values()) == {(60, 80)}
    # 16 bits are reduced to 8, not cut off: the picture is that of its high bytes.
    high_bytes = np.repeat((deep >> 8).astype(np.uint8)[..., None], 3, axis=2)
    np.testing.assert_array_equal(segment(tmp_path / "deep.png")[0].labels, segment(high_bytes)[0].labels)


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.zeros((8, 8), np.uint8), r"\(8, 8\) uint8"),
        (np.zeros((8, 8, 4), np.uint8), r"\(8, 8, 4\) uint8"),
        (np.zeros((8, 8, 3), np.float32), "float32"),
        (np.zeros((0, 8, 3), np.uint8), r"\(0, 8, 3\)"),
    ],
)
def test_an_array_that_is_no_bgr_image_is_refused_by_its_number(segment, array, text):
    with pytest.raises(UserError, match=text) as error:
        segment([np.zeros((32, 32, 3), np.uint8), array])
    assert error.value.where == "image 1"


def test_an_unreadable_file_is_named_and_a_stream_goes_on(segmentor, segment, tmp_path):
    whole = segmentor.images[0].read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.png").write_text("no image")
    files = [segmentor.images[0], tmp_path / "cut.jpg", tmp_path / "text.png", tmp_path / "gone.png"]
    files.append(segmentor.images[1])
    outcomes = dict(segment.stream(files, batch_size=2))
    assert [index for index, result in sorted(outcomes.items()) if isinstance(result, UserError)] == [1, 2, 3]
    assert "cut short" in str(outcomes[1])
    assert "not an image" in str(outcomes[2])
    assert "does not exist" in str(outcomes[3])
    with pytest.raises(UserError, match=r"cut\.jpg"):
        segment(files)


def test_a_config_beside_the_checkpoint_or_named_gives_the_same(segmentor, segment, tmp_path):
    content = segmentor.content
    config_json = content["meta"].pop("config_json")
    bare = tmp_path / "bare.pth"
    torch.save(content, bare)
    expected = segment(segmentor.images[0])[0].labels
    named = Predictor(bare, segmentor.config)
    (tmp_path / "config.json").write_text(config_json)
    for predict in (named, Predictor(bare), Predictor(bare, tmp_path / "config.json")):
        np.testing.assert_array_equal(predict(segmentor.images[0])[0].labels, expected)
        assert predict.classes == segment.classes
        assert predict.palette == segment.palette


def test_a_checkpoint_of_weights_alone_takes_its_classes_from_the_config(segmentor, segment, tmp_path):
    torch.save(segmentor.content["state_dict"], tmp_path / "weights.pth")
    predict = Predictor(tmp_path / "weights.pth", segmentor.config)
    assert predict.classes == segment.classes
    assert predict.palette == segment.palette


def test_a_checkpoint_of_another_model_is_refused(segmentor, detector):
    with pytest.raises(UserError, match="classes"):
        Predictor(detector.checkpoint, segmentor.config)


def test_a_checkpoint_without_heads_is_refused(segmentor, tmp_path):
    content = segmentor.content
    state = content["state_dict"]
    content["state_dict"] = {name: state[name] for name in state if name.startswith("backbone.")}
    torch.save(content, tmp_path / "backbone.pth")
    with pytest.raises(UserError, match=r"unfilled.*decode_head"):
        Predictor(tmp_path / "backbone.pth")


@pytest.mark.parametrize("device", ["cuda:99", "tpu"])
def test_a_device_that_is_not_there_is_refused(segmentor, device):
    with pytest.raises(UserError, match=f"no such device: {device}"):
        Predictor(segmentor.checkpoint, device=device)


def test_a_batch_size_of_zero_is_refused(segment):
    with pytest.raises(UserError, match="at least one"):
        segment([], batch_size=0)
