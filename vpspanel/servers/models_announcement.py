"""What staff have to say to customers, and who has read it."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils import timezone


class Severity(models.TextChoices):
    """How it looks; the value is Tabler's word."""

    INFO = "info", "information"
    WARNING = "warning", "warning"
    DANGER = "danger", "trouble"


class Announcement(models.Model):
    """A notice on customers' pages: for everybody, or for who has to do with one thing."""

    title = models.CharField(max_length=120)
    text = models.TextField(max_length=2000, help_text="Plain text; lines stay lines")
    severity = models.CharField(max_length=8, choices=Severity, default=Severity.INFO)
    begins = models.DateTimeField("from", default=timezone.now)
    ends = models.DateTimeField("until", null=True, blank=True, help_text="Empty: until deleted")
    location = models.ForeignKey(
        "hosts.Location", models.CASCADE, null=True, blank=True, related_name="+",
        help_text="Only who has servers there",
    )  # fmt: skip
    host = models.ForeignKey(
        "hosts.Host", models.CASCADE, null=True, blank=True, related_name="+",
        help_text="Only who has servers on it",
    )  # fmt: skip
    account = models.ForeignKey(
        "accounts.Account", models.CASCADE, null=True, blank=True, related_name="+",
        help_text="Only members of its projects",
    )  # fmt: skip
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-begins", "-id")
        constraints = [
            models.CheckConstraint(
                name="announcement_ends_later",
                condition=Q(ends__isnull=True) | Q(ends__gt=F("begins")),
                violation_error_message="It must end after it begins.",
            ),
            models.CheckConstraint(
                name="announcement_one_target",
                condition=Q(location__isnull=True, host__isnull=True)
                | Q(location__isnull=True, account__isnull=True)
                | Q(host__isnull=True, account__isnull=True),
                violation_error_message="Choose one of location, host and account, or none.",
            ),
        ]

    def __str__(self) -> str:
        return self.title


class Dismissal(models.Model):
    """Somebody has read an announcement and does not want to see it again."""

    announcement = models.ForeignKey(Announcement, models.CASCADE, related_name="dismissals")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=("announcement", "user"), name="dismissed_once")
        ]

    def __str__(self) -> str:
        return f"{self.announcement_id} by {self.user_id}"
