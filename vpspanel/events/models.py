"""Event: something that happened. Timeline, audit trail, live page and webhooks read it."""

from __future__ import annotations

from typing import Any, NoReturn

from django.conf import settings
from django.db import models


class EventQuerySet(models.QuerySet["Event"]):
    """Events are read and added, never changed."""

    def update(self, **kwargs: Any) -> NoReturn:
        raise TypeError("events are append-only")

    def delete(self) -> NoReturn:
        raise TypeError("events are append-only")


class Event(models.Model):
    """Who did what, when, to which resource. Append-only."""

    at = models.DateTimeField(auto_now_add=True)
    kind = models.CharField(max_length=64, help_text="For programs: server.started, action.step …")
    message = models.CharField(max_length=500, help_text="For people, plain text")
    resource_type = models.CharField(max_length=32)
    resource_id = models.BigIntegerField()
    project_id = models.BigIntegerField(null=True)
    action_id = models.BigIntegerField(null=True)
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.DO_NOTHING, null=True, db_constraint=False
    )
    actor_name = models.CharField(max_length=254, blank=True)
    via = models.CharField(max_length=16, default="system", help_text="page, api, admin, system …")
    ip = models.GenericIPAddressField(null=True)
    public = models.BooleanField(default=True, help_text="Shown to the customer")
    data = models.JSONField(default=dict)

    objects = EventQuerySet.as_manager()

    class Meta:
        ordering = ("-id",)
        indexes = [
            models.Index(fields=("resource_type", "resource_id", "-id"), name="event_resource"),
            models.Index(fields=("project_id", "-id"), name="event_project"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.resource_type}:{self.resource_id}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Insert; raises TypeError on a second save."""
        if not self._state.adding:
            raise TypeError("events are append-only")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Never."""
        raise TypeError("events are append-only")
