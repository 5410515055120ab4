"""COCO 2017 with instances: two archives of images, one of annotations, laid out as the configs read them.

Source: Lin et al., Microsoft COCO, ECCV 2014; https://cocodataset.org/#download.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..commands import command
from ..download import download
from ..errors import UserError
from .archives import own_archive, stems
from .unpack import open_zip, unpack

URL = "http://images.cocodataset.org"
ANNOTATIONS = ("instances_train2017.json", "instances_val2017.json")


@dataclass(frozen=True)
class Part:
    """One of the archives.

    Attributes:
        path: Its address below the publisher's.
        sha256: Its digest; empty if unknown.
        size: Its size in bytes; None if unknown.
        images: Number of images in its folder; None for the annotations.
    """

    path: str
    sha256: str
    size: int | None
    images: int | None

    @property
    def archive(self) -> str:
        """The archive's file name."""
        return self.path.rpartition("/")[2]

    @property
    def folder(self) -> str:
        """The archive's top folder, which is also its place in the data set."""
        return self.archive.removesuffix(".zip") if self.images is not None else "annotations"

    def flaws(self, root: Path) -> list[str]:
        """Return what is wrong with the unpacked folder, one phrase each; nothing for a whole one."""
        folder = root / self.folder
        if self.images is None:
            absent = [name for name in ANNOTATIONS if not _has_content(folder / name)]
            return [f"{self.folder}/{name} is missing or empty" for name in absent]
        names, empty = stems(folder, ".jpg")
        found = [f"{self.folder}/{empty} is empty"] if empty else []
        if len(names) != self.images:
            found.append(f"{self.folder} holds {len(names):,} .jpg files instead of {self.images:,}")
        return found


PARTS = (
    Part(
        "annotations/annotations_trainval2017.zip",
        "113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268",
        252_907_541,
        None,
    ),
    Part(
        "zips/val2017.zip",
        "4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05",
        815_585_330,
        5_000,
    ),
    Part(
        "zips/train2017.zip",
        "69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929",
        19_336_861_798,
        118_287,
    ),
)


def prepare_coco(
    root: str | Path = "data/coco",
    archives: Sequence[str | Path] = (),
    url: str = URL,
    *,
    parts: Sequence[Part] = PARTS,
) -> Path:
    """Bring COCO 2017 to `root/{train2017,val2017,annotations}`; a part that is whole is left alone.

    Args:
        root: The folder to download and unpack to. A download that broke off goes on where it stopped.
        archives: Archives that are there already, or folders that hold them, by the publisher's names; if
            there are any, nothing is downloaded.
        url: Address that the archives lie below (`zips/`, `annotations/`), for a mirror.
        parts: The archives and what is expected of them.

    Returns:
        `root`.

    Raises:
        UserError: A download failed, an archive is absent, damaged, unsafe or another one, or what was
            unpacked is not as published.
    """
    root = Path(root)
    absent = [part for part in parts if part.flaws(root)]
    if archives:
        places = {part: _find(part, [Path(path) for path in archives]) for part in absent}
    for part in absent:
        known = {"sha256": part.sha256} if part.sha256 else {}
        if archives:
            archive = own_archive(places[part], known)
        else:
            archive = download(f"{url}/{part.path}", root / part.archive, size=part.size, **known)
        with open_zip(archive) as opened:
            _check_archive(part, opened, archive)
            unpack(opened, archive, root, only=part.folder)
        if left := part.flaws(root):
            raise UserError(
                f"what was unpacked is not as published: {'; '.join(left)}",
                str(root / part.folder),
                "move this folder away and run the same command again",
            )
    return root


def missing_data_help(root: str | Path = "data/coco", parts: Sequence[Part] = PARTS) -> str:
    """Return what to tell a user whose COCO is missing: the command, and what is not there."""
    lines = [
        f"{command('prepare-data', 'coco', '--root', root)}   (downloads about 20 GB)",
        "or, with archives that you have: add --from-archive FOLDER",
    ]
    return "\n".join([*lines, *(flaw for part in parts for flaw in part.flaws(Path(root)))])


def _find(part: Part, places: Sequence[Path]) -> Path:
    candidates = [place / part.archive if place.is_dir() else place for place in places]
    for path in candidates:
        if path.name == part.archive and path.is_file():
            return path
    raise UserError(
        f"{part.archive} is not among the archives, and {part.folder} is not complete",
        ", ".join(map(str, places)),
        "name it, or its folder, after --from-archive; without --from-archive it is downloaded",
    )


def _check_archive(part: Part, opened: zipfile.ZipFile, archive: Path) -> None:
    """Refuse an archive with missing files before anything is unpacked."""
    names = opened.namelist()
    if part.images is None:
        absent = [name for name in ANNOTATIONS if f"{part.folder}/{name}" not in names]
        what = f"has no {' and no '.join(absent)}" if absent else ""
    else:
        image = re.compile(re.escape(part.folder) + r"/[^/]+\.jpg")
        number = sum(bool(image.fullmatch(name)) for name in names)
        what = f"has {number:,} images in {part.folder} instead of {part.images:,}"
        what = "" if number == part.images else what
    if what:
        raise UserError(
            f"the archive {what}",
            str(archive),
            f"get {part.archive} as it was published: {URL}/{part.path}",
        )


def _has_content(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0
