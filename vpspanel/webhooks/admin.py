"""Webhooks for staff: who is told of what, and whether it arrives."""

from __future__ import annotations

from typing import Any

from django.contrib import admin

from vpspanel.events.staff import ReadOnlyAdmin, word
from vpspanel.webhooks.models import Delivery, Webhook


@admin.register(Webhook)
class WebhookAdmin(ReadOnlyAdmin):
    """Customers keep them."""

    list_display = ("name", "project", "account", "url", "standing", "failing_since", "created")
    list_filter = ("active", ("failing_since", admin.EmptyFieldListFilter))
    search_fields = ("name", "url", "project__name", "account__name")
    list_select_related = ("project", "account")
    exclude = ("secret_sealed", "old_secret_sealed")

    @admin.display(ordering="active")
    def standing(self, webhook: Webhook) -> str:
        if not webhook.active:
            return word("off", "")
        return word("failing", "bad") if webhook.failing_since else word("good", "good")


@admin.register(Delivery)
class DeliveryAdmin(ReadOnlyAdmin):
    """The log of a month, and what still waits."""

    list_display = ("id", "webhook", "kind", "state", "tries", "last_status", "last_error", "due")
    list_filter = ("state",)
    search_fields = ("webhook__name", "webhook__url")
    list_select_related = ("webhook", "event")
    show_full_result_count = False

    def kind(self, delivery: Any) -> str:
        return str(delivery.event.kind)
