"""Console tickets of the API: a page with one console, for a browser that has no account here.

The secret stands behind the `#` of the page's address and opens it once,
within a minute: the first browser binds it to a key that it makes up. From
then on only that key counts, for as long as the grant and its token last.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from vpspanel.consoles.models import Grant, Kind, Way
from vpspanel.consoles.rights import CHECKS, grant_id
from vpspanel.consoles.services import SECRET_FORM, TICKETS_IN_A_MINUTE, digest, need_program
from vpspanel.errors import NotFound, Refused
from vpspanel.events.actor import Actor
from vpspanel.events.services import record_event

REDEEM_WITHIN = timedelta(seconds=60)
SHORTEST, USUAL, LONGEST = 60, 3600, 4 * 3600  # seconds
KEPT = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Granted:
    """A new grant with its secret, which nobody can read again."""

    grant: Grant
    secret: str


@transaction.atomic
def create_grant(
    actor: Actor, server_id: int, kind: Kind, *, may_type: bool, seconds: int = USUAL
) -> Granted:
    """A console for one browser, for so many seconds. Raises `NotFound`, `Refused`."""
    server, token = need_program(actor, server_id)
    if kind not in (Kind.SERIAL, Kind.VNC):
        raise Refused("invalid_input", "There is no such console.", field="type")
    if not SHORTEST <= seconds <= LONGEST:
        sentence = f"A console lasts {SHORTEST} to {LONGEST} seconds."
        raise Refused("invalid_input", sentence, field="expires_in")
    now = timezone.now()
    Grant.objects.filter(expires__lt=now - KEPT).delete()
    new = Grant.objects.filter(token=token, created__gt=now - timedelta(minutes=1))
    if new.count() >= TICKETS_IN_A_MINUTE:
        raise Refused("rate_limit_exceeded", "Too many consoles in one minute. Please wait.")
    secret = secrets.token_urlsafe(32)
    grant = Grant.objects.create(
        digest=digest(secret),
        token=token,
        server=server,
        kind=kind,
        may_type=may_type,
        redeem_until=now + REDEEM_WITHIN,
        expires=now + timedelta(seconds=seconds),
    )
    verb = "use" if may_type else "watch"
    record_event(
        "console.ticket_created",
        f"{actor.name} made a page to {verb} the {kind.label}",
        resource=("server", server.pk),
        project_id=server.project_id,
        actor=actor,
        expires=grant.expires.isoformat(),
    )
    return Granted(grant, secret)


def enter_grant(secret: str, key: str) -> Grant:
    """The grant with this secret, for the browser with this key; the first one binds it.

    Raises `NotFound` for anybody else, and once it has ended.
    """
    if not SECRET_FORM.fullmatch(secret) or not SECRET_FORM.fullmatch(key):
        raise NotFound("console")
    now, mine = timezone.now(), digest(key)
    grants = Grant.objects.filter(digest=digest(secret), expires__gt=now)
    grants.filter(key_digest="", redeem_until__gt=now).update(key_digest=mine)
    grant = grants.filter(key_digest=mine).select_related("server").first()
    if grant is None:
        raise NotFound("console")
    pair = (grant_id(grant.pk), grant.server_id)
    if pair not in CHECKS[Way.GRANT].rights({pair}):
        raise NotFound("console")
    return grant
