"""The shown word as the database computes it, for lists that are filtered by it.

Built from the tables that `states.shown_status` reads, so the two cannot disagree.
"""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import Case, CharField, OuterRef, QuerySet, Subquery, Value, When

from hosts.models import HostStatus
from vpspanel.actions.models import OPEN_STATES, Action, ActionState
from vpspanel.servers.models import Server
from vpspanel.servers.states import Status, status_tables


def with_word(servers: QuerySet[Server], words: Iterable[str]) -> QuerySet[Server]:
    """Those whose status is one of these words of hcloud's."""
    by_lifecycle, by_command, by_power = status_tables()
    open_actions = Action.objects.filter(
        resource_type="server", resource_id=OuterRef("pk"), state__in=OPEN_STATES
    ).exclude(state=ActionState.PARKED)
    cases = [
        *(When(lifecycle=key, then=_word(status)) for key, status in by_lifecycle.items()),
        *(When(doing=key, then=_word(status)) for key, status in by_command.items()),
        When(host__status=HostStatus.UNREACHABLE, then=_word(Status.UNKNOWN)),
        *(When(power_seen=key, then=_word(status)) for key, status in by_power.items()),
    ]
    doing = Subquery(open_actions.values("command")[:1])
    asked = servers.annotate(doing=doing).annotate(
        word=Case(*cases, default=_word(Status.UNKNOWN), output_field=CharField())
    )
    return asked.filter(word__in=list(words))


def _word(status: Status) -> Value:
    return Value(status.api)
