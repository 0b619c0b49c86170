"""The ASGI application: pages through Django, websockets through Channels.

A page's request may be only so large. A websocket passes the origin check and
the session first, so that its endpoint knows who asks.
"""

from __future__ import annotations

import os

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "vpspanel.settings")
pages = get_asgi_application()  # loads the apps: the routes below need them

from vpspanel.body_limit import BodyLimit  # noqa: E402
from vpspanel.events.origin import SameOriginOnly  # noqa: E402
from vpspanel.routing import websocket_urlpatterns  # noqa: E402

application = ProtocolTypeRouter(
    {
        "http": BodyLimit(pages, settings.DATA_UPLOAD_MAX_MEMORY_SIZE),  # type: ignore[arg-type]
        "websocket": SameOriginOnly(AuthMiddlewareStack(URLRouter(websocket_urlpatterns))),
    }
)
