"""One file from the web to the disk: resumed when broken off, verified, and renamed into place at the end.

What has arrived is kept as `<name>.part`, so that an interrupted download, by a failing network or by
Ctrl-C, goes on where it stopped; `<name>.part.tag` holds the server's tag of that content, so that parts
of two different files are never joined. A lock lets several processes ask for the same file at once.
"""

from __future__ import annotations

import errno
import http.client
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from ._version import __version__
from .errors import UserError
from .files import file_digest, human_bytes, locked
from .progress import track

TIMEOUT_S = 30.0  #: without a byte for so long, the connection counts as broken
MAX_FAILURES = 3  #: attempts in a row that brought nothing new
WAIT_S = 1.0  #: before the second attempt; doubled for each further one
CHUNK = 1 << 20  #: bytes read at once
_TRY_AGAIN = {408, 425, 429, 500, 502, 503, 504}


@dataclass(frozen=True)
class _Wanted:
    """The file that is asked for: where it is, where it goes and how it is recognised."""

    url: str
    target: Path
    label: str
    size: int | None
    digest: tuple[str, str] | None  # (algorithm, hexadecimal)

    @property
    def part(self) -> Path:
        return self.target.with_name(self.target.name + ".part")

    @property
    def tag(self) -> Path:
        return self.target.with_name(self.target.name + ".part.tag")

    def flaw(self, path: Path) -> str | None:
        """Say what is wrong with the content of `path`; None if nothing is."""
        actual = path.stat().st_size
        if self.size is not None and actual != self.size:
            return f"its size is {actual} bytes instead of {self.size}"
        algorithm, expected = self.digest or ("", "")
        if algorithm and not (found := file_digest(path, algorithm)).startswith(expected):
            return f"its {algorithm.upper()} is {found} instead of {expected}"
        return None


class _Broken(Exception):
    """An attempt failed in a way that another one may not."""


def download(
    url: str,
    target: str | Path,
    *,
    sha256: str | None = None,
    sha1: str | None = None,
    size: int | None = None,
    label: str | None = None,
) -> Path:
    """Download `url` to the file `target` and verify it; a file that is there and right is kept.

    Args:
        url: An http or https address.
        target: The file to write; its folder is made.
        sha256: Expected SHA-256, hexadecimal; its first digits where the publisher gives no more.
        sha1: Expected SHA-1, for files whose publisher gives nothing better; `sha256` goes first.
        size: Expected size in bytes.
        label: The file's name in progress and messages; the target's name by default.

    Returns:
        `target`.

    Raises:
        UserError: The address is wrong or not reachable, the content is not the expected one, the disk is
            full, or another file is at `target`. What arrived so far stays as `<target>.part`.
    """
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc:
        raise UserError(
            f"not a web address: {url!r}", fix="give an address that begins with https:// or http://"
        )
    target = Path(target)
    digest = ("sha256", sha256.lower()) if sha256 else ("sha1", sha1.lower()) if sha1 else None
    wanted = _Wanted(url, target, label or target.name, size, digest)
    if _already_there(wanted):
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked(target):
            if not _already_there(wanted):  # another process may have brought it while this one waited
                _fetch_verified(wanted)
    except OSError as error:
        _disk_trouble(wanted, error)
    return target


def _already_there(wanted: _Wanted) -> bool:
    if wanted.target.is_dir():
        raise UserError("a folder stands in the file's place", str(wanted.target), "name another file")
    if not wanted.target.exists():
        return False
    if flaw := wanted.flaw(wanted.target):
        raise UserError(
            f"{wanted.target.name} is there already, but {flaw}",
            str(wanted.target),
            "move or delete it, then run the same command again to download it",
        )
    return True


def _fetch_verified(wanted: _Wanted) -> None:
    resumed = wanted.part.exists()
    _fetch(wanted)
    flaw = wanted.flaw(wanted.part)
    if flaw and resumed:  # the old part may be what is wrong: one fresh try
        _forget_part(wanted)
        _fetch(wanted)
        flaw = wanted.flaw(wanted.part)
    if flaw:
        _forget_part(wanted)
        raise UserError(
            f"the download of {wanted.label} is not the expected file: {flaw}",
            wanted.url,
            f"try again; if it stays so, get the right file elsewhere and place it at {wanted.target}",
        )
    os.replace(wanted.part, wanted.target)
    wanted.tag.unlink(missing_ok=True)


def _fetch(wanted: _Wanted) -> None:
    """Bring the part to its full length, in several attempts where needed."""
    failures = 0
    while True:
        before = _length(wanted.part)
        try:
            _attempt(wanted, before)
            return
        except _Broken as error:
            failures = 1 if _length(wanted.part) > before else failures + 1
            if failures >= MAX_FAILURES:
                _unreachable(wanted, str(error))
        time.sleep(WAIT_S * 2 ** (failures - 1))


