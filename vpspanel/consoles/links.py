"""Links that let somebody without an account watch one console for a while."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Any

from django.core.cache import cache
from django.db import transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from vpspanel.consoles.models import Kind, ShareLink
from vpspanel.consoles.rights import TYPE_ROLE, valid_links
from vpspanel.consoles.services import digest, refuse_unless_open
from vpspanel.errors import NotFound, Refused
from vpspanel.events.actor import Actor
from vpspanel.events.services import record_event
from vpspanel.servers.access import get_server, includes, role_of
from vpspanel.servers.models import Server
from vpspanel.servers.states import Verb

LIVES = {
    "15m": timedelta(minutes=15),
    "1h": timedelta(hours=1),
    "24h": timedelta(hours=24),
}
SHARED = (Kind.SERIAL, Kind.VNC)
MOST = 10  # valid ones of each server
TRIES, TRIES_SECONDS = 20, 600  # wrong secrets from one address
KEPT = timedelta(days=7)


@transaction.atomic
def create_link(actor: Actor, server_id: int, kind: str, life: str) -> str:
    """The secret of a new link, which nobody can read again. Raises `NotFound`, `Refused`."""
    server = _need_types(actor, server_id)
    if kind not in SHARED or life not in LIVES:
        raise Refused("invalid_input", "There is no such console, or no such time.")
    refuse_unless_open(server)
    now = timezone.now()
    ShareLink.objects.filter(expires__lt=now - KEPT).delete()
    if _valid(server).count() >= MOST:
        raise Refused("limit_reached", f"There are {MOST} links already. Revoke one first.")
    secret = secrets.token_urlsafe(32)
    link = ShareLink.objects.create(
        digest=digest(secret),
        server=server,
        kind=kind,
        created_by=actor.user,
        created_by_name=actor.name,
        expires=now + LIVES[life],
    )
    words = f"{actor.name} made a link to watch the {Kind(kind).label}"
    _record("created", words, actor, link, expires=link.expires.isoformat())
    return secret


def links_of(actor: Actor, server_id: int) -> QuerySet[ShareLink]:
    """Those that are valid now. Raises `NotFound`, `Refused`."""
    return _valid(_need_types(actor, server_id)).order_by("pk")


@transaction.atomic
def revoke_link(actor: Actor, server_id: int, link_id: int) -> None:
    """Nobody gets in by it any more, and who is in is put out. Raises `NotFound`, `Refused`."""
    server = _need_types(actor, server_id)
    link = ShareLink.objects.filter(server=server, pk=link_id).first()
    if link is None:
        raise NotFound("link")
    if ShareLink.objects.filter(pk=link.pk, revoked=None).update(revoked=timezone.now()):
        words = f"{actor.name} revoked a link to the {Kind(link.kind).label}"
        _record("revoked", words, actor, link)


def enter_link(secret: str, address: str) -> ShareLink:
    """The link with this secret. Raises `NotFound`, and `Refused` after too many wrong ones."""
    tries = f"console-link:{address}"
    if cache.get(tries, 0) >= TRIES:
        raise Refused("rate_limit_exceeded", "Too many tries. Please wait some minutes.")
    link = ShareLink.objects.filter(digest=digest(secret)).select_related("server__host").first()
    if link is None or link.pk not in valid_links({link.pk}):
        cache.add(tries, 0, TRIES_SECONDS)
        cache.incr(tries)
        raise NotFound("link")
    ShareLink.objects.filter(pk=link.pk).update(last_used=timezone.now(), uses=F("uses") + 1)
    return link


def _need_types(actor: Actor, server_id: int) -> Server:
    """The server, if the actor may type at its consoles."""
    server = get_server(actor, server_id, Verb.CONSOLE)
    role = role_of(actor, server.project_id)
    if role is None or not includes(role, TYPE_ROLE):
        raise Refused("forbidden", f"This needs the role {TYPE_ROLE.label}.")
    return server


def _valid(server: Server) -> QuerySet[ShareLink]:
    return ShareLink.objects.filter(server=server, revoked=None, expires__gt=timezone.now())


def _record(what: str, words: str, actor: Actor, link: ShareLink, **data: Any) -> None:
    record_event(
        f"console.link_{what}",
        words,
        resource=("server", link.server_id),
        actor=actor,
        project_id=link.server.project_id,
        link=link.pk,
        **data,
    )
