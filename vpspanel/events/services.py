"""Writing events."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from vpspanel.events.actor import SYSTEM, Actor
from vpspanel.events.bell import ring
from vpspanel.events.models import Event


def record_event(
    kind: str,
    message: str,
    *,
    resource: tuple[str, int],
    actor: Actor = SYSTEM,
    project_id: int | None = None,
    action_id: int | None = None,
    public: bool = True,
    **data: Any,
) -> Event:
    """Add an event to the transaction in hand; the live pages are poked when it commits.

    `data` must be JSON and must not hold secrets.
    """
    if actor.token is not None:
        data["token"] = actor.token.pk
    event = Event.objects.create(
        kind=kind,
        message=message[:500],
        resource_type=resource[0],
        resource_id=resource[1],
        project_id=project_id,
        action_id=action_id,
        actor=actor.user,
        actor_name=actor.name,
        via=actor.via,
        ip=actor.ip,
        public=public,
        data=data,
    )
    transaction.on_commit(ring_live, robust=True)
    return event


def ring_live() -> None:
    """Poke every web process of this machine."""
    ring("live")
