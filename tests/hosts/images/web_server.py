"""A web server on loopback that behaves as badly as a test wants."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Site:
    """What the server serves and how; and what it was asked."""

    files: dict[str, bytes] = field(default_factory=dict)
    statuses: dict[str, list[int]] = field(default_factory=dict)  # answered first, one by one
    redirects: dict[str, str] = field(default_factory=dict)
    cut_after: list[int] = field(default_factory=list)  # bytes, for the next answers
    etag: str | None = '"v1"'
    ranges: bool = True
    with_length: bool = True
    drip: float = 0.0  # seconds between single bytes
    asked: list[tuple[str, str | None]] = field(default_factory=list)  # path, Range
    url: str = ""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    site: Site


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        site = self.server.site
        wanted = self.headers.get("Range")
        site.asked.append((self.path, wanted))
        if site.statuses.get(self.path):
            self.send_error(site.statuses[self.path].pop(0))
        elif self.path in site.redirects:
            self.send_response(302)
            self.send_header("Location", site.redirects[self.path])
            self.end_headers()
        elif self.path not in site.files:
            self.send_error(404)
        else:
            self.send_file(site, site.files[self.path], wanted)

    def send_file(self, site: Site, content: bytes, wanted: str | None) -> None:
        start = 0
        if wanted and site.ranges and self.headers.get("If-Range") == site.etag:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
        if start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if site.etag:
            self.send_header("ETag", site.etag)
        if site.with_length:
            self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        body = content[start:]
        if self.path.endswith("SUMS"):
            self.wfile.write(body)
            return
        if site.cut_after:
            body = body[: site.cut_after.pop(0)]
        self.send_body(body, site.drip)

    def send_body(self, body: bytes, drip: float) -> None:
        step = 1 if drip else max(1, len(body))
        with contextlib.suppress(ConnectionError):
            for position in range(0, len(body), step):
                self.wfile.write(body[position : position + step])
                time.sleep(drip)

    def log_message(self, *args: object) -> None:
        """Silent: pytest shows enough."""


@contextlib.contextmanager
def serving(site: Site) -> Iterator[Site]:
    server = _Server(("127.0.0.1", 0), _Handler)
    server.site = site
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    site.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
