"""Split one COCO annotation file into a training and a validation part."""

from __future__ import annotations

import json
import random
from pathlib import Path

from ..errors import UserError


def split_coco(
    annotations: str | Path, n_val: int, *, seed: int = 0, out_dir: str | Path | None = None
) -> tuple[Path, Path]:
    """Write `train.json` and `val.json`: the same categories, each image with its annotations in one of them.

    The images are sorted by id, then shuffled by Python's `random.Random(seed)`; the first `n_val` are the
    validation part. The same file, number and seed give the same split everywhere.

    Args:
        annotations: COCO annotation file.
        n_val: Number of validation images.
        seed: Seed of the shuffle.
        out_dir: Folder to write to; that of `annotations` if None.

    Raises:
        UserError: The file is missing or no COCO file, or it has too few images.
    """
    source = Path(annotations)
    try:
        data = json.loads(source.read_text(encoding="utf-8"))
        images = sorted(data["images"], key=lambda image: image["id"])
        records = data["annotations"]
    except OSError as error:
        raise UserError(
            f"the annotation file cannot be read: {error.strerror}", str(source), "correct the path"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"not a COCO annotation file: {type(error).__name__} {error}",
            str(source),
            "it needs `images`, `annotations` and `categories`",
        ) from error
    if not 0 < n_val < len(images):
        raise UserError(
            f"{n_val} of {len(images)} images cannot be the validation part",
            str(source),
            f"choose 1 to {len(images) - 1}",
        )
    random.Random(seed).shuffle(images)
    folder = Path(out_dir) if out_dir is not None else source.parent
    folder.mkdir(parents=True, exist_ok=True)
    targets = folder / "train.json", folder / "val.json"
    for target, part in zip(targets, (images[n_val:], images[:n_val]), strict=True):
        ids = {image["id"] for image in part}
        own = [record for record in records if record["image_id"] in ids]
        target.write_text(json.dumps({**data, "images": part, "annotations": own}))
    return targets
