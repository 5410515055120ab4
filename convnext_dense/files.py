"""Small helpers for files that several processes use, or that must be whole or absent."""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let one process at a time work on `path`, by a lock file beside it that is gone afterwards."""
    from filelock import FileLock

    lock = path.with_name(path.name + ".lock")
    with FileLock(lock):
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)  # a waiting process notices and makes a new one


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is never half there: under another name first, then renamed."""
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_bytes(content)
    os.replace(unfinished, path)


def file_digest(path: Path, algorithm: str = "sha256") -> str:
    """Return the hexadecimal digest of a file's content."""
    digest = hashlib.new(algorithm)
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def typed_path(path: Path) -> str:
    """Return a path as it is typed in a shell here: relative if it lies below, and quoted if need be."""
    with suppress(ValueError):
        path = path.relative_to(Path.cwd())
    return shlex.quote(str(path))


def human_bytes(n: float) -> str:
    """Return a byte count as people read it: `967.4 MB` (decimal units)."""
    for unit in ("B", "kB", "MB"):
        if abs(n) < 1000:
            return f"{n:.0f} {unit}" if unit == "B" else f"{n:.1f} {unit}"
        n /= 1000
    return f"{n:.2f} GB"
