"""How long a seed may hold secrets: until its guest has had the time to read them."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import F, Q, QuerySet

from vpspanel.servers.models import Lifecycle, PowerSeen, Server

KEPT_AT_MOST = timedelta(days=1)


def with_served_secrets(now: datetime) -> QuerySet[Server]:
    """Servers whose seed holds secrets that have served, or that are too old to be kept.

    They have served when the guest has been up for a while since a boot that
    came after they were written. One that is off has not read them yet: it may
    have been stopped in its first boot, or have got a new password while off.
    """
    had_time = now - timedelta(seconds=settings.SEED_SECRET_SECONDS)
    served = Q(
        power_seen=PowerSeen.RUNNING,
        booted_at__gte=F("seed_secret_since"),
        booted_at__lt=had_time,
        in_rescue=False,
    )
    return Server.objects.filter(
        served | Q(seed_secret_since__lt=now - KEPT_AT_MOST),
        lifecycle=Lifecycle.ACTIVE,
        seed_secret_since__isnull=False,
    )


def with_served_rescue_secrets(now: datetime) -> QuerySet[Server]:
    """Servers whose rescue system has had the time to read its password, or never will."""
    had_time = now - timedelta(seconds=settings.SEED_SECRET_SECONDS)
    served = Q(in_rescue=True, power_seen=PowerSeen.RUNNING, booted_at__lt=had_time)
    return Server.objects.filter(
        served | Q(rescue_enabled_at__lt=now - KEPT_AT_MOST), lifecycle=Lifecycle.ACTIVE
    ).exclude(rescue_password_hash="")
