"""Events as programs see them."""

from __future__ import annotations

from datetime import UTC
from typing import Any, TypedDict

from vpspanel.events.models import Event


class SubjectShape(TypedDict):
    """What something happened to."""

    type: str
    id: int


class EventShape(TypedDict):
    """Something that happened; it never changes."""

    id: int
    kind: str
    message: str
    at: str
    resource: SubjectShape
    project: int | None
    action: int | None
    actor: str
    via: str
    data: dict[str, Any]


def event_shape(event: Event) -> EventShape:
    """The event. The time is RFC 3339 in UTC, to the millisecond."""
    return EventShape(
        id=event.pk,
        kind=event.kind,
        message=event.message,
        at=event.at.astimezone(UTC).isoformat(timespec="milliseconds"),
        resource=SubjectShape(type=event.resource_type, id=event.resource_id),
        project=event.project_id,
        action=event.action_id,
        actor=event.actor_name,
        via=event.via,
        data=event.data,
    )
