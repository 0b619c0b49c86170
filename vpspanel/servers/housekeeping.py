"""What is done once a minute so that secrets do not outlive their use."""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog
from django.db.models import Exists, OuterRef
from django.utils import timezone

from hosts.models import HostStatus
from vpspanel.accounts.token_services import forget_old_answers
from vpspanel.actions.models import OPEN_STATES, Action, ActionState
from vpspanel.errors import Refused
from vpspanel.servers import services
from vpspanel.servers.models import Server
from vpspanel.servers.seeds import with_served_secrets

log = structlog.get_logger(__name__)

PASSWORD_KEPT = timedelta(days=1)
SCRUB_AGAIN_AFTER = timedelta(minutes=15)  # a scrub that failed is not repeated at once
SCRUBS_AT_ONCE = 20
MAKES_PASSWORD = ("create", "rebuild", "reset_password")


def keep_house() -> None:
    """All of it. Safe to run at any time, in several processes."""
    now = timezone.now()
    scrub_old_seeds(now)
    forget_old_secrets(now)
    forget_old_answers(now)


def scrub_old_seeds(now: datetime) -> int:
    """Queue the scrubbing of seeds whose guest has had its time to boot; how many were queued."""
    mine = Action.objects.filter(resource_type="server", resource_id=OuterRef("pk"))
    busy = mine.filter(state__in=OPEN_STATES)
    failed = mine.filter(
        command="scrub_seed", state=ActionState.ERROR, finished__gte=now - SCRUB_AGAIN_AFTER
    )
    due = (
        with_served_secrets(now)
        .exclude(host__status=HostStatus.UNREACHABLE)
        .filter(~Exists(busy), ~Exists(failed))
        .order_by("seed_secret_since")
    )
    queued = 0
    for server in due[:SCRUBS_AT_ONCE]:
        try:
            services.scrub_seed(server)
        except Refused:
            continue  # somebody was quicker
        queued += 1
    if queued:
        log.info("seeds_to_scrub", count=queued)
    return queued


def forget_old_secrets(now: datetime | None = None) -> int:
    """Forget root passwords that nobody looked at for a day; how many were forgotten."""
    since = (now or timezone.now()) - PASSWORD_KEPT
    made_lately = Action.objects.filter(
        resource_type="server",
        resource_id=OuterRef("pk"),
        command__in=MAKES_PASSWORD,
        created__gte=since,
    )
    return (
        Server.objects.filter(created__lt=since)
        .exclude(root_password_sealed=b"")
        .filter(~Exists(made_lately))
        .update(root_password_sealed=b"")
    )
