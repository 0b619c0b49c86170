"""Servers: the list, and each of them."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from rest_framework.request import Request
from rest_framework.response import Response

from vpspanel.api.bodies import Body, Labels, Text, body_of
from vpspanel.api.describing import answers, lists
from vpspanel.api.dry_run import WouldBeShape, would_be
from vpspanel.api.listing import choices, named, ordered, page_of
from vpspanel.api.ordering import NewServer, order
from vpspanel.api.selecting import selected
from vpspanel.api.shapes.actions import ActionShape, action_shape
from vpspanel.api.shapes.servers import ServerShape, server_shape, server_shapes
from vpspanel.api.view import ApiView, PostView
from vpspanel.errors import NotFound
from vpspanel.events.actor import Actor
from vpspanel.servers import services
from vpspanel.servers.access import visible_servers
from vpspanel.servers.models import Lifecycle, Server
from vpspanel.servers.reading import ServerRow, list_servers, server_row
from vpspanel.servers.states import Status
from vpspanel.servers.status_query import with_word

COLUMNS = {"id": "id", "name": "name", "created": "created"}
WORDS = sorted({status.api for status in Status})


class ChangedServer(Body):
    """What is to change."""

    name = Text(max_length=253, required=False)
    labels = Labels(required=False)


class Servers(PostView):
    """The servers of the project."""

    @lists(
        "List servers",
        "servers",
        ServerShape,
        sort=COLUMNS,
        filters={"name": (), "label_selector": (), "status": WORDS},
    )
    def get(self, request: Request) -> Response:
        """A page of them."""
        rows = selected(request, named(request, visible_servers(self.actor)))
        if words := choices(request, "status", WORDS):
            rows = with_word(rows, words)
        return page_of(request, "servers", ordered(request, rows, COLUMNS), self._shapes)

    def _shapes(self, page: QuerySet[Server]) -> list[ServerShape]:
        """Their ids first: a page in the middle of a long list must not join what is before it."""
        pks = list(page.values_list("pk", flat=True))
        found = list_servers(self.actor, visible_servers(self.actor).filter(pk__in=pks))
        rows = sorted(found, key=lambda row: pks.index(row.server.pk))
        return server_shapes(rows, limited=bool(self.token.server_ids))

    @answers(
        "Order a server",
        status=201,
        body=NewServer,
        server=ServerShape,
        action=ActionShape,
        next_actions=list[ActionShape],
        root_password=str | None,
        also={200: {"dry_run": WouldBeShape}},
    )
    def create(self, request: Request, **ids: int) -> Response:
        """Order one. The root password, if one is made, is in this answer and in no other."""
        asked = body_of(request, NewServer)
        if asked["dry_run"]:
            return Response({"dry_run": would_be(self.actor, self.project, asked)})
        made = order(self.actor, self.project, asked)
        answer: dict[str, Any] = {
            "server": server_shape(existing(self.actor, made.server.pk)),
            "action": action_shape(made.action),
            "next_actions": [],
            "root_password": made.root_password,
        }
        return Response(answer, 201)


class OneServer(ApiView):
    """A server of the project."""

    @answers("Get a server", server=ServerShape)
    def get(self, request: Request, pk: int) -> Response:
        """It."""
        limited = bool(self.token.server_ids)
        return Response({"server": server_shape(existing(self.actor, pk), limited=limited)})

    @answers("Rename or label a server", body=ChangedServer, server=ServerShape)
    def put(self, request: Request, pk: int) -> Response:
        """Change its name or its labels."""
        existing(self.actor, pk)
        changes = body_of(request, ChangedServer)
        with transaction.atomic():
            if "name" in changes:
                services.rename(self.actor, pk, name=changes["name"])
            if "labels" in changes:
                services.change_labels(self.actor, pk, labels=changes["labels"])
        return self.get(request, pk)

    @answers("Delete a server", action=ActionShape)
    def delete(self, request: Request, pk: int) -> Response:
        """Destroy it; its addresses go back."""
        existing(self.actor, pk)
        return Response({"action": action_shape(services.delete(self.actor, pk))})


def existing(actor: Actor, server_id: int) -> ServerRow:
    """The server with its state. Raises `NotFound`, also for one that has been deleted."""
    row = server_row(actor, server_id)
    if row.server.lifecycle == Lifecycle.DELETED:
        raise NotFound("server")
    return row
