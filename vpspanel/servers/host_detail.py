"""What the page of one host shows, in a fixed number of queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.core.paginator import Page, Paginator

from hosts.models import Host
from hosts.models_fleet import Enrolment
from vpspanel.actions.models import OPEN_STATES, Action
from vpspanel.events.models import Event
from vpspanel.servers.fleet import FleetRow, fleet_rows
from vpspanel.servers.models import NO_SECRETS, Lifecycle, Server
from vpspanel.servers.services import facts_of
from vpspanel.servers.states import Status, shown_status

GUESTS_PER_PAGE = 25
LATEST = 20  # open actions and events


@dataclass(frozen=True, slots=True)
class Guest:
    """A server on the host."""

    server: Server
    status: Status
    action: Action | None


@dataclass(frozen=True, slots=True)
class HostDetail:
    """All of it."""

    row: FleetRow
    page: Page[Server]
    guests: Sequence[Guest]
    actions: Sequence[Action]
    events: Sequence[Event]
    enrolment: Enrolment | None


def host_detail(host: Host, *, page: str = "1", words: str = "") -> HostDetail:
    """The host, a page of its servers, what is being done on it and what happened to it."""
    (row,) = fleet_rows([host])
    servers = Server.objects.filter(host=host).exclude(lifecycle=Lifecycle.DELETED)
    if words:
        servers = servers.filter(name__icontains=words)
    servers = servers.select_related("project__account", "server_type", "host").defer(*NO_SECRETS)
    shown = Paginator(servers.order_by("name", "pk"), GUESTS_PER_PAGE).get_page(page)
    actions = Action.objects.filter(group=str(host.pk), state__in=OPEN_STATES)
    events = Event.objects.filter(resource_type="host", resource_id=host.pk)
    return HostDetail(
        row=row,
        page=shown,
        guests=_guests(list(shown.object_list)),
        actions=list(actions.order_by("pk")[:LATEST]),
        events=list(events.order_by("-pk")[:LATEST]),
        enrolment=Enrolment.objects.filter(host=host).first(),
    )


def _guests(servers: Sequence[Server]) -> list[Guest]:
    open_actions = {
        action.resource_id: action
        for action in Action.objects.filter(
            resource_type="server",
            resource_id__in=[server.pk for server in servers],
            state__in=OPEN_STATES,
        )
    }
    return [
        Guest(server, shown_status(facts_of(server, action)), action)
        for server in servers
        for action in [open_actions.get(server.pk)]
    ]
