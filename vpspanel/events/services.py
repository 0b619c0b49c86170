"""Writing events."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db import transaction

from vpspanel.events.actor import SYSTEM, Actor
from vpspanel.events.bell import ring
from vpspanel.events.models import Event

AT_ONCE = 500  # events in one statement


@dataclass(frozen=True, slots=True)
class Happening:
    """One of several events that differ in this only."""

    message: str
    resource: tuple[str, int]
    project_id: int | None = None


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


def record_events(kind: str, happened: Iterable[Happening], *, actor: Actor = SYSTEM) -> None:
    """The same for many at once; each is shown to its customer."""
    data = {} if actor.token is None else {"token": actor.token.pk}
    Event.objects.bulk_create(
        [
            Event(
                kind=kind,
                message=one.message[:500],
                resource_type=one.resource[0],
                resource_id=one.resource[1],
                project_id=one.project_id,
                actor=actor.user,
                actor_name=actor.name,
                via=actor.via,
                ip=actor.ip,
                data=data,
            )
            for one in happened
        ],
        batch_size=AT_ONCE,
    )
    transaction.on_commit(ring_live, robust=True)


def ring_live() -> None:
    """Poke every web process of this machine."""
    ring("live")
