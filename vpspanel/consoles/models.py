"""Ticket: the right to open one console once, within a minute."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from vpspanel.servers.models import Server


class Kind(models.TextChoices):
    """What a ticket opens."""

    SERIAL = "serial", "serial console"
    VNC = "vnc", "screen"
    LOG = "log", "boot log"


class Ticket(models.Model):
    """Useless to whoever reads the table: only digests of the secret and of the session."""

    digest = models.CharField(max_length=64, unique=True, help_text="SHA-256 of the secret")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    session_digest = models.CharField(max_length=64, help_text="SHA-256 of the session key")
    server = models.ForeignKey(Server, models.CASCADE, related_name="+")
    kind = models.CharField(max_length=16, choices=Kind)
    created = models.DateTimeField(auto_now_add=True)
    expires = models.DateTimeField(db_index=True)
    used = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"{self.kind} of {self.server_id} for {self.user_id}"
