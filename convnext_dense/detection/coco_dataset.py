"""The data set of COCO-format instances, for mmdet's pipelines and models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from mmdet.datasets import BaseDetDataset
from mmengine.logging import print_log
from mmengine.registry import DATASETS

from ..data.coco import CocoFile, read_coco
from ..data.coco_annotations import Masks
from ..data.image_files import Loader
from ..data.quarantine import OnBadImage, quarantine
from ..errors import UserError


@DATASETS.register_module()
class CocoInstances(BaseDetDataset):
    """Instances of a COCO annotation file, checked before the first image is loaded.

    What differs from mmdet's `CocoDataset`: label i is the i-th name of `metainfo.classes` whatever the order
    of the file's categories; without `metainfo.classes` the classes are the file's own, by ascending id; a
    class that the file lacks, a faulty record or a faulty image ends in a `UserError`; the data set is never
    silently empty. As there: `iscrowd` becomes `ignore_flag`, annotations with `ignore` are left out, masks
    go to the pipeline as the file has them (polygons or RLE).

    With `test_mode`, `metainfo` gets the path of the annotation file as `ann_file`: `CocoDetectionMetric`
    evaluates against it.

    Args:
        ann_file: The annotation file, under `data_root`.
        data_root: Folder that `ann_file` and `data_prefix` are relative to.
        data_prefix: `dict(img=...)`, the folder of the images.
        metainfo: `dict(classes=[...])`, in the order of the labels.
        filter_cfg: For training: `filter_empty_gt` leaves out images without instances of these classes,
            `min_size` those whose shorter side is less than as many pixels. A test data set keeps all images.
        check_images: `headers` looks at every image's size and end of file (about 0.1 ms per image), `full`
            decodes every image, `none` trusts them.
        faulty: `error`, or `skip` to leave out annotations that cannot be right, with a notice.
        on_bad_image: For training: `error`, or `skip` to leave out images that are missing, unreadable or cut
            short, unless they are more than 1 % of all. A test data set keeps all images.
        quarantine_file: CSV file that lists the images that were left out.
        pipeline: The transforms. The checks follow them: EXIF orientation as `LoadImageFromFile` treats it,
            masks as `LoadAnnotations` needs them.
        **kwargs: As of mmdet's `BaseDetDataset`: `test_mode`, `indices`, `lazy_init`, …

    Raises:
        UserError: See `convnext_dense.data.coco.read_coco`; or no image is left.
    """

    def __init__(
        self,
        ann_file: str = "",
        *,
        pipeline: Sequence[Any] = (),
        check_images: Literal["none", "headers", "full"] = "headers",
        faulty: Literal["error", "skip"] = "error",
        on_bad_image: OnBadImage = "error",
        quarantine_file: str = "quarantine.csv",
        **kwargs: Any,
    ) -> None:
        _check_choice("check_images", check_images, ("none", "headers", "full"))
        _check_choice("faulty", faulty, ("error", "skip"))
        _check_choice("on_bad_image", on_bad_image, ("error", "skip"))
        self.check_images = check_images
        self.faulty = faulty
        self.on_bad_image, self.quarantine_file = on_bad_image, quarantine_file
        steps = list(walk_steps(pipeline))
        self._loader, self._masks = loader_of(steps), masks_of(steps)
        super().__init__(ann_file, pipeline=pipeline, **kwargs)

    def load_data_list(self) -> list[dict[str, Any]]:
        """Read and check the annotation file; return one record per image."""
        images_dir = Path(self.data_prefix.get("img") or self.data_prefix.get("img_path") or "")
        coco = read_coco(
            self.ann_file,
            self._metainfo.get("classes"),
            None if self.check_images == "none" else images_dir,
            masks=self._masks,
            faulty=self.faulty,
            full=self.check_images == "full",
            loader=self._loader,
            on_bad_image="error" if self.test_mode else self.on_bad_image,
        )
        if coco.bad_images:
            bad = list(coco.bad_images.values())
            print_log(
                quarantine(bad, len(coco.images), str(self.ann_file), self.quarantine_file), logger="current"
            )
        for notice in coco.notices:
            print_log(notice, logger="current")
        self._metainfo["classes"] = coco.classes
        self._metainfo["category_ids"] = (
            coco.category_ids
        )  # checkpoints keep it: predictions are written with it
        if self.test_mode:  # in training, ConcatDataset asks its parts for the same metainfo
            self._metainfo["ann_file"] = str(self.ann_file)
        self.cat_ids = list(coco.category_ids)
        self.cat2label = coco.labels
        return [
            self._image(coco, number, images_dir) for number in coco.images if number not in coco.bad_images
        ]

    def _image(self, coco: CocoFile, number: int, images_dir: Path) -> dict[str, Any]:
        image = coco.images[number]
        return {
            "img_path": str(images_dir / image["file_name"]),
            "img_id": number,
            "height": image["height"],
            "width": image["width"],
            "instances": [
                _instance(annotation, self.cat2label)
                for annotation in coco.annotations[number]
                if annotation["id"] not in coco.faulty and not annotation.get("ignore")
            ],
        }

    def filter_data(self) -> list[dict[str, Any]]:
        """Leave out images as `filter_cfg` says, and say how many.

        Raises:
            UserError: None is left.
        """
        if self.test_mode or not self.filter_cfg:
            return self.data_list
        unknown = set(self.filter_cfg) - {"filter_empty_gt", "min_size"}
        if unknown:
            raise UserError(
                f"filter_cfg has {', '.join(sorted(unknown))}",
                "filter_cfg of the data set",
                "its keys are filter_empty_gt and min_size",
            )
        min_size = self.filter_cfg.get("min_size", 0)
        large = [image for image in self.data_list if min(image["width"], image["height"]) >= min_size]
        kept = large
        if self.filter_cfg.get("filter_empty_gt", False):
            kept = [image for image in large if image["instances"]]
        reasons = {
            f"smaller than {min_size} px": len(self.data_list) - len(large),
            "without instances of the classes": len(large) - len(kept),
        }
        text = ", ".join(f"{number:,} {reason}" for reason, number in reasons.items() if number)
        if not kept:
            raise UserError(
                f"no image is left of {len(self.data_list):,}: {text}",
                f"{self.ann_file} (classes: {', '.join(self._metainfo['classes'])})",
                "check metainfo.classes and filter_cfg of the data set",
            )
        if text:
            counts = f"{len(kept):,} of {len(self.data_list):,} images"
            print_log(f"{Path(self.ann_file).name}: {counts}; left out {text}", logger="current")
        return kept


def _instance(annotation: dict[str, Any], labels: dict[int, int]) -> dict[str, Any]:
    """Return an annotation as mmdet's pipelines read it: box (x1, y1, x2, y2) in pixels."""
    x, y, w, h = annotation["bbox"]
    instance = {
        "bbox": [x, y, x + w, y + h],
        "bbox_label": labels[annotation["category_id"]],
        "ignore_flag": int(annotation.get("iscrowd", 0)),
    }
    if annotation.get("segmentation"):
        instance["mask"] = annotation["segmentation"]
    return instance


def _check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UserError(
            f"{name} is {value!r}", "the config of the data set", f"choose {' or '.join(choices)}"
        )


def walk_steps(node: Any) -> Iterator[dict[str, Any]]:
    """Yield the transforms of a pipeline's config, those inside other transforms, too."""
    if isinstance(node, dict):
        if "type" in node:
            yield node
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for item in node:
            yield from walk_steps(item)


def loader_of(steps: list[dict[str, Any]]) -> Loader:
    """Return how the pipeline loads images, which decides on their EXIF orientation."""
    step = next((step for step in steps if str(step["type"]).endswith("LoadImageFromFile")), {})
    if step.get("color_type", "color") not in ("color", "grayscale"):
        return "as_stored"
    backend = step.get("imdecode_backend") or "cv2"
    return {"cv2": "cv2", "pillow": "pillow"}.get(backend, "as_stored")  # type: ignore[return-value]


def masks_of(steps: list[dict[str, Any]]) -> Masks:
    """Return what the pipeline asks of masks."""
    step = next((step for step in steps if str(step["type"]).endswith("LoadAnnotations")), {})
    if not step.get("with_mask", False):
        return "optional"
    return "required" if step.get("poly2mask", True) else "polygons"
