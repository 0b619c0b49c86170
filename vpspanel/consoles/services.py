"""Tickets, and what the timeline says about consoles."""

from __future__ import annotations

import enum
import hashlib
import secrets
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from django.utils import timezone

from vpspanel.consoles.models import Kind, Ticket
from vpspanel.consoles.rights import may_watch
from vpspanel.errors import NotFound, Refused
from vpspanel.events.actor import Actor
from vpspanel.events.services import record_event
from vpspanel.servers.access import get_server
from vpspanel.servers.models import Server
from vpspanel.servers.states import RULES, Verb

TICKET_LIFE = timedelta(seconds=60)
TICKETS_IN_A_MINUTE = 30  # per user; a browser that reconnects needs one each time
KEPT = timedelta(hours=1)


class How(enum.StrEnum):
    """In what way somebody came to a console, in the words of the timeline."""

    OPENED = "opened"
    TOOK_OVER = "took over"
    WATCHES = "watches"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server's domain is."""

    uri: str
    uuid: UUID


def issue_ticket(actor: Actor, server_id: int, kind: Kind, session_key: str) -> str:
    """The secret that opens this console once, within `TICKET_LIFE`, from the same session.

    Raises `NotFound`, or `Refused` if the server's state or the user's haste forbids it.
    """
    server = get_server(actor, server_id, Verb.CONSOLE)
    if actor.user is None or not session_key:
        raise Refused("forbidden", "Consoles are for people who are signed in.")
    _refuse_unless_open(server)
    now = timezone.now()
    Ticket.objects.filter(expires__lt=now - KEPT).delete()
    recent = Ticket.objects.filter(user=actor.user, created__gt=now - timedelta(minutes=1))
    if recent.count() >= TICKETS_IN_A_MINUTE:
        raise Refused("rate_limit_exceeded", "Too many consoles in one minute. Please wait.")
    secret = secrets.token_urlsafe(32)
    Ticket.objects.create(
        digest=digest(secret),
        user=actor.user,
        session_digest=digest(session_key),
        server=server,
        kind=kind,
        expires=now + TICKET_LIFE,
    )
    return secret


def redeem_ticket(
    secret: str, *, user_id: int, server_id: int, kind: Kind, session_key: str
) -> bool | None:
    """Use the ticket up. None if it does not open this console for this session now;
    else whether its owner may also type.

    One conditional UPDATE: of two that come at once, one wins.
    """
    now = timezone.now()
    used = Ticket.objects.filter(
        digest=digest(secret),
        user_id=user_id,
        session_digest=digest(session_key),
        server_id=server_id,
        kind=kind,
        used=None,
        expires__gt=now,
    ).update(used=now)
    if used != 1:
        return None
    pair = (user_id, server_id)
    return may_watch({pair}).get(pair)


def digest(text: str) -> str:
    """SHA-256, in hex: enough for secrets of 256 random bits."""
    return hashlib.sha256(text.encode()).hexdigest()


def find_place(server_id: int) -> Place | None:
    """Where its domain is now; None while it has no host, or is gone."""
    row = (
        Server.objects.filter(pk=server_id, lifecycle__in=RULES[Verb.CONSOLE].lifecycles)
        .exclude(host=None)
        .values_list("host__uri", "uuid")
        .first()
    )
    return None if row is None else Place(*row)


def record_opened(actor: Actor, server_id: int, *, kind: Kind, how: How) -> None:
    """The console was connected."""
    record_event(
        "console.opened",
        f"{actor.name} {how} the {kind.label}",
        resource=("server", server_id),
        actor=actor,
        project_id=project_of(server_id),
        took_over=how is How.TOOK_OVER,
    )


def record_read(actor: Actor, server_id: int, *, kind: Kind) -> None:
    """What the server wrote was read."""
    record_event(
        "console.read",
        f"{actor.name} read the {kind.label}",
        resource=("server", server_id),
        actor=actor,
        project_id=project_of(server_id),
    )


def record_closed(actor: Actor, server_id: int, *, kind: Kind, seconds: int, reason: str) -> None:
    """The console was closed, so many seconds after it was first connected."""
    record_event(
        "console.closed",
        f"{actor.name} left the {kind.label}",
        resource=("server", server_id),
        actor=actor,
        project_id=project_of(server_id),
        seconds=seconds,
        reason=reason,
    )


def project_of(server_id: int) -> int:
    """Whose it is."""
    return Server.objects.values_list("project_id", flat=True).get(pk=server_id)


def _refuse_unless_open(server: Server) -> None:
    if server.lifecycle not in RULES[Verb.CONSOLE].lifecycles:
        raise NotFound("server")
    if server.is_suspended:
        raise Refused("forbidden", "It is suspended. Please contact support.")
