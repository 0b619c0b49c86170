"""HTTP for large files, with the standard library: http and https only, and no surprises."""

from __future__ import annotations

import http.client
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPMessage
from typing import IO
from urllib.parse import urlsplit

from hosts.images.errors import ImageError, ImageErrorCode

USER_AGENT = "vpspanel-images/1"
#: Statuses that a later try may not see again.
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})


class PassingFault(Exception):
    """A fault of the line or the server that a new try may get past."""

    def __init__(self, code: ImageErrorCode, message: str) -> None:
        super().__init__(message)
        self.error = ImageError(code, message)


def check_url(url: str) -> str:
    """The url itself. Raises ImageError(BAD_URL) unless it is http or https with a host."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if parts.scheme not in ("http", "https") or not host:
        raise ImageError(ImageErrorCode.BAD_URL, f"not an http or https address: {url[:200]}")
    if parts.username or parts.password:
        raise ImageError(ImageErrorCode.BAD_URL, f"credentials in the address of {host}")
    return url


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http and https only, and never from https down to http."""

    max_redirections = 5

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        check_url(newurl)
        if req.full_url.startswith("https:") and newurl.startswith("http:"):
            raise ImageError(
                ImageErrorCode.BAD_URL, f"{req.host} redirects from https to plain http"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    # Not build_opener(): it would add handlers for file:, ftp: and data: as well.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(context=ssl.create_default_context()),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    return opener


@contextmanager
def get(
    url: str, *, timeout: float, headers: Mapping[str, str] | None = None
) -> Iterator[http.client.HTTPResponse]:
    """An answer to read from; `timeout` seconds hold for each wait, not for the whole.

    Raises `PassingFault` for what may pass, and ImageError for what will not:
    BAD_URL, or HTTP_ERROR with the status.
    """
    check_url(url)
    request = urllib.request.Request(url, headers={"User-Agent": USER_AGENT})  # noqa: S310
    request.add_header("Accept-Encoding", "identity")  # the checksum is of the file as it is
    for name, value in (headers or {}).items():
        request.add_header(name, value)
    host = request.host
    try:
        with _opener().open(request, timeout=timeout) as response:
            yield response
    except urllib.error.HTTPError as error:
        message = f"{host} answered {error.code} {error.reason}"
        if error.code in PASSING:
            raise PassingFault(ImageErrorCode.HTTP_ERROR, message) from error
        if error.code == 416:
            raise
        raise ImageError(ImageErrorCode.HTTP_ERROR, message) from error
    except TimeoutError as error:
        raise PassingFault(ImageErrorCode.TIMEOUT, f"{host} said nothing for {timeout:g} s") from (
            error
        )
    except urllib.error.URLError as error:
        code = ImageErrorCode.UNREACHABLE
        if isinstance(error.reason, TimeoutError):
            code = ImageErrorCode.TIMEOUT
        raise PassingFault(code, f"{host}: {error.reason}") from error
    except (http.client.HTTPException, ConnectionError, ssl.SSLError) as error:
        what = str(error) or type(error).__name__
        raise PassingFault(ImageErrorCode.UNREACHABLE, f"{host}: {what}") from error
