"""Work on a host: its window, and the servers that leave it for that and come back."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils import timezone


class MaintenanceState(models.TextChoices):
    """How far it is."""

    PLANNED = "planned", "planned"
    DRAINING = "draining", "being drained"
    DRAINED = "drained", "empty"
    RESTORING = "restoring", "being filled again"
    ENDED = "ended", "over"
    CANCELLED = "cancelled", "cancelled"


OPEN = (MaintenanceState.DRAINING, MaintenanceState.DRAINED, MaintenanceState.RESTORING)
CONDUCTED = (MaintenanceState.DRAINING, MaintenanceState.RESTORING)  # servers are on their way


class Maintenance(models.Model):
    """A window in which staff work on a host. One of a host is going on at a time."""

    host = models.ForeignKey("hosts.Host", models.CASCADE, related_name="+")
    state = models.CharField(
        max_length=16, choices=MaintenanceState, default=MaintenanceState.PLANNED
    )
    reason = models.CharField(max_length=200, help_text="Customers read it")
    begins = models.DateTimeField()
    ends = models.DateTimeField()
    shuts_down = models.BooleanField(
        default=False,
        help_text="Servers that cannot move while they run are shut down for it, in the window",
    )
    bandwidth_mib = models.PositiveIntegerField(default=0, help_text="MiB/s for each; 0: no limit")
    at_once = models.PositiveSmallIntegerField(default=2, help_text="Servers that move at a time")
    was_accepting = models.BooleanField(default=True, help_text="The host, before it was drained")
    announcement = models.OneToOneField(
        "servers.Announcement", models.SET_NULL, null=True, related_name="+"
    )
    created = models.DateTimeField(auto_now_add=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+"
    )
    drained_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-begins", "-id")
        verbose_name_plural = "maintenance"
        constraints = [
            models.CheckConstraint(
                name="maintenance_ends_later", condition=Q(ends__gt=F("begins"))
            ),
            models.UniqueConstraint(
                fields=("host",), condition=Q(state__in=OPEN), name="maintenance_one_of_host"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.host} from {self.begins:%Y-%m-%d %H:%M}"


class DepartureState(models.TextChoices):
    """One server on its way: out while the host is drained, back while it is filled again."""

    WAITING = "waiting", "waits"
    MOVING = "moving", "moves"
    DONE = "done", "has moved"
    FAILED = "failed", "could not be moved"


class Departure(models.Model):
    """A server that leaves a host for its maintenance."""

    maintenance = models.ForeignKey(Maintenance, models.CASCADE, related_name="departures")
    server = models.ForeignKey("servers.Server", models.CASCADE, related_name="+")
    state = models.CharField(max_length=8, choices=DepartureState, default=DepartureState.WAITING)
    reason = models.CharField(max_length=300, blank=True, help_text="Why it has not moved yet")
    tries = models.PositiveSmallIntegerField(default=0)
    next_try = models.DateTimeField(default=timezone.now)
    action = models.ForeignKey("actions.Action", models.SET_NULL, null=True, related_name="+")

    class Meta:
        ordering = ("server__name", "pk")
        verbose_name_plural = "departures"
        constraints = [
            models.UniqueConstraint(fields=("maintenance", "server"), name="departure_once")
        ]

    def __str__(self) -> str:
        return f"{self.server_id} from {self.maintenance_id}"
