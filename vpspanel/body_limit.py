"""Requests with too large a body, refused before anything of it is kept.

Under ASGI Django writes the whole body to a temporary file before any
middleware or view is asked, and however long it is: a visitor without an
account could fill the disk.
"""

from __future__ import annotations

from uuid import uuid4

from vpspanel.events.origin import App, Message, Receive, Scope, Send

_FOR_PROGRAMS = (
    b'{"error":{"code":"payload_too_large","message":"This is more than the panel takes.",'
    b'"details":{}}}'
)


class TooBig(Exception):
    """More came than is taken."""


class BodyLimit:
    """Answers 413 and hangs up where a body has more than `limit` bytes, or says that it will."""

    def __init__(self, app: App, limit: int):
        self.app = app
        self.limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        taken = 0

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self.limit:
                raise TooBig
            return message

        try:
            if _announced(scope) > self.limit:
                raise TooBig
            await self.app(scope, counted, send)
        except TooBig:
            await _refuse(send, scope["path"])


def _announced(scope: Scope) -> int:
    """The body's length as the request gives it; 0 if it does not. Raises `TooBig` for nonsense."""
    try:
        return max(
            (int(value) for name, value in scope["headers"] if name == b"content-length"), default=0
        )
    except ValueError:
        raise TooBig from None


async def _refuse(send: Send, path: str) -> None:
    kind, body = b"text/plain", b"This is more than the panel takes.\n"
    if path.startswith("/api/"):
        kind, body = b"application/json", _FOR_PROGRAMS
    name = uuid4().hex.encode()  # Django, which names requests, is not reached
    headers = [(b"content-type", kind), (b"connection", b"close"), (b"x-correlation-id", name)]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": body})
