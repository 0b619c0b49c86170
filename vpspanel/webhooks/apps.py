"""The app."""

from __future__ import annotations

from django.apps import AppConfig


class WebhooksConfig(AppConfig):
    """Webhooks."""

    name = "vpspanel.webhooks"
    label = "webhooks"
