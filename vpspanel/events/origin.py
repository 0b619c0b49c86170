"""Who may open a websocket: only pages of this very site.

A browser sends its cookies along with a websocket that any page of the world
opens, and no CSRF token; the `Origin` header is the only thing that tells the
pages apart. Scheme, host and port must all be ours: a host name alone would
let in the plain-text twin of the site and every other port of the machine.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.http.request import split_domain_port, validate_host

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Origin = tuple[str, str, int]

PORTS = {"http": 80, "https": 443}
NOT_AN_ORIGIN = re.compile(r"[^\x21-\x7e]|[*@\\]")


class SameOriginOnly:
    """Refuses, with HTTP 403, a websocket that does not come from a page of this site.

    `scope["direct_send"]` is the server's own `send`, for those who send much.
    What an endpoint puts into `scope["later"]` is run when the middleware has
    returned: headers, session and six frames need not live as long as a socket.
    """

    def __init__(self, app: App):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if is_same_origin(scope):
            later: list[Callable[[], Awaitable[None]]] = []
            await self.app({**scope, "direct_send": send, "later": later}, receive, send)
            if later:
                scope["headers"] = []
            for work in later:
                await work()
        else:
            await refuse(scope, receive, send)


async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer the handshake with HTTP 403; also the endpoint of paths that do not exist."""
    await receive()
    await send({"type": "websocket.close", "code": 4403})


def is_same_origin(scope: Scope) -> bool:
    """Whether the one `Origin` of this handshake is the site's own or in CSRF_TRUSTED_ORIGINS.

    The site's own is what the `Host` header says, if ALLOWED_HOSTS knows it.
    Entries of CSRF_TRUSTED_ORIGINS with a wildcard are not considered.
    """
    theirs = parse_origin(_only_header(scope, b"origin"))
    if theirs is None:
        return False
    if theirs == _own_origin(scope):
        return True
    return any(theirs == parse_origin(entry) for entry in settings.CSRF_TRUSTED_ORIGINS)


def parse_origin(text: str) -> Origin | None:
    """Scheme, host and port of `scheme://host[:port]`; None for anything else, `null` included."""
    if NOT_AN_ORIGIN.search(text):
        return None
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return None
    default = PORTS.get(parts.scheme)
    if default is None or not parts.hostname or parts.path or parts.query or parts.fragment:
        return None
    return parts.scheme, parts.hostname, port or default


def _own_origin(scope: Scope) -> Origin | None:
    host = _only_header(scope, b"host")
    if not validate_host(split_domain_port(host)[0], settings.ALLOWED_HOSTS):
        return None
    return parse_origin(f"{_scheme(scope)}://{host}")


def _scheme(scope: Scope) -> str:
    """As Django decides it for pages: by the proxy's header if one is trusted."""
    if settings.SECURE_PROXY_SSL_HEADER:
        name, secure = settings.SECURE_PROXY_SSL_HEADER
        header = name.removeprefix("HTTP_").replace("_", "-").lower().encode()
        value = _only_header(scope, header)
        if value:
            return "https" if value.split(",")[0].strip() == secure else "http"
    return "https" if scope.get("scheme") in {"wss", "https"} else "http"


def _only_header(scope: Scope, name: bytes) -> str:
    """The header's value; "" if it is missing or there are several, which no browser sends."""
    values = [value for key, value in scope["headers"] if key.lower() == name]
    return values[0].decode("latin-1") if len(values) == 1 else ""
