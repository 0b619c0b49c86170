"""Who wants to be told, and what was told when."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from vpspanel.accounts.models import Account, Project
from vpspanel.events.models import Event


class Webhook(models.Model):
    """An address that is told of events: those of a project, or of an account and all its projects.

    An account's includes its customers and their projects.
    """

    project = models.ForeignKey(Project, models.CASCADE, null=True, related_name="webhooks")
    account = models.ForeignKey(Account, models.CASCADE, null=True, related_name="webhooks")
    name = models.CharField(max_length=80)
    url = models.URLField(max_length=500)
    kinds = models.JSONField(default=list, help_text="server.started, server.*; empty: all")
    active = models.BooleanField(default=True)
    secret_sealed = models.BinaryField(default=bytes)
    old_secret_sealed = models.BinaryField(default=bytes, help_text="Signs beside the new one")
    old_secret_until = models.DateTimeField(null=True)
    after_event = models.BigIntegerField(default=0, help_text="Only later events are told")
    failing_since = models.DateTimeField(null=True)
    ended_reason = models.CharField(max_length=200, blank=True, help_text="Why it was turned off")
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("name",)
        constraints = [
            models.CheckConstraint(
                condition=Q(project__isnull=True) ^ Q(account__isnull=True),
                name="webhook_has_one_owner",
            ),
            models.UniqueConstraint(fields=("project", "name"), name="webhook_name_in_project"),
            models.UniqueConstraint(fields=("account", "name"), name="webhook_name_in_account"),
        ]

    def __str__(self) -> str:
        return self.name


class DeliveryState(models.TextChoices):
    """Where a message is."""

    QUEUED = "queued", "waiting"
    DELIVERED = "delivered", "delivered"
    FAILED = "failed", "given up"


class Delivery(models.Model):
    """One event for one webhook: what is still to be sent, and afterwards the log.

    `attempt` is the fencing number: who sends raises it, and records the
    outcome only where it is still the same.
    """

    webhook = models.ForeignKey(Webhook, models.CASCADE, related_name="deliveries")
    event = models.ForeignKey(Event, models.DO_NOTHING, db_constraint=False)
    state = models.CharField(max_length=12, choices=DeliveryState, default=DeliveryState.QUEUED)
    attempt = models.PositiveIntegerField(default=0)
    tries = models.PositiveSmallIntegerField(default=0, help_text="Since it was last asked for")
    due = models.DateTimeField(help_text="When to send; while it is sent, when to look again")
    last_at = models.DateTimeField(null=True)
    last_status = models.PositiveSmallIntegerField(null=True, help_text="Of the answer, if any")
    last_error = models.CharField(max_length=200, blank=True)
    last_answer = models.CharField(max_length=500, blank=True, help_text="How the answer began")
    last_took_ms = models.PositiveIntegerField(null=True)
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name_plural = "deliveries"
        ordering = ("-id",)
        constraints = [
            models.UniqueConstraint(fields=("webhook", "event"), name="delivery_once"),
        ]
        indexes = [
            models.Index(fields=("due",), name="delivery_due", condition=Q(state="queued")),
            models.Index(fields=("created",), name="delivery_created"),
        ]

    def __str__(self) -> str:
        return f"{self.event_id} to {self.webhook}"


class Mark(models.Model):
    """How far events have been handed out. One row."""

    last = models.BigIntegerField(default=0)
    missing = models.JSONField(default=dict, help_text="Numbers not seen yet: until when to look")

    def __str__(self) -> str:
        return str(self.last)