def _attempt(wanted: _Wanted, offset: int) -> None:
    """Ask once for the bytes from `offset` on and append what comes.

    Raises:
        _Broken: The connection failed or ended early.
        UserError: The server's answer will not change by asking again.
    """
    if offset and offset == wanted.size:
        return  # complete, only not renamed
    headers = {"User-Agent": f"convnext-dense/{__version__}", "Accept-Encoding": "identity"}
    tag = wanted.tag.read_text() if wanted.tag.exists() else ""
    if offset and (tag or wanted.digest):  # with neither, the part may belong to another file
        headers["Range"] = f"bytes={offset}-"
        if tag:
            headers["If-Range"] = tag
    request = urllib.request.Request(wanted.url, headers=headers)
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        _refused(wanted, error, offset)
        return
    except (OSError, http.client.HTTPException) as error:
        raise _Broken(_reason(error)) from error
    with response:
        start, total = _extent(response, offset)
        if wanted.size is not None and total is not None and total != wanted.size:
            raise UserError(
                f"the server's {wanted.label} has {total} bytes instead of {wanted.size}",
                wanted.url,
                f"get the right file elsewhere and place it at {wanted.target}",
            )
        if start == 0:
            etag = response.headers.get("ETag", "")
            wanted.tag.write_text(etag if etag.startswith('"') else response.headers.get("Last-Modified", ""))
        _receive(wanted, response, start, total)


def _extent(response: http.client.HTTPResponse, offset: int) -> tuple[int, int | None]:
    """Return the position that the answer starts at, and the whole file's length in bytes if known."""
    if response.status == 206:
        match = re.match(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if match and int(match[1]) == offset:
            return offset, None if match[2] == "*" else int(match[2])
        raise _Broken("the server sent another range than the one asked for")
    length = response.headers.get("Content-Length")
    return 0, int(length) if length and length.isdigit() else None


def _receive(wanted: _Wanted, response: http.client.HTTPResponse, start: int, total: int | None) -> None:
    """Write the answer's bytes to the part, from `start` on."""
    need = 0 if total is None else total - start
    free = shutil.disk_usage(wanted.target.parent).free
    if need > free:
        _no_space(wanted, f"{human_bytes(need)} are needed, {human_bytes(free)} are free")
    length = start
    with (
        open(wanted.part, "ab" if start else "wb") as file,
        track(f"downloading {wanted.label}", total, done=start, in_bytes=True) as advance,
    ):
        while chunk := _read(response):
            file.write(chunk)
            length += len(chunk)
            advance(len(chunk))
        file.flush()
        os.fsync(file.fileno())
    if total is not None and length < total:
        raise _Broken(f"the connection ended after {human_bytes(length)} of {human_bytes(total)}")


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read1(CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise _Broken(_reason(error)) from error


def _refused(wanted: _Wanted, error: urllib.error.HTTPError, offset: int) -> None:
    """Deal with an HTTP error status: done, try again or give up."""
    if error.code == 416:  # nothing after offset: the part is whole, or longer than the file
        if error.headers.get("Content-Range", "") == f"bytes */{offset}":
            return
        _forget_part(wanted)
        raise _Broken("the kept part does not fit the server's file")
    if error.code in _TRY_AGAIN:
        raise _Broken(f"the server answered {error.code} {error.reason}")
    raise UserError(
        f"cannot download {wanted.label}: the server answered {error.code} {error.reason}",
        wanted.url,
        f"check the address, or get the file elsewhere and place it at {wanted.target}",
    )


def _unreachable(wanted: _Wanted, reason: str) -> NoReturn:
    kept = _length(wanted.part)
    again = f"to go on from {human_bytes(kept)}" if kept else "when the network works"
    raise UserError(
        f"cannot download {wanted.label}: {reason}",
        wanted.url,
        f"run the same command again {again}, or place the file at {wanted.target} by hand",
    )


def _disk_trouble(wanted: _Wanted, error: OSError) -> NoReturn:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        _no_space(wanted, "no space is left on the device")
    raise UserError(
        f"cannot write {wanted.label}: {error.strerror or error}",
        str(error.filename or wanted.target),
        "choose a folder that you may write to",
    ) from error


def _no_space(wanted: _Wanted, detail: str) -> NoReturn:
    raise UserError(
        f"the disk is too full for {wanted.label}: {detail}",
        str(wanted.target.parent),
        "free some space and run the same command again (what has arrived is kept), or choose another folder",
    )


def _reason(error: Exception) -> str:
    """Return an exception of the network as a phrase."""
    cause = getattr(error, "reason", None)
    error = cause if isinstance(cause, Exception) else error
    if isinstance(error, TimeoutError):
        return f"no answer within {TIMEOUT_S:.0f} s"
    return str(getattr(error, "strerror", None) or error or type(error).__name__)


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _forget_part(wanted: _Wanted) -> None:
    wanted.part.unlink(missing_ok=True)
    wanted.tag.unlink(missing_ok=True)
