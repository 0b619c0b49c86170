"""Static files: sent under ASGI, and named so that a browser may keep them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from django.contrib.staticfiles import finders
from django.contrib.staticfiles.storage import StaticFilesStorage
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from whitenoise.middleware import WhiteNoiseMiddleware


class StaticFilesMiddleware(WhiteNoiseMiddleware):
    """WhiteNoise, with each file sent as one piece.

    A file object would be a synchronous stream, which Django under ASGI reads
    whole anyway and warns about at every request.
    """

    @staticmethod
    def serve(static_file: Any, request: HttpRequest) -> HttpResponseBase:
        """The file's answer with WhiteNoise's own headers (type, encoding, cache, ETag)."""
        found = static_file.get_response(request.method, request.META)
        body = b""
        if found.file is not None:
            with found.file as file:
                body = file.read()
        response = HttpResponse(body, status=int(found.status))
        del response["Content-Type"]
        for name, value in found.headers:
            response[name] = value
        return response


@cache
def _source(name: str) -> Path | None:
    """Where the file lies; None if there is none."""
    found = finders.find(name)
    return Path(found) if isinstance(found, str) else None


class VersionedStorage(StaticFilesStorage):
    """For use without collectstatic: the file's time stands in its URL.

    So a browser may keep each file for long and still sees an edit at once. It
    must: Chromium sometimes drops every icon of a page if it has to ask again
    for the sprite while parts of the page are being replaced.
    """

    def url(self, name: str | None) -> str:
        """The file's URL with its version, or without one if there is no such file."""
        plain = super().url(name)
        source = _source(name) if name else None
        return f"{plain}?v={source.stat().st_mtime_ns:x}" if source else plain
