"""A segmentor whose predictions need no logits of the image's size.

Legend: N windows or images, C classes, H × W the image as the model sees it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from mmengine.registry import MODELS
from mmengine.structures import PixelData
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.segmentors import EncoderDecoder, SegTTAModel
from mmseg.structures import SegDataSample
from mmseg.utils import SampleList
from torch import Tensor

from ..models.resized_rows import RowResize, argmax_of_rows, as_rows
from .window_rows import Span, Strip, WindowRows, window_spans


@MODELS.register_module()
class BandedEncoderDecoder(EncoderDecoder):
    """`EncoderDecoder` whose label maps are made a few rows at a time, so that no image is too large.

    Arguments, weights and label maps are those of `EncoderDecoder` (classes whose logits are equal within
    rounding aside). A 6000×4000 photo with 150 classes has 14 GB of logits there; here a window's logits
    stay as small as the head made them, and the resizing to the window, the averaging, the resizing to the
    photo and the choice of the class are done for some rows at a time. With `mode='whole'` the network itself
    still sees the whole image; `slide` bounds that, too.

    A label map is uint8 up to 255 classes, else int64 as mmseg's. Predictions have no `seg_logits` unless
    asked for. Flipped images, one-channel (binary) heads and heads with a `predict` of their own are left to
    mmseg.

    Args:
        *args: As of `EncoderDecoder`.
        seg_logits: Whether predictions carry `seg_logits`, (C, height, width) of the photo, as mmseg's do.
        windows_per_batch: The most windows that the network sees at once.
        **kwargs: As of `EncoderDecoder`.
    """

    def __init__(
        self, *args: Any, seg_logits: bool = False, windows_per_batch: int = 4, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.seg_logits, self.windows_per_batch = seg_logits, windows_per_batch

    def predict(self, inputs: Tensor, data_samples: SampleList | None = None) -> SampleList:
        """Return the samples with `pred_sem_seg`, (1, height, width) of the photo before resizing.

        Args:
            inputs: (B, 3, H, W), normalised.
            data_samples: With the images' `ori_shape` and padding; without them the size stays.
        """
        samples = [SegDataSample() for _ in inputs] if data_samples is None else data_samples
        metas = [sample.metainfo for sample in samples]
        if not self._makes_label_maps(metas):
            return super().predict(inputs, data_samples)
        for sample, meta, rows in zip(samples, metas, self._logit_rows(inputs, metas), strict=True):
            sample.set_data({"pred_sem_seg": PixelData(data=self._label_map(rows, meta)[None])})
        return samples

    def slide_inference(self, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
        """Return the averaged logits of all windows, (B, C, H, W); as mmseg's, some windows at a time."""
        total = inputs.new_zeros(len(inputs), self.out_channels, *inputs.shape[2:])
        count = inputs.new_zeros(1, 1, *inputs.shape[2:])
        tall, wide = self._window_spans(inputs)
        windows = [(rows, columns) for rows in tall for columns in wide]
        for chosen in _chunks(windows, self.windows_per_batch):
            crops = torch.cat([inputs[:, :, slice(*rows), slice(*columns)] for rows, columns in chosen])
            # a Size tells the head that it is a window's
            meta = {**batch_img_metas[0], "img_shape": crops.shape[2:]}
            logits = self.encode_decode(crops, [meta]).split(len(inputs))
            for (rows, columns), part in zip(chosen, logits, strict=True):
                total[:, :, slice(*rows), slice(*columns)] += part
                count[:, :, slice(*rows), slice(*columns)] += 1
        return total / count

    def _makes_label_maps(self, metas: Sequence[Mapping[str, Any]]) -> bool:
        head = type(self.decode_head)
        own = (head.predict, head.predict_by_feat) != (BaseDecodeHead.predict, BaseDecodeHead.predict_by_feat)
        flipped = any(meta.get("flip") for meta in metas)
        return not (self.seg_logits or flipped or own or self.out_channels == 1)

    def _window_spans(self, inputs: Tensor) -> tuple[list[Span], list[Span]]:
        """Return the windows' rows and columns."""
        tall, wide = (
            window_spans(*axis)
            for axis in zip(inputs.shape[2:], self.test_cfg.crop_size, self.test_cfg.stride, strict=True)
        )
        return tall, wide

    def _logit_rows(self, inputs: Tensor, metas: Sequence[Mapping[str, Any]]) -> Iterator[WindowRows]:
        """Yield each image's logits by rows; the images are taken one after the other."""
        if self.test_cfg.get("mode", "whole") == "slide":
            for image in inputs:
                yield self._windows(image)
            return
        logits = self.decode_head(self.extract_feat(inputs))
        # The size is the head's to choose; it is asked with a tensor that holds nothing.
        asked = logits.new_empty(1, 1, 1, 1, device="meta")
        meta = {"img_shape": inputs.shape[2:], **metas[0]}
        height, width = self.decode_head.predict_by_feat(asked, [meta]).shape[2:]
        for map_ in logits:
            strip = Strip((0, height), [(0, width)], [as_rows(map_)])
            yield WindowRows((height, width), [strip.rows], partial(_given, strip), self.align_corners)

    def _windows(self, image: Tensor) -> WindowRows:
        tall, wide = self._window_spans(image[None])

        def strip(rows: Span) -> Strip:
            logits: list[Tensor] = []
            for columns in _chunks(wide, self.windows_per_batch):
                crops = torch.stack([image[:, slice(*rows), slice(*span)] for span in columns])
                logits += [as_rows(map_) for map_ in self.decode_head(self.extract_feat(crops))]
            return Strip(rows, wide, logits)

        height, width = image.shape[1:]
        return WindowRows((height, width), tall, strip, self.align_corners)

    def _label_map(self, rows: WindowRows, meta: Mapping[str, Any]) -> Tensor:
        """Return the label map of the photo, (height, width)."""
        height, width = rows.size
        left, right, top, bottom = meta.get("img_padding_size", meta.get("padding_size", (0, 0, 0, 0)))
        content = height - top - bottom, width - left - right
        target = tuple(meta.get("ori_shape", content)[:2])
        like = next(self.decode_head.parameters())
        resize = RowResize(content, target, self.align_corners, like)
        labels = torch.empty(target, dtype=self._label_type(), device=like.device)
        for start, stop in resize.blocks(self.out_channels):
            first, end = resize.span(start, stop)
            block = rows(first + top, end + top)[:, :, left : width - right]
            labels[start:stop] = argmax_of_rows(resize(block, start, stop))
        return labels

    def _label_type(self) -> torch.dtype:
        """Return uint8 where it holds every class and the ignored label.

        mmseg's metric brings the truth to the prediction's type, in which -1 would become 255.
        """
        ignored = self.decode_head.ignore_index
        fits = self.out_channels <= 255 and ignored is not None and 0 <= ignored <= 255
        return torch.uint8 if fits else torch.int64


@MODELS.register_module()
class LogitsTTAModel(SegTTAModel):
    """`SegTTAModel`, which asks a `BandedEncoderDecoder` for the logits that it merges."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.module.seg_logits = True


def _given(strip: Strip, _: Span) -> Strip:
    return strip


def _chunks(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
