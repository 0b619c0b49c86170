"""Webhooks and what was sent to them."""

from __future__ import annotations

from typing import TypedDict

from vpspanel.api.shapes.plain import moment, moment_or_none
from vpspanel.webhooks.message import message_id
from vpspanel.webhooks.models import Delivery, DeliveryState, Webhook


class WebhookShape(TypedDict):
    """An address that is told of events. Its secret is not shown again."""

    id: int
    name: str
    url: str
    kinds: list[str]
    active: bool
    ended_reason: str | None
    failing_since: str | None
    created: str


class DeliveryShape(TypedDict):
    """One message: where it is, and what the last try brought."""

    id: int
    message_id: str
    event: int
    kind: str
    status: str
    tries: int
    next_try: str | None
    last_try: str | None
    response_status: int | None
    response: str | None
    error: str | None
    took_ms: int | None
    created: str


def webhook_shape(webhook: Webhook) -> WebhookShape:
    """A webhook."""
    return WebhookShape(
        id=webhook.pk,
        name=webhook.name,
        url=webhook.url,
        kinds=webhook.kinds,
        active=webhook.active,
        ended_reason=webhook.ended_reason or None,
        failing_since=moment_or_none(webhook.failing_since),
        created=moment(webhook.created),
    )


def delivery_shape(delivery: Delivery) -> DeliveryShape:
    """A delivery, with its event at hand."""
    waiting = delivery.state == DeliveryState.QUEUED
    return DeliveryShape(
        id=delivery.pk,
        message_id=message_id(delivery.event_id, delivery.webhook_id),
        event=delivery.event_id,
        kind=delivery.event.kind,
        status=delivery.state,
        tries=delivery.tries,
        next_try=moment(delivery.due) if waiting else None,
        last_try=moment_or_none(delivery.last_at),
        response_status=delivery.last_status,
        response=delivery.last_answer or None,
        error=delivery.last_error or None,
        took_ms=delivery.last_took_ms,
        created=moment(delivery.created),
    )
