"""A web server on loopback that behaves as badly as a test asks for."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Site:
    """What the server offers, how it fails, and which requests it got."""

    content: bytes = b""
    files: dict[str, bytes] = field(default_factory=dict)  # by path; `content` is at every other path
    status: int = 200
    ranges: bool = True
    etag: str | None = '"v1"'
    break_after: list[int] = field(default_factory=list)  # bytes sent before each broken connection, in order
    fail_first: int = 0  # so many answers of 503 first
    requested: list[str | None] = field(default_factory=list)  # the Range header of each request
    base: str = ""
    url: str = ""


@contextmanager
def serve(site: Site) -> Iterator[Site]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            _answer(self, site)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    site.base = f"http://127.0.0.1:{server.server_port}"
    site.url = f"{site.base}/file.bin"
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()


def _answer(handler: BaseHTTPRequestHandler, site: Site) -> None:
    asked = handler.headers.get("Range")
    site.requested.append(asked)
    if site.fail_first:
        site.fail_first -= 1
        handler.send_error(503)
        return
    if site.status != 200:
        handler.send_error(site.status)
        return
    content = site.files.get(handler.path, site.content)
    total, start = len(content), 0
    condition = handler.headers.get("If-Range")
    if asked and site.ranges and (condition is None or condition == site.etag):
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
        if start >= total:
            handler.send_response(416)
            handler.send_header("Content-Range", f"bytes */{total}")
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
    else:
        handler.send_response(200)
    handler.send_header("Content-Length", str(total - start))
    if site.etag:
        handler.send_header("ETag", site.etag)
    handler.end_headers()
    body = content[start:]
    handler.wfile.write(body[: site.break_after.pop(0)] if site.break_after else body)
