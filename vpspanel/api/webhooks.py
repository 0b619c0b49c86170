"""Webhooks of a project or of a whole reseller, and the log of what was sent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from vpspanel.api.auth import Whose
from vpspanel.api.bodies import Body, Nothing, Strict, Text, body_of
from vpspanel.api.describing import answers, lists
from vpspanel.api.listing import choices, named, ordered, page_of
from vpspanel.api.shapes.webhooks import (
    DeliveryShape,
    WebhookShape,
    delivery_shape,
    webhook_shape,
)
from vpspanel.api.view import ApiView, PostView
from vpspanel.errors import NotFound
from vpspanel.webhooks.models import Delivery, DeliveryState, Webhook
from vpspanel.webhooks.services import (
    MadeWebhook,
    Owner,
    create_webhook,
    delete_webhook,
    redeliver,
    rotate_secret,
    send_test,
    update_webhook,
)

COLUMNS = {"id": "id", "name": "name", "created": "created"}


class NewWebhook(Body):
    """Whom to tell, and of what; without kinds of everything."""

    name = Text(max_length=200)
    url = Text(max_length=1000)
    kinds = serializers.ListField(child=Text(max_length=80), required=False, max_length=50)


class ChangedWebhook(Body):
    """What is to change."""

    name = Text(max_length=200, required=False)
    url = Text(max_length=1000, required=False)
    kinds = serializers.ListField(child=Text(max_length=80), required=False, max_length=50)
    active = Strict(required=False)


class OwnWebhooks(ApiView):
    """Finds those of the project that the token acts in, else of the reseller that it is of."""

    whose = Whose.ANYBODY

    @property
    def owner(self) -> Owner:
        """Whose they are."""
        return self.token.project or self.reseller

    @property
    def webhooks(self) -> QuerySet[Webhook]:
        """Its webhooks; none for a token that is for some servers only: they tell of all."""
        webhooks = self.owner.webhooks.select_related("project__account", "account")
        return webhooks.none() if self.token.server_ids else webhooks

    def webhook(self, pk: int) -> Webhook:
        """One of them. Raises `NotFound`."""
        found = self.webhooks.filter(pk=pk).first()
        if found is None:
            raise NotFound("webhook")
        return found


class Webhooks(OwnWebhooks, PostView):
    """The webhooks."""

    @lists("List webhooks", "webhooks", WebhookShape, sort=COLUMNS, filters={"name": ()})
    def get(self, request: Request) -> Response:
        """A page of them."""
        rows = ordered(request, named(request, self.webhooks), COLUMNS)
        return page_of(request, "webhooks", rows, _shapes)

    @answers("Make a webhook", status=201, body=NewWebhook, webhook=WebhookShape, secret=str)
    def create(self, request: Request, **ids: int) -> Response:
        """Make another one; the secret is in this answer and in no other."""
        asked = body_of(request, NewWebhook)
        return _made(create_webhook(self.actor, owner=self.owner, **asked))


class OneWebhook(OwnWebhooks):
    """A webhook."""

    @answers("Get a webhook", webhook=WebhookShape)
    def get(self, request: Request, pk: int) -> Response:
        """It."""
        return Response({"webhook": webhook_shape(self.webhook(pk))})

    @answers("Change a webhook", body=ChangedWebhook, webhook=WebhookShape)
    def put(self, request: Request, pk: int) -> Response:
        """Change it, or turn it on or off."""
        changed = update_webhook(self.actor, self.webhook(pk), **body_of(request, ChangedWebhook))
        return Response({"webhook": webhook_shape(changed)})

    @answers("Delete a webhook")
    def delete(self, request: Request, pk: int) -> Response:
        """Forget it and its log."""
        delete_webhook(self.actor, self.webhook(pk))
        return Response(status=204)


class RotateWebhookSecret(OwnWebhooks, PostView):
    """A new secret."""

    @answers("Make a new secret", status=201, webhook=WebhookShape, secret=str)
    def create(self, request: Request, **ids: Any) -> Response:
        """Make it; the old one signs as well for a day."""
        body_of(request, Nothing)
        return _made(rotate_secret(self.actor, self.webhook(ids["pk"])))


class TestWebhook(OwnWebhooks, PostView):
    """A message to try it with."""

    @answers("Send a test message", status=201, delivery=DeliveryShape)
    def create(self, request: Request, **ids: Any) -> Response:
        """Queue it."""
        body_of(request, Nothing)
        delivery = send_test(self.actor, self.webhook(ids["pk"]))
        return Response({"delivery": delivery_shape(delivery)}, 201)


class Deliveries(OwnWebhooks):
    """What was and will be sent to one webhook."""

    @lists(
        "List what was sent",
        "deliveries",
        DeliveryShape,
        sort=("id",),
        filters={"status": DeliveryState.values},
    )
    def get(self, request: Request, pk: int) -> Response:
        """A page of it, the newest first unless asked otherwise."""
        rows = self.webhook(pk).deliveries.select_related("event")
        if states := choices(request, "status", DeliveryState.values):
            rows = rows.filter(state__in=states)
        if not request.query_params.get("sort"):
            return page_of(request, "deliveries", rows.order_by("-pk"), _delivery_shapes)
        return page_of(
            request, "deliveries", ordered(request, rows, {"id": "id"}), _delivery_shapes
        )


class Redeliver(OwnWebhooks, PostView):
    """One message once more."""

    @answers("Send a message once more", status=201, delivery=DeliveryShape)
    def create(self, request: Request, **ids: Any) -> Response:
        """Queue it."""
        body_of(request, Nothing)
        rows = self.webhook(ids["pk"]).deliveries.select_related(
            "event", "webhook__project", "webhook__account"
        )
        delivery = rows.filter(pk=ids["delivery_id"]).first()
        if delivery is None:
            raise NotFound("delivery")
        return Response({"delivery": delivery_shape(redeliver(self.actor, delivery))}, 201)


def _made(made: MadeWebhook) -> Response:
    return Response({"webhook": webhook_shape(made.webhook), "secret": made.secret}, 201)


def _shapes(page: Iterable[Webhook]) -> list[WebhookShape]:
    return [webhook_shape(webhook) for webhook in page]


def _delivery_shapes(page: Iterable[Delivery]) -> list[DeliveryShape]:
    return [delivery_shape(delivery) for delivery in page]
