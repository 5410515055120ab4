"""The first training batch as the network gets it."""

import numpy as np
import pytest
import torch
from mmengine.structures import PixelData

from convnext_dense.engine.libraries import load_libraries
from convnext_dense.report.train_batch import denormalised, draw_batch

load_libraries("mmseg")  # with the operators that mmcv lacks, which it would note the absence of

from mmseg.models import SegDataPreProcessor  # noqa: E402
from mmseg.structures import SegDataSample  # noqa: E402

META = {"classes": ("cat", "dog"), "palette": ((255, 0, 0), (0, 255, 0))}


@pytest.mark.parametrize("swap", [True, False])
@pytest.mark.parametrize("normalise", [True, False])
def test_normalisation_is_undone(swap, normalise):
    numbers = dict(mean=[123.7, 116.3, 103.5], std=[58.4, 57.1, 57.4]) if normalise else {}
    preprocessor = SegDataPreProcessor(**numbers, bgr_to_rgb=swap, size=(8, 8))
    image = torch.randint(256, (3, 8, 8), dtype=torch.uint8)
    sample = SegDataSample(gt_sem_seg=PixelData(data=torch.zeros(1, 8, 8, dtype=torch.uint8)))
    batch = preprocessor({"inputs": [image], "data_samples": [sample]}, training=True)
    back = denormalised(preprocessor, batch["inputs"][0])
    torch.testing.assert_close(back, image.float(), atol=1e-3, rtol=0)


def test_an_image_a_row_padding_and_labels_included():
    preprocessor = SegDataPreProcessor(
        mean=[0.0] * 3, std=[2.0] * 3, size=(320, 320), pad_val=0, seg_pad_val=255
    )
    images = [torch.full((3, 320, width), 100, dtype=torch.uint8) for width in (320, 160, 320)]
    samples = [
        SegDataSample(gt_sem_seg=PixelData(data=torch.ones(1, *image.shape[1:], dtype=torch.uint8)))
        for image in images
    ]
    for sample in samples:
        sample.set_metainfo({"img_path": "a.jpg"})
    batch = preprocessor({"inputs": images, "data_samples": samples}, training=True)
    picture = draw_batch(preprocessor, batch, META, limit=2)
    assert 2 * 320 < picture.shape[0] < 3 * 320
    first = picture[26 : 26 + 320]
    assert (first[:, :320] == 100).all(), "the image"
    assert (first[:, 328:648] == np.array([40, 193, 40])).all(), "60 % green on it"
    second = picture[-320 - 8 - 30 : -8 - 30]
    assert second.shape[0] == 320
