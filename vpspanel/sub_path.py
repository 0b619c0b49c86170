"""Websockets of a panel under a path such as `/panel/`; for pages Django does it itself."""

from __future__ import annotations

from vpspanel.events.origin import App, Receive, Scope, Send


class SubPath:
    """Hands the rest of the path on; what is not under `prefix` goes on as it is.

    So it does not matter whether the proxy in front cuts the prefix off.
    """

    def __init__(self, app: App, prefix: str | None):
        self._app = app
        self._prefix = prefix or ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        if self._prefix and path.startswith(f"{self._prefix}/"):
            scope = {**scope, "path": path.removeprefix(self._prefix)}
        await self._app(scope, receive, send)
