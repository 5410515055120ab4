"""Images and label maps in folders, looked at before the first is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.logging import print_log
from mmengine.registry import DATASETS
from mmseg.datasets import BaseSegDataset

from ..data.check_images import in_parallel
from ..data.image_files import image_fault
from ..data.quarantine import OnBadImage, quarantine
from ..errors import UserError


@DATASETS.register_module()
class LabelMaps(BaseSegDataset):
    """mmseg's `BaseSegDataset`, whose images and masks are looked at when it is built.

    Args:
        on_bad_image: What to do about images and masks that are missing, unreadable or cut short: `error`
            names them; `skip` leaves them out of training and lists them in `quarantine_file`, unless they
            are more than 1 % of all. A test data set is never made smaller.
        quarantine_file: The CSV file.
        **kwargs: As of `BaseSegDataset`.

    Raises:
        UserError: There is a bad image, or with `skip` there are too many.
    """

    def __init__(
        self, *, on_bad_image: OnBadImage = "error", quarantine_file: str = "quarantine.csv", **kwargs: Any
    ) -> None:
        if on_bad_image not in ("error", "skip"):
            raise UserError(
                f"on_bad_image is {on_bad_image!r}", "the config of the data set", "choose error or skip"
            )
        self.on_bad_image, self.quarantine_file = on_bad_image, quarantine_file
        super().__init__(**kwargs)

    def load_data_list(self) -> list[dict[str, Any]]:
        """List the pairs of image and mask; look at each file's header and end."""
        pairs = super().load_data_list()

        def look(pair: dict[str, Any]) -> tuple[Path, str, str] | None:
            for key in ("img_path", "seg_map_path"):
                path = Path(pair[key]) if pair.get(key) else None
                if path and (fault := image_fault(path, None)):
                    return path, *fault
            return None

        faults = in_parallel("looking at images and masks", look, pairs)
        bad = [fault for fault in faults if fault]
        if not bad:
            return pairs
        where = str(self.data_prefix.get("img_path"))
        if self.on_bad_image == "error" or self.test_mode:
            raise UserError(
                f"{len(bad):,} of {len(pairs):,} images or masks cannot be loaded",
                "\n".join([where, *(text for _, _, text in bad[:10])]),
                "get these files again; on_bad_image='skip' leaves up to 1 % out of training",
            )
        print_log(quarantine(bad, len(pairs), where, self.quarantine_file), logger="current")
        return [pair for pair, fault in zip(pairs, faults, strict=True) if not fault]
