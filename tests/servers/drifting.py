"""Looking for differences in a test."""

from __future__ import annotations

from hosts.models import Host
from vpspanel.servers.drift import look_at_host, look_at_records
from vpspanel.servers.models_drift import Difference


def look() -> None:
    """At everything, once."""
    for host in Host.objects.prefetch_related("pools"):
        look_at_host(host)
    look_at_records()


def wrong() -> dict[str, str]:
    """Code and state of what is known to be wrong."""
    rows = Difference.objects.filter(level="error").exclude(state="gone")
    return dict(rows.values_list("code", "state"))
