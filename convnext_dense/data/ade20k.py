"""ADE20K as semantic segmentation uses it: the SceneParse150 release, `ADEChallengeData2016`.

The full ADE20K releases (`ADE20K_2016_07_26`, `ADE20K_2021_17_01`) have the same images under other names,
with thousands of classes in colour-coded `*_seg.png` files; they are recognised and refused.

Source: Zhou et al., Scene Parsing through ADE20K Dataset, CVPR 2017.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from ..commands import command
from ..download import download
from ..errors import UserError
from .archives import own_archive, parse_checksum, stems
from .unpack import open_zip, unpack

RELEASE = "ADEChallengeData2016"
URL = f"http://data.csail.mit.edu/places/ADEchallenge/{RELEASE}.zip"
CHECKSUM = "sha1:219e1696abb36c8ba3a3afe7fb2f4b4606a897c7"
#: Number of images, and of label maps, in each split.
COUNTS: Mapping[str, int] = {"training": 20210, "validation": 2000}
_KINDS = {"images": ".jpg", "annotations": ".png"}
_WRONG = re.compile(
    r"(^|/)(ADE20K_20\d\d_\d\d_\d\d|index_ade20k\.(pkl|mat)|images/ADE)(/|$)|_seg\.png$|_parts_\d\.png$"
)


def prepare_ade20k(
    root: str | Path = "data/ade",
    archive: str | Path | None = None,
    url: str = URL,
    *,
    checksum: str | None = None,
    counts: Mapping[str, int] = COUNTS,
) -> Path:
    """Bring ADE20K to `root/ADEChallengeData2016`; a tree that is complete is left alone.

    Args:
        root: The folder to download and unpack to; the release's own folder is understood as well.
        archive: An archive that is there already; without it, `url` is downloaded to `root` and kept.
        url: Address of the archive.
        checksum: `sha1:…` or `sha256:…` of the archive, or `none`; by default the known SHA-1 for the
            official address, and none for an archive of your own, whose members carry checksums anyway.
        counts: Number of images expected in each split.

    Returns:
        The release's folder.

    Raises:
        UserError: The download failed, the archive is damaged, unsafe or another release, or the tree that
            is there belongs to another release.
    """
    tree = _tree(root)
    if wrong := wrong_release(tree):
        raise _wrong_release(f"the folder holds {wrong}", tree, "move it away and run the same command again")
    if not flaws(tree, counts):
        return tree
    if archive is None:
        known = parse_checksum(checksum or (CHECKSUM if url == URL else "none"))
        archive = download(url, tree.parent / f"{RELEASE}.zip", **known)
    else:
        archive = own_archive(Path(archive), parse_checksum(checksum or "none"))
    with open_zip(archive) as opened:
        _check_archive(opened, archive, counts)
        unpack(opened, archive, tree.parent, only=RELEASE)
    if left := flaws(tree, counts):
        raise UserError(
            f"the unpacked tree is not as published: {'; '.join(left)}",
            str(tree),
            "move it away and try again",
        )
    return tree


def flaws(tree: Path, counts: Mapping[str, int] = COUNTS) -> list[str]:
    """Return what is wrong with a release's folder, one phrase each; nothing for a complete one.

    Every file is looked at for its name and for being empty, a few for their content: a matter of
    a second at most.
    """
    found = []
    for split, expected in counts.items():
        names = {}
        for kind, suffix in _KINDS.items():
            folder = tree / kind / split
            names[kind], empty = stems(folder, suffix)
            if len(names[kind]) != expected:
                found.append(
                    f"{kind}/{split} holds {len(names[kind]):,} {suffix} files instead of {expected:,}"
                )
            if empty:
                found.append(f"{kind}/{split}/{empty} is empty")
        unpaired = sorted(names["images"] ^ names["annotations"])
        if unpaired and len(names["images"]) == len(names["annotations"]):
            found.append(f"{split}: {unpaired[0]} and {len(unpaired) - 1} more have no partner")
        for stem in sorted(names["annotations"])[:3]:
            if not _is_label_map(tree / "annotations" / split / f"{stem}.png"):
                found.append(f"annotations/{split}/{stem}.png is not an 8-bit label map")
    return found


def wrong_release(folder: Path) -> str | None:
    """Name what shows that a folder holds a full ADE20K release; None if nothing does."""
    if not folder.is_dir():
        return None
    for depth_1 in sorted(folder.iterdir()):
        inner = sorted(depth_1.iterdir()) if depth_1.is_dir() and depth_1.name == "images" else []
        for path in (depth_1, *inner):
            relative = path.relative_to(folder).as_posix()
            if _WRONG.search(relative):
                return relative
    return None


def missing_data_help(root: str | Path = "data/ade", counts: Mapping[str, int] = COUNTS) -> str:
    """Return what to tell a user whose ADE20K is missing: the command, the expected tree, what is there."""
    tree = _tree(root)
    lines = [
        f"{command('prepare-data', 'ade20k', '--root', tree.parent)}   (downloads about 1 GB)",
        f"or, with an archive that you have: add --from-archive {RELEASE}.zip",
        "expected:",
        f"  {tree}/",
    ]
    for kind, suffix in _KINDS.items():
        for split, expected in counts.items():
            number = len(stems(tree / kind / split, suffix)[0])
            lines.append(f"    {f'{kind}/{split}/':<25} {expected:>6,} {suffix} files   (found: {number:,})")
    for folder in (tree, tree.parent):
        if wrong := wrong_release(folder):
            lines.append(f"{folder / wrong} is of a full ADE20K release, which is another data set")
            break
    return "\n".join(lines)


def _tree(root: str | Path) -> Path:
    root = Path(root)
    return root if root.name == RELEASE else root / RELEASE


def _is_label_map(path: Path) -> bool:
    """Return whether a PNG's header says one channel of 8 bits (grey values or a palette)."""
    with open(path, "rb") as file:
        header = file.read(26)
    return (
        len(header) == 26 and header[:8] == b"\x89PNG\r\n\x1a\n" and header[24] == 8 and header[25] in (0, 3)
    )


def _check_archive(opened: zipfile.ZipFile, archive: Path, counts: Mapping[str, int]) -> None:
    """Refuse an archive of another release or with missing files, before anything is unpacked."""
    names = [name for name in opened.namelist() if not name.startswith("__MACOSX/")]
    if wrong := next((name for name in names if _WRONG.search(name)), None):
        raise _wrong_release(
            f"the archive holds {wrong}",
            archive,
            f"get {RELEASE}.zip: leave out --from-archive to download it",
        )
    folders: dict[str, int] = {}
    for name in names:
        path = PurePosixPath(name)
        if path.suffix in _KINDS.values():
            folders[str(path.parent)] = folders.get(str(path.parent), 0) + 1
    for kind in _KINDS:
        for split, expected in counts.items():
            number = folders.get(f"{RELEASE}/{kind}/{split}", 0)
            if number != expected:
                raise UserError(
                    f"the archive has {number:,} files in {RELEASE}/{kind}/{split} instead of {expected:,}",
                    str(archive),
                    f"get {RELEASE}.zip as it was published: {URL}",
                )


def _wrong_release(what: str, where: Path, fix: str) -> UserError:
    return UserError(
        f"{what}: that is a full ADE20K release, not {RELEASE} with its 150 classes", str(where), fix
    )
