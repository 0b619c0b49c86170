"""Tickets, and what the timeline says about consoles."""

from __future__ import annotations

import enum
import hashlib
import re
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet
from django.utils import timezone

from vpspanel.accounts.models import ApiToken
from vpspanel.accounts.scopes import Scope, lacks_scope, may_change
from vpspanel.accounts.token_services import act_in
from vpspanel.consoles.models import Kind, ShareLink, Ticket, Way
from vpspanel.consoles.rights import CHECKS, guest_id, may_watch_as_staff, program_id
from vpspanel.errors import NotFound, Refused
from vpspanel.events.actor import Actor
from vpspanel.events.services import record_event
from vpspanel.servers.access import get_server
from vpspanel.servers.models import Server
from vpspanel.servers.states import RULES, Verb

TICKET_LIFE = timedelta(seconds=60)
TICKETS_IN_A_MINUTE = 30  # per user; a browser that reconnects needs one each time
KEPT = timedelta(hours=1)
_BYTES = 32
_FORM = re.compile(r"[A-Za-z0-9_-]{43}")  # so many bytes in URL-safe base64


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


@dataclass(frozen=True, slots=True)
class Pass:
    """What a ticket opens: by what right, whether to type as well, for which user or guest."""

    way: Way
    types: bool
    who: int


@dataclass(frozen=True, slots=True)
class Program:
    """What a program's ticket opens, and whether it may type."""

    token: ApiToken
    server_id: int
    types: bool


def issue_ticket(actor: Actor, server_id: int, kind: Kind, session_key: str) -> str:
    """The secret that opens this console once, within `TICKET_LIFE`, from the same session.

    Raises `NotFound`, or `Refused` if the server's state or the user's haste forbids it.
    """
    server = get_server(actor, server_id, Verb.CONSOLE)
    refuse_unless_open(server)
    return _issue(actor, server, kind, Way.MEMBER, session_key)


def issue_staff_ticket(actor: Actor, server_id: int, session_key: str) -> str:
    """The same for staff, who may watch any serial console. Raises `NotFound`, `Refused`."""
    pair = (actor.user.pk if actor.user is not None else 0, server_id)
    if pair not in may_watch_as_staff({pair}):
        raise NotFound("server")
    server = Server.objects.get(pk=server_id)
    return _issue(actor, server, Kind.SERIAL, Way.STAFF, session_key)


def issue_link_ticket(link: ShareLink, session_key: str) -> str:
    """The same for a guest by a link, which must be valid. Raises `Refused`."""
    if not session_key:
        raise Refused("forbidden", "Open the link again.")
    recent = Ticket.objects.filter(link=link)
    return _make_ticket(
        recent, session_key, link=link, server=link.server, kind=link.kind, way=Way.LINK
    )


def issue_program_ticket(actor: Actor, server_id: int) -> str:
    """The secret that opens the server's screen once for whoever has it, within `TICKET_LIFE`.

    For programs: it needs no session, and what it opened ends with the token.
    Raises `NotFound`, `Refused`.
    """
    server = get_server(actor, server_id, Verb.CONSOLE)
    refuse_unless_open(server)
    if actor.token is None:
        raise Refused("forbidden", "Such consoles are for programs with an API token.")
    if not may_change(actor.token, Scope.CONSOLE):  # a reader may look, but this one types
        raise lacks_scope(Scope.CONSOLE)
    theirs = Ticket.objects.filter(token=actor.token)
    return _make_ticket(theirs, "", token=actor.token, server=server, kind=Kind.VNC, way=Way.TOKEN)


def redeem_program_ticket(secret: str) -> Program | None:
    """Use such a ticket up: what it opens, or None if it opens nothing now."""
    if not _FORM.fullmatch(secret):  # anybody may ask: what is no ticket costs no query
        return None
    now = timezone.now()
    found = Ticket.objects.filter(
        digest=digest(secret), way=Way.TOKEN, kind=Kind.VNC, used=None, expires__gt=now
    )
    if found.update(used=now) != 1:
        return None
    ticket = Ticket.objects.select_related("token", "server").get(digest=digest(secret))
    if ticket.token is None:
        return None
    pair = (program_id(ticket.token.pk), ticket.server_id)
    types = CHECKS[Way.TOKEN].rights({pair}).get(pair)
    if types is None:
        return None
    act_in(ticket.token, ticket.server.project_id)
    return Program(ticket.token, ticket.server_id, types)


def _issue(actor: Actor, server: Server, kind: Kind, way: Way, session_key: str) -> str:
    if actor.user is None or not session_key:
        raise Refused("forbidden", "Consoles are for people who are signed in.")
    theirs = Ticket.objects.filter(user=actor.user)
    return _make_ticket(theirs, session_key, user=actor.user, server=server, kind=kind, way=way)


def _make_ticket(theirs: QuerySet[Ticket], session_key: str, **facts: Any) -> str:
    """The secret of a new ticket, if not too many of `theirs` are new."""
    now = timezone.now()
    Ticket.objects.filter(expires__lt=now - KEPT).delete()
    if theirs.filter(created__gt=now - timedelta(minutes=1)).count() >= TICKETS_IN_A_MINUTE:
        raise Refused("rate_limit_exceeded", "Too many consoles in one minute. Please wait.")
    secret = secrets.token_urlsafe(_BYTES)
    Ticket.objects.create(
        digest=digest(secret),
        session_digest=digest(session_key),
        expires=now + TICKET_LIFE,
        **facts,
    )
    return secret


def redeem_ticket(
    secret: str, *, user_id: int, server_id: int, kind: Kind, session_key: str
) -> Pass | None:
    """Use the ticket up. None if it does not open this console for this session now.

    One conditional UPDATE: of two that come at once, one wins.
    """
    now = timezone.now()
    found = Ticket.objects.filter(
        Q(user_id=user_id) | Q(way=Way.LINK),
        digest=digest(secret),
        session_digest=digest(session_key),
        server_id=server_id,
        kind=kind,
        used=None,
        expires__gt=now,
    )
    if found.update(used=now) != 1:
        return None
    ticket = Ticket.objects.get(digest=digest(secret))
    way = Way(ticket.way)
    who = guest_id(ticket.link_id) if ticket.link_id is not None else user_id
    types = CHECKS[way].rights({(who, server_id)}).get((who, server_id))
    return None if types is None else Pass(way, types, who)


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


def refuse_unless_open(server: Server) -> None:
    """Raise what says why a member sees no console of it now."""
    if server.lifecycle not in RULES[Verb.CONSOLE].lifecycles:
        raise NotFound("server")
    if server.is_suspended:
        raise Refused("forbidden", "It is suspended. Please contact support.")
