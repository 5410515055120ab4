"""Zip archives of data sets: nothing leaves the folder, nothing is half written, a broken run goes on."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from ..errors import UserError
from ..files import human_bytes
from ..progress import track

_AGAIN = "download the archive again (delete it first), then run the same command"


def open_zip(archive: Path) -> zipfile.ZipFile:
    """Open an archive for reading, or raise UserError if it is no whole zip archive."""
    try:
        return zipfile.ZipFile(archive)
    except zipfile.BadZipFile as error:
        raise UserError(f"not a whole zip archive: {error}", str(archive), _AGAIN) from error
    except OSError as error:
        raise UserError(
            f"cannot read the archive: {error.strerror}", str(archive), "check its permissions"
        ) from error


def unpack(opened: zipfile.ZipFile, archive: Path, folder: Path, *, only: str) -> int:
    """Unpack the members below the archive's folder `only` into `folder`.

    Files that are there with the right size are kept, so that an interrupted run goes on where it stopped:
    every file is written beside its place, checked against the archive's CRC and then renamed.

    Args:
        opened: The archive.
        archive: Its path, for messages.
        folder: Where the members go.
        only: The top folder to unpack; the archive's other members stay in it.

    Returns:
        The number of files written.

    Raises:
        UserError: A member would be written outside `folder` (nothing is unpacked then), the archive is
            damaged, or the disk is full.
    """
    for member in opened.infolist():
        _refuse_unsafe(member, archive)
    members = [m for m in opened.infolist() if m.filename.startswith(f"{only}/") and not m.is_dir()]
    absent = [m for m in members if _size(folder / m.filename) != m.file_size]
    need = sum(m.file_size for m in absent)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        if need > free:
            raise _disk_full(folder, f"{human_bytes(need)} are needed, {human_bytes(free)} are free")
        with track(f"unpacking {archive.name}", len(members), done=len(members) - len(absent)) as advance:
            for member in absent:
                _extract(opened, member, archive, folder / member.filename)
                advance(1)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _disk_full(folder, "no space is left on the device") from error
        raise UserError(
            f"cannot unpack: {error.strerror or error}",
            str(error.filename or folder),
            "choose another folder with --root",
        ) from error
    return len(absent)


def _extract(opened: zipfile.ZipFile, member: zipfile.ZipInfo, archive: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(target.name + ".part")
    try:
        with opened.open(member) as source, open(unfinished, "wb") as file:
            shutil.copyfileobj(source, file)
        os.replace(unfinished, target)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise UserError(
            f"the archive is damaged at {member.filename}: {error}", str(archive), _AGAIN
        ) from error
    finally:
        unfinished.unlink(missing_ok=True)


def _refuse_unsafe(member: zipfile.ZipInfo, archive: Path) -> None:
    name = member.filename.replace("\\", "/")
    leaves = name.startswith("/") or re.match(r"[A-Za-z]:", name) or ".." in PurePosixPath(name).parts
    if leaves or stat.S_ISLNK(member.external_attr >> 16):
        raise UserError(
            f"the archive's member {member.filename!r} would be written outside the folder",
            str(archive),
            "do not use this archive; get it from its publisher",
        )


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def _disk_full(folder: Path, detail: str) -> UserError:
    return UserError(
        f"the disk is too full to unpack: {detail}",
        str(folder),
        "free some space and run the same command again (what is unpacked is kept), or choose another --root",
    )
