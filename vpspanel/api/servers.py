"""Servers: the list, and each of them."""

from __future__ import annotations

from rest_framework.request import Request
from rest_framework.response import Response

from vpspanel.api.listing import choices, named, ordered, page_of
from vpspanel.api.selecting import selected
from vpspanel.api.shapes.servers import server_shape, server_shapes
from vpspanel.api.view import ApiView
from vpspanel.errors import NotFound
from vpspanel.events.actor import Actor
from vpspanel.servers.access import visible_servers
from vpspanel.servers.models import Lifecycle
from vpspanel.servers.reading import ServerRow, list_servers, server_row
from vpspanel.servers.states import Status
from vpspanel.servers.status_query import with_word

COLUMNS = {"id": "id", "name": "name", "created": "created"}
WORDS = sorted({status.api for status in Status})


class Servers(ApiView):
    """The servers of the project."""

    def get(self, request: Request) -> Response:
        """A page of them."""
        rows = selected(request, named(request, visible_servers(self.actor)))
        if words := choices(request, "status", WORDS):
            rows = with_word(rows, words)
        rows = ordered(request, rows, COLUMNS)
        return page_of(
            request, "servers", rows, lambda page: server_shapes(list_servers(self.actor, page))
        )


class OneServer(ApiView):
    """A server of the project."""

    def get(self, request: Request, pk: int) -> Response:
        """It."""
        return Response({"server": server_shape(existing(self.actor, pk))})


def existing(actor: Actor, server_id: int) -> ServerRow:
    """The server with its state. Raises `NotFound`, also for one that has been deleted."""
    row = server_row(actor, server_id)
    if row.server.lifecycle == Lifecycle.DELETED:
        raise NotFound("server")
    return row
