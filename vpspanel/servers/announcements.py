"""Which announcements somebody sees, and putting one away."""

from __future__ import annotations

from django.db.models import Q, QuerySet
from django.utils import timezone

from vpspanel.errors import NotFound
from vpspanel.events.actor import Actor
from vpspanel.servers.access import visible_projects, visible_servers
from vpspanel.servers.models_announcement import Announcement, Dismissal

AT_ONCE = 5  # on one page


def current_announcements(actor: Actor) -> list[Announcement]:
    """What the actor has to be told now and has not put away, newest first. One query."""
    if actor.user is None:
        return []
    told = _meant_for(actor).exclude(dismissals__user=actor.user)
    return list(told.order_by("-begins", "-pk")[:AT_ONCE])


def dismiss(actor: Actor, announcement_id: int) -> None:
    """Show it to this person no more. Raises `NotFound` if it is not meant for them."""
    found = _meant_for(actor).filter(pk=announcement_id).first()
    if found is None or actor.user is None:
        raise NotFound("announcement")
    Dismissal.objects.get_or_create(announcement=found, user=actor.user)


def _meant_for(actor: Actor) -> QuerySet[Announcement]:
    """Those of this moment that concern the actor's projects and servers."""
    now = timezone.now()
    servers = visible_servers(actor).order_by()
    return Announcement.objects.filter(
        Q(ends__isnull=True) | Q(ends__gt=now),
        Q(location__isnull=True, host__isnull=True, account__isnull=True)
        | Q(location__in=servers.values("location_id"))
        | Q(host__in=servers.filter(host__isnull=False).values("host_id"))
        | Q(account__in=visible_projects(actor).order_by().values("account_id")),
        begins__lte=now,
    )
