"""Images with an EXIF orientation agree with their boxes and masks, however they are loaded."""

from __future__ import annotations

import json

import mmcv
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from convnext_dense.errors import UserError

from .coco_samples import PIPELINE, build

#: How the stored pixels of each EXIF orientation come from the upright image (EXIF 2.3, tag 0x0112).
STORED = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: upright[::-1, ::-1].swapaxes(0, 1),
    8: lambda upright: np.rot90(upright, -1),
}
BOX = [40, 10, 30, 16]  # in the upright image of 100 x 60 px


@pytest.fixture
def photo(tmp_path):
    """Return a function that writes a photo of one object, annotated upright or as it is stored."""

    def write(orientation, kind="JPEG", as_stored=False):
        upright = np.full((60, 100, 3), 30, np.uint8)
        x, y, w, h = BOX
        upright[y : y + h, x : x + w] = 230
        stored = np.ascontiguousarray(STORED[orientation](upright))
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(stored).save(tmp_path / "photo", kind, exif=exif, quality=95)
        pixels = stored if as_stored else upright
        rows, columns = (np.flatnonzero((pixels[..., 0] > 128).any(axis)) for axis in (1, 0))
        mask = np.asfortranarray(pixels[..., 0] > 128, np.uint8)
        code = coco_mask.encode(mask)
        box = [columns[0], rows[0], len(columns), len(rows)]
        annotation = {
            **dict(id=1, image_id=1, category_id=1, area=480, bbox=[int(v) for v in box]),
            "segmentation": {"size": code["size"], "counts": code["counts"].decode()},
        }
        image = dict(id=1, file_name="photo", width=pixels.shape[1], height=pixels.shape[0])
        data = dict(images=[image], annotations=[annotation], categories=[dict(id=1, name="plate")])
        (tmp_path / "photo.json").write_text(json.dumps(data))
        return tmp_path

    return write


def box_in_the_picture(sample):
    bright = sample["inputs"].numpy()[0] > 128
    rows, columns = (np.flatnonzero(bright.any(axis)) for axis in (1, 0))
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


def load(folder, **loading):
    pipeline = [dict(type="LoadImageFromFile", **loading), *PIPELINE[1:]]
    return build(folder, "photo.json", pipeline, data_prefix=dict(img=""))[0]


@pytest.mark.parametrize("backend", ["cv2", "pillow"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotated_images_agree_with_their_boxes(photo, orientation, kind, backend):
    sample = load(photo(orientation, kind), imdecode_backend=backend)
    instances = sample["data_samples"].gt_instances
    found = box_in_the_picture(sample)
    assert np.abs(instances.bboxes.tensor[0].numpy() - found).max() <= 1
    assert sample["inputs"].shape[1:] == instances.masks.masks[0].shape == (60, 100)
    assert (instances.masks.masks[0] == (sample["inputs"].numpy()[0] > 128)).mean() > 0.99


@pytest.mark.parametrize("orientation", range(1, 9))
def test_annotations_of_the_image_as_stored_load_with_the_orientation_ignored(photo, orientation):
    folder = photo(orientation, as_stored=True)
    sample = load(folder, color_type="color_ignore_orientation")
    assert (
        np.abs(
            sample["data_samples"].gt_instances.bboxes.tensor[0].numpy() - box_in_the_picture(sample)
        ).max()
        <= 1
    )
    if orientation >= 5:
        with pytest.raises(UserError, match="color_type='color_ignore_orientation'"):
            load(folder)


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_ignoring_the_orientation_of_upright_annotations_is_an_error(photo, orientation):
    with pytest.raises(UserError, match="its EXIF orientation is not applied"):
        load(photo(orientation), color_type="color_ignore_orientation")


@pytest.mark.parametrize("kind", ["WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_the_size_checked_is_the_size_loaded_for_other_formats(photo, orientation, kind):
    """OpenCV does not turn WebP and always turns TIFF: an image passes the check just if it is loaded so."""
    folder = photo(orientation, kind)
    loaded = mmcv.imread(str(folder / "photo")).shape[:2]
    if loaded == (60, 100):
        assert load(folder)["inputs"].shape[1:] == (60, 100)
    else:
        with pytest.raises(UserError, match="image of another size"):
            load(folder)
