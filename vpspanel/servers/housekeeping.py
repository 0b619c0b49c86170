"""What is done once a minute: what has served its use ends, figures are summed up."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import structlog
from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone

from hosts.figures import keep_figures
from hosts.models import HostStatus
from vpspanel.accounts.token_services import forget_old_answers
from vpspanel.actions.models import OPEN_STATES, Action, ActionState
from vpspanel.errors import Refused
from vpspanel.events.actor import SYSTEM
from vpspanel.servers import rescue, services
from vpspanel.servers.copies import remove_unused_copies
from vpspanel.servers.models import Lifecycle, Server
from vpspanel.servers.seeds import with_served_rescue_secrets, with_served_secrets
from vpspanel.webhooks.sender import forget_old_deliveries

log = structlog.get_logger(__name__)

PASSWORD_KEPT = timedelta(days=1)
AGAIN_AFTER = timedelta(minutes=15)  # what failed is not repeated at once
AT_ONCE = 20  # servers of each kind and round
MAKES_PASSWORD = ("create", "rebuild", "reset_password")


def keep_house() -> None:
    """All of it. Safe to run at any time, in several processes."""
    now = timezone.now()
    scrub_old_seeds(now)
    end_unused_rescues(now)
    remove_unused_copies(now)
    forget_old_secrets(now)
    keep_figures(now)
    forget_old_answers(now)
    forget_old_deliveries(now)


def scrub_old_seeds(now: datetime) -> int:
    """Queue the scrubbing of seeds whose guest has had its time to boot; how many were queued."""
    own = _possible(with_served_secrets(now), "scrub_seed", now).order_by("seed_secret_since")
    rescues = _possible(with_served_rescue_secrets(now), "scrub_rescue_seed", now)
    queued = _ask_for(own, services.scrub_seed)
    queued += _ask_for(rescues.order_by("rescue_enabled_at"), services.scrub_rescue_seed)
    if queued:
        log.info("seeds_to_scrub", count=queued)
    return queued


def end_unused_rescues(now: datetime) -> int:
    """Queue the end of rescue systems that nobody booted in time; how many were queued."""
    unused = Server.objects.filter(
        lifecycle=Lifecycle.ACTIVE,
        rescue_enabled=True,
        rescue_enabled_at__lt=now - rescue.UNUSED_FOR,
    )
    due = _possible(unused, "disable_rescue", now).order_by("rescue_enabled_at")
    return _ask_for(due, lambda server: rescue.disable_rescue(SYSTEM, server.pk))


def _possible(servers: QuerySet[Server], command: str, now: datetime) -> QuerySet[Server]:
    """Those to which nothing else is being done, and where it did not fail just now."""
    mine = Action.objects.filter(resource_type="server", resource_id=OuterRef("pk"))
    busy = mine.filter(state__in=OPEN_STATES)
    failed = mine.filter(command=command, state=ActionState.ERROR, finished__gte=now - AGAIN_AFTER)
    reachable = servers.exclude(host__status=HostStatus.UNREACHABLE)
    return reachable.filter(~Exists(busy), ~Exists(failed))


def _ask_for(due: QuerySet[Server], ask: Callable[[Server], object]) -> int:
    queued = 0
    for server in due[:AT_ONCE]:
        try:
            ask(server)
        except Refused:
            continue  # somebody was quicker
        queued += 1
    return queued


def forget_old_secrets(now: datetime | None = None) -> int:
    """Forget passwords that nobody looked at for a day; how many were forgotten."""
    since = (now or timezone.now()) - PASSWORD_KEPT
    made_lately = Action.objects.filter(
        resource_type="server",
        resource_id=OuterRef("pk"),
        command__in=MAKES_PASSWORD,
        created__gte=since,
    )
    forgotten = (
        Server.objects.filter(~Exists(made_lately), created__lt=since)
        .exclude(root_password_sealed=b"", next_password_sealed=b"")
        .update(root_password_sealed=b"", next_password_sealed=b"")
    )
    rescues = Server.objects.filter(rescue_enabled_at__lt=since)
    return forgotten + rescues.exclude(rescue_password_sealed=b"").update(
        rescue_password_sealed=b""
    )
