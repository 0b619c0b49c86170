"""What was ordered with an idempotency key."""

from __future__ import annotations

from django.db import models


class OrderKey(models.Model):
    """One order per idempotency key: the second request gets the first one's server."""

    project = models.ForeignKey("accounts.Project", models.CASCADE, related_name="+")
    key = models.CharField(max_length=255)
    request_hash = models.CharField(max_length=64)
    server = models.ForeignKey("servers.Server", models.CASCADE, null=True, related_name="+")
    action = models.ForeignKey("actions.Action", models.CASCADE, null=True, related_name="+")
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=("project", "key"), name="order_key_once")]

    def __str__(self) -> str:
        return self.key
