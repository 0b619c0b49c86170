"""What is sent: the event, in the envelope of Standard Webhooks. Pure."""

from __future__ import annotations

import json
from datetime import UTC
from typing import Any, TypedDict

from vpspanel.events.models import Event


class Subject(TypedDict):
    """What something happened to."""

    type: str
    id: int


class EventShape(TypedDict):
    """An event."""

    id: int
    kind: str
    message: str
    at: str
    resource: Subject
    project: int | None
    action: int | None
    actor: str
    via: str
    data: dict[str, Any]


class Message(TypedDict):
    """The body: what kind, when, and the event itself."""

    type: str
    timestamp: str
    data: EventShape


def message_id(event_id: int, webhook_id: int) -> str:
    """The same at each try, so that a receiver can drop what it has already."""
    return f"msg_{webhook_id}_{event_id}"


def event_shape(event: Event) -> EventShape:
    """The event for programs. Times are RFC 3339 in UTC, to the millisecond."""
    return EventShape(
        id=event.pk,
        kind=event.kind,
        message=event.message,
        at=event.at.astimezone(UTC).isoformat(timespec="milliseconds"),
        resource=Subject(type=event.resource_type, id=event.resource_id),
        project=event.project_id,
        action=event.action_id,
        actor=event.actor_name,
        via=event.via,
        data=event.data,
    )


def body_of(event: Event) -> bytes:
    """The bytes that are signed and sent; an event never changes, so neither do they."""
    shape = event_shape(event)
    message = Message(type=event.kind, timestamp=shape["at"], data=shape)
    return json.dumps(message, separators=(",", ":"), sort_keys=True).encode()


def wants(kinds: list[str], kind: str) -> bool:
    """Whether a webhook with these kinds (`server.started`, `server.*`; none: all) is told."""
    if not kinds:
        return True
    return any(
        kind == pattern or (pattern.endswith(".*") and kind.startswith(pattern[:-1]))
        for pattern in kinds
    )
