"""Ticket: the right to open one console once, within a minute. Recording: what a console showed."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from vpspanel.accounts.models import ApiToken, Project
from vpspanel.servers.models import Server


class Kind(models.TextChoices):
    """What a ticket opens."""

    SERIAL = "serial", "serial console"
    VNC = "vnc", "screen"
    LOG = "log", "boot log"


class Way(models.TextChoices):
    """By what right a ticket was given."""

    MEMBER = "member", "as a member of the project"
    STAFF = "staff", "as staff"
    LINK = "link", "by a link"
    TOKEN = "token", "by an API token"
    GRANT = "grant", "by a console ticket"


class ShareLink(models.Model):
    """Lets whoever has its secret watch one console. Useless to whoever reads the table."""

    digest = models.CharField(max_length=64, unique=True, help_text="SHA-256 of the secret")
    server = models.ForeignKey(Server, models.CASCADE, related_name="+")
    kind = models.CharField(max_length=16, choices=Kind)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+"
    )
    created_by_name = models.CharField(max_length=254)
    created = models.DateTimeField(auto_now_add=True)
    expires = models.DateTimeField(db_index=True)
    revoked = models.DateTimeField(null=True)
    last_used = models.DateTimeField(null=True)
    uses = models.PositiveIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.kind} of {self.server_id} until {self.expires}"


class Grant(models.Model):
    """What the API calls a console ticket: one browser may have one console for some hours.

    Its secret is worth nothing once a browser has bound it to a key of its own.
    """

    digest = models.CharField(max_length=64, unique=True, help_text="SHA-256 of the secret")
    key_digest = models.CharField(
        max_length=64, blank=True, help_text="SHA-256 of the key of the browser that came first"
    )
    token = models.ForeignKey(ApiToken, models.CASCADE, related_name="+")
    server = models.ForeignKey(Server, models.CASCADE, related_name="+")
    kind = models.CharField(max_length=16, choices=Kind)
    may_type = models.BooleanField()
    created = models.DateTimeField(auto_now_add=True)
    redeem_until = models.DateTimeField()
    expires = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return f"{self.kind} of {self.server_id} until {self.expires}"


class Ticket(models.Model):
    """Useless to whoever reads the table: only digests of the secret and of the session."""

    digest = models.CharField(max_length=64, unique=True, help_text="SHA-256 of the secret")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, null=True, related_name="+")
    link = models.ForeignKey(ShareLink, models.CASCADE, null=True, related_name="+")
    token = models.ForeignKey(ApiToken, models.CASCADE, null=True, related_name="+")
    grant = models.ForeignKey(Grant, models.CASCADE, null=True, related_name="+")
    session_digest = models.CharField(max_length=64, help_text="SHA-256 of the session key")
    server = models.ForeignKey(Server, models.CASCADE, related_name="+")
    kind = models.CharField(max_length=16, choices=Kind)
    way = models.CharField(max_length=8, choices=Way, default=Way.MEMBER)
    created = models.DateTimeField(auto_now_add=True)
    expires = models.DateTimeField(db_index=True)
    used = models.DateTimeField(null=True)

    class Meta:
        permissions = (("watch_console", "Can watch the serial consoles of all customers"),)

    def __str__(self) -> str:
        return f"{self.kind} of {self.server_id} for {self.user_id}"


class Recording(models.Model):
    """What a serial console showed for a while, as a compressed asciicast (v2).

    In the database, so that any process can show it and it goes with its project.
    """

    project = models.ForeignKey(Project, models.CASCADE, related_name="+")
    server = models.ForeignKey(Server, models.CASCADE, related_name="recordings")
    started_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+"
    )
    started_by_name = models.CharField(max_length=254)
    by_staff = models.BooleanField(default=False, help_text="It ran because staff were watching")
    started = models.DateTimeField()
    seconds = models.FloatField()
    size = models.PositiveIntegerField(help_text="Bytes before compression")
    ended = models.CharField(max_length=200, help_text="Why, in a sentence")
    data = models.BinaryField()

    def __str__(self) -> str:
        return f"{self.server_id} at {self.started}"
