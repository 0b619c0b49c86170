"""What servers were and moved in a stretch of time: the base of every bill."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Exists, F, OuterRef, Q, QuerySet

from hosts.figures import Traffic, traffic_of
from vpspanel.events.actor import Actor
from vpspanel.servers.access import servers_with_history
from vpspanel.servers.models import Server, ServerType
from vpspanel.servers.models_period import ServerPeriod


@dataclass(frozen=True, slots=True)
class Stretch:
    """One plan, from when to when, as far as that lies in what was asked for."""

    server_type: ServerType
    began: datetime
    ended: datetime

    @property
    def time(self) -> timedelta:
        """How long."""
        return self.ended - self.began


@dataclass(frozen=True, slots=True)
class Usage:
    """One server. `traffic` is None where nothing was measured."""

    server: Server
    stretches: Sequence[Stretch]
    traffic: Traffic | None

    @property
    def time(self) -> timedelta:
        """How long it existed."""
        return sum((stretch.time for stretch in self.stretches), timedelta())

    @property
    def by_plan(self) -> dict[ServerType, timedelta]:
        """How long it had which plan."""
        found: dict[ServerType, timedelta] = defaultdict(timedelta)
        for stretch in self.stretches:
            found[stretch.server_type] += stretch.time
        return dict(found)


def used_servers(actor: Actor, start: datetime, end: datetime) -> QuerySet[Server]:
    """The servers of the actor that existed then, deleted ones included."""
    then = _within(start, end).filter(server=OuterRef("pk"))
    return servers_with_history(actor).filter(Exists(then))


def usage_of(
    servers: Sequence[Server], start: datetime, end: datetime, now: datetime
) -> list[Usage]:
    """What those servers were from `start` to `end`, which is not after `now`. Two queries."""
    stretches: dict[int, list[Stretch]] = defaultdict(list)
    periods = _within(start, end).filter(server__in=servers).select_related("server_type")
    for period in periods.order_by("began"):
        ended = end if period.ended is None else min(period.ended, end)
        stretches[period.server_id].append(
            Stretch(period.server_type, max(period.began, start), ended)
        )
    traffic: dict[UUID, Traffic] = traffic_of([one.uuid for one in servers], start, end, now)
    return [Usage(one, stretches[one.pk], traffic.get(one.uuid)) for one in servers]


def _within(start: datetime, end: datetime) -> QuerySet[ServerPeriod]:
    """The periods of which a part lies there; those of no length have none."""
    some = Q(ended__isnull=True) | (Q(ended__gt=start) & Q(ended__gt=F("began")))
    periods = ServerPeriod.objects.filter(some, began__lt=end)
    return periods if start < end else periods.none()
