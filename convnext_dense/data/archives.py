"""What every downloaded data set needs: checksums as a user writes them, archives, counted folders."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import file_digest


def parse_checksum(checksum: str) -> dict[str, Any]:
    """Return `sha256:…` as `{"sha256": "…"}`, the argument of `download`; `none` as `{}`."""
    if checksum == "none":
        return {}
    algorithm, _, digest = checksum.lower().partition(":")
    lengths = {"sha1": 40, "sha256": 64}
    if algorithm not in lengths or not re.fullmatch(f"[0-9a-f]{{{lengths[algorithm]}}}", digest):
        raise UserError(
            f"not a checksum: {checksum!r}",
            fix="write sha256: and 64 hexadecimal digits, sha1: and 40, or none",
        )
    return {algorithm: digest}


def own_archive(archive: Path, known: Mapping[str, str]) -> Path:
    """Check an archive that the user named: it is there, with the `known` digests by algorithm."""
    if not archive.is_file():
        raise UserError("the archive does not exist", str(archive), "check the path given to --from-archive")
    for algorithm, digest in known.items():
        if (found := file_digest(archive, algorithm)) != digest:
            raise UserError(
                f"the archive's {algorithm.upper()} is {found} instead of {digest}",
                str(archive),
                "download it again",
            )
    return archive


def stems(folder: Path, suffix: str) -> tuple[set[str], str | None]:
    """Return the names of a folder's files without their suffix, and the name of an empty one."""
    if not folder.is_dir():
        return set(), None
    with os.scandir(folder) as entries:
        sizes = {entry.name: entry.stat().st_size for entry in entries if entry.name.endswith(suffix)}
    empty = next((name for name, size in sizes.items() if size == 0), None)
    return {name.removesuffix(suffix) for name in sizes}, empty
