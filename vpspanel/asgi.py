"""The ASGI applications: pages through Django, websockets through Channels.

A page's request may be only so large. A websocket passes the origin check and
the session first, so that its endpoint knows who asks.
"""

from __future__ import annotations

import os
from typing import Any

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "vpspanel.settings")
pages = get_asgi_application()  # loads the apps: the routes below need them

from vpspanel.body_limit import BodyLimit  # noqa: E402
from vpspanel.consoles.direct import DIRECT_PATH, program_screen  # noqa: E402
from vpspanel.events.origin import Receive, SameOriginOnly, Scope, Send  # noqa: E402
from vpspanel.routing import (  # noqa: E402
    console_urlpatterns,
    screen_urlpatterns,
    websocket_urlpatterns,
)
from vpspanel.sub_path import SubPath  # noqa: E402


def websockets(routes: list[Any]) -> SubPath:
    """The endpoints of `routes`, behind what every websocket goes through."""
    known = SameOriginOnly(AuthMiddlewareStack(URLRouter(routes)))

    async def chosen(scope: Scope, receive: Receive, send: Send) -> None:
        # What opens this one is in its address: no cookie counts there, so no page can abuse one.
        app = program_screen if scope["path"] == DIRECT_PATH else known
        await app(scope, receive, send)

    return SubPath(chosen, settings.FORCE_SCRIPT_NAME)


async def health_only(scope: Scope, receive: Receive, send: Send) -> None:
    """Says whether this process is well; of all other pages, that they are not here."""
    if scope["path"] == "/healthz":
        await pages(scope, receive, send)  # type: ignore[arg-type]
        return
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 404, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


application = ProtocolTypeRouter(
    {
        "http": BodyLimit(pages, settings.DATA_UPLOAD_MAX_MEMORY_SIZE),  # type: ignore[arg-type]
        "websocket": websockets(websocket_urlpatterns),
    }
)
# For a process of their own: a new version of the pages then cuts no console.
consoles = ProtocolTypeRouter({"http": health_only, "websocket": websockets(console_urlpatterns)})
screens = websockets(screen_urlpatterns)
