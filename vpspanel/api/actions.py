"""Actions: what clients poll until it ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

from django.db import connection
from django.db.models import Q, QuerySet
from rest_framework.request import Request
from rest_framework.response import Response

from vpspanel.actions.command import registry
from vpspanel.actions.models import FINAL_STATES, Action
from vpspanel.api.describing import answers, lists
from vpspanel.api.listing import choices, ids, number, ordered, page_of
from vpspanel.api.shapes.actions import PRIMARY_IP, STATES, ActionShape, action_shape
from vpspanel.api.view import ApiView
from vpspanel.errors import NotFound, Refused
from vpspanel.events.actor import Actor
from vpspanel.servers.access import get_server, visible_actions
from vpspanel.servers.addresses import get_primary_ip
from vpspanel.servers.images import get_image
from vpspanel.servers.states import Verb

COLUMNS = {
    "id": "id",
    "command": "command",
    "status": "state",
    "progress": "progress",
    "started": "started",
    "finished": "finished",
}
LONGEST_WAIT = 60  # seconds
LOOK_EVERY = 0.5
# Each waiting request holds a thread. Whoever comes when all are taken is answered at once.
_seats = threading.BoundedSemaphore(32)


class Actions(ApiView):
    """Actions by their ids. Polling costs nothing of the budget: waiting politely must not."""

    counted = False

    @lists(
        "Get several actions",
        "actions",
        ActionShape,
        sort=COLUMNS,
        filters={"id": (), "status": STATES},
        needed=["id"],
    )
    def get(self, request: Request) -> Response:
        """All of those that are asked for."""
        wanted = ids(request, "id")
        if not wanted:
            raise Refused("invalid_input", "Say which: id=1&id=2 …", field="id")
        return listed(request, told(self.actor).filter(pk__in=wanted))


class OneAction(ApiView):
    """An action, of whatever it is about; where a `kind` is given, of one such thing."""

    counted = False
    kind = ""

    @answers("Get an action; with `wait`, when it has ended", query=("wait",), action=ActionShape)
    def get(self, request: Request, action_id: int, pk: int | None = None) -> Response:
        """It; with `wait`, as soon as it has ended, but after so many seconds in any case."""
        rows = told(self.actor).filter(pk=action_id)
        if self.kind:
            rows = rows.filter(_about(self.kind, pk))
        seconds = number(request, "wait", 0) if request.query_params.get("wait") != "0" else 0
        action = _ended(rows, min(seconds, LONGEST_WAIT)) if seconds else rows.first()
        if action is None:
            raise NotFound("action")
        return Response({"action": action_shape(action)})


class ActionsOf(ApiView):
    """The actions of all things of one kind."""

    counted = False
    kind = ""

    @lists(
        "List actions of one kind of thing",
        "actions",
        ActionShape,
        sort=COLUMNS,
        filters={"id": (), "status": STATES},
    )
    def get(self, request: Request) -> Response:
        """A page of them."""
        return listed(request, told(self.actor).filter(_about(self.kind)))


class ServerActions(ApiView):
    """The actions of one server."""

    counted = False

    @lists(
        "List the actions of a server",
        "actions",
        ActionShape,
        sort=COLUMNS,
        filters={"id": (), "status": STATES},
    )
    def get(self, request: Request, pk: int) -> Response:
        """A page of them."""
        server = get_server(self.actor, pk)
        rows = told(self.actor).filter(resource_type="server", resource_id=server.pk)
        return listed(request, rows)


class ImageActions(ApiView):
    """The actions of one image of the project's own."""

    counted = False

    @lists(
        "List the actions of an image",
        "actions",
        ActionShape,
        sort=COLUMNS,
        filters={"id": (), "status": STATES},
    )
    def get(self, request: Request, pk: int) -> Response:
        """A page of them."""
        image = get_image(self.actor, pk)
        rows = told(self.actor)
        return listed(request, rows.filter(resource_type="image", resource_id=image.pk))


class PrimaryIPActions(ApiView):
    """The actions of one address."""

    counted = False

    @lists(
        "List the actions of an address",
        "actions",
        ActionShape,
        sort=COLUMNS,
        filters={"id": (), "status": STATES},
    )
    def get(self, request: Request, pk: int) -> Response:
        """A page of them."""
        ip = get_primary_ip(self.actor, pk)
        return listed(request, told(self.actor).filter(_about(PRIMARY_IP, ip.pk)))


def _about(kind: str, pk: int | None = None) -> Q:
    """Actions of things of that kind, or of one. A server's own may be about an address as well."""
    about = Q(resource_type=kind) if pk is None else Q(resource_type=kind, resource_id=pk)
    if kind != PRIMARY_IP:
        return about
    with_one = Q(command__in=(Verb.ASSIGN_PRIMARY_IP, Verb.UNASSIGN_PRIMARY_IP))
    return about | (with_one if pk is None else with_one & Q(args__primary_ip=pk))


def told(actor: Actor) -> QuerySet[Action]:
    """The actions that its program hears of: all but housekeeping."""
    quiet = [command.name for command in registry if command.quiet]
    return visible_actions(actor).exclude(command__in=quiet)


def listed(request: Request, rows: QuerySet[Action]) -> Response:
    """A page of actions, filtered and in order as asked."""
    if wanted := ids(request, "id"):
        rows = rows.filter(pk__in=wanted)
    if words := choices(request, "status", list(STATES)):
        states = [state for status, all_ in STATES.items() if status in words for state in all_]
        rows = rows.filter(state__in=states)
    return page_of(request, "actions", ordered(request, rows, COLUMNS), _shapes)


def _shapes(page: Iterable[Action]) -> list[ActionShape]:
    return [action_shape(action) for action in page]


def _ended(rows: QuerySet[Action], seconds: int) -> Action | None:
    """The action when it has ended, or as it is when the time is over."""
    until = time.monotonic() + seconds
    action = rows.first()
    if not _seats.acquire(blocking=False):
        return action
    try:
        while action is not None and action.state not in FINAL_STATES:
            pause = min(LOOK_EVERY, until - time.monotonic())
            if pause <= 0:
                break
            if not connection.in_atomic_block:
                connection.close()  # nobody else should lack it while this one sleeps
            time.sleep(pause)
            action = rows.first()
    finally:
        _seats.release()
    return action
