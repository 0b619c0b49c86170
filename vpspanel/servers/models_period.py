"""What each server was, from when to when. Written once, beside what it records."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q


class ServerPeriod(models.Model):
    """A stretch of time in which a server had one plan. The open one has no end yet.

    The stretches of a server follow each other without gap or overlap, from its
    order to its deletion. Of one that was never built there is one of no length.
    """

    server = models.ForeignKey("servers.Server", models.CASCADE, related_name="periods")
    server_type = models.ForeignKey("servers.ServerType", models.PROTECT, related_name="+")
    began = models.DateTimeField()
    ended = models.DateTimeField(null=True)

    class Meta:
        ordering = ("server", "began", "pk")
        constraints = [
            models.UniqueConstraint(
                fields=("server",), condition=Q(ended__isnull=True), name="one_open_period"
            ),
            models.UniqueConstraint(fields=("server", "began"), name="period_began_once"),
            models.CheckConstraint(
                condition=Q(ended__isnull=True) | Q(ended__gte=F("began")),
                name="period_ends_after_it_began",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.server_id} from {self.began}"
