"""Which websocket goes where."""

from __future__ import annotations

from typing import Any

from django.urls import path, re_path

from vpspanel.consoles.embedded import embedded_screen, embedded_serial
from vpspanel.consoles.log import boot_log
from vpspanel.consoles.proxied import proxied_screen
from vpspanel.consoles.rights import may_hear
from vpspanel.consoles.serial import serial_console
from vpspanel.consoles.vnc import vnc_console
from vpspanel.events.consumers import LiveEvents
from vpspanel.events.origin import refuse

_nothing: Any = re_path("", refuse)  # type: ignore[arg-type]
_consoles: list[Any] = [
    path("ws/console/serial/<int:server_id>/", serial_console),  # type: ignore[arg-type]
    path("ws/console/log/<int:server_id>/", boot_log),  # type: ignore[arg-type]
    path("ws/console/vnc/<int:server_id>/", vnc_console),  # type: ignore[arg-type]
    path("ws/console/serial/embed/", embedded_serial),  # type: ignore[arg-type]
    path("ws/console/vnc/embed/", embedded_screen),  # type: ignore[arg-type]
]
console_urlpatterns: list[Any] = [*_consoles, _nothing]
# Only for the door of `consoleproxy`, which is the one server that can hand a screen over.
screen_urlpatterns: list[Any] = [
    path("ws/vnc/<int:server_id>/", proxied_screen),  # type: ignore[arg-type]
    _nothing,
]
websocket_urlpatterns: list[Any] = [
    path("ws/events/", LiveEvents(may_hear)),  # type: ignore[arg-type]
    *_consoles,
    _nothing,
]
