"""Images that cannot be loaded: left out only where the user asked for it, written down, and never many."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from ..errors import UserError

#: What to do about an image that cannot be loaded.
OnBadImage = Literal["error", "skip"]
#: More than this share of bad images is no accident: the run stops whatever was asked for.
MAX_SHARE = 0.01
#: Faults of an image file; another size than annotated is none: there the annotations are in doubt.
BAD_IMAGE_KINDS = frozenset({"image missing", "image unreadable", "image truncated"})


def quarantine(faults: Sequence[tuple[Path, str, str]], total: int, where: str, csv_file: str | Path) -> str:
    """Write the images that are left out to a CSV file, and return a notice of them.

    Args:
        faults: File, kind of fault and sentence of each.
        total: Number of images in the data set.
        where: The data set, for the message.
        csv_file: File to write, with the columns `file`, `fault` and `details`; replaced if it is there.

    Raises:
        UserError: More than `MAX_SHARE` of the images are bad, or the file cannot be written.
    """
    target = Path(csv_file)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(target, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("file", "fault", "details"), *faults])
    except OSError as error:
        raise UserError(
            f"the list of bad images cannot be written: {error.strerror}", str(target), "set quarantine_file"
        ) from error
    if len(faults) > MAX_SHARE * total:
        raise UserError(
            f"{len(faults):,} of {total:,} images cannot be loaded, more than {MAX_SHARE:.0%}",
            f"{where} (all are listed in {target})",
            "get these files again, or take them out of the data set",
        )
    return f"{len(faults):,} of {total:,} images cannot be loaded and are left out: see {target}"
