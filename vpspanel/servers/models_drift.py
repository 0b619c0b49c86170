"""Where records and hosts disagree, and what staff have decided about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import models
from django.db.models import Q

if TYPE_CHECKING:
    from vpspanel.servers.models import Server


class DifferenceState(models.TextChoices):
    """What is known and decided about it."""

    SUSPECTED = "suspected", "seen once"
    OPEN = "open", "open"
    IGNORED = "ignored", "ignored"
    REPAIRED = "repaired", "repaired"
    GONE = "gone", "gone by itself"


PRESENT = (DifferenceState.SUSPECTED, DifferenceState.OPEN, DifferenceState.IGNORED)


class Difference(models.Model):
    """One finding of the audit that stays: the same as long as code and subject are the same."""

    code = models.CharField(max_length=40)
    subject = models.CharField(max_length=300, help_text="What it is about")
    level = models.CharField(max_length=16)
    message = models.CharField(max_length=500)
    remedy = models.CharField(max_length=200, blank=True, help_text="What a repair would do")
    host = models.ForeignKey(
        "hosts.Host", models.CASCADE, null=True, related_name="differences",
        help_text="Where it was seen; empty: in the records alone",
    )  # fmt: skip
    server: models.ForeignKey[Server | None, Server | None] = models.ForeignKey(
        "servers.Server", models.CASCADE, null=True, related_name="differences"
    )
    facts = models.JSONField(default=dict, help_text="What was seen of a guest that is not ours")
    state = models.CharField(
        max_length=12, choices=DifferenceState, default=DifferenceState.SUSPECTED
    )
    reason = models.CharField(max_length=200, blank=True, help_text="Why it is ignored")
    first_seen = models.DateTimeField()
    last_seen = models.DateTimeField()
    state_since = models.DateTimeField()

    class Meta:
        ordering = ("-first_seen", "-pk")
        constraints = [
            models.UniqueConstraint(fields=("code", "subject"), name="difference_once"),
        ]
        indexes = [
            models.Index(
                fields=("host", "last_seen"),
                name="difference_present",
                condition=Q(state__in=[state.value for state in PRESENT]),
            )
        ]

    def __str__(self) -> str:
        return f"{self.code}: {self.subject}"
