"""What servers were from when to when."""

from __future__ import annotations

from datetime import timedelta
from typing import TypedDict

from vpspanel.api.shapes.plain import moment, moment_or_none
from vpspanel.servers.models import ServerType
from vpspanel.servers.usage import Stretch, Usage


class PlanHours(TypedDict):
    """How long it had one plan."""

    server_type: int
    name: str
    hours: float


class StretchShape(PlanHours):
    """The same in one piece."""

    began: str
    ended: str


class TrafficShape(TypedDict):
    """Bytes, as measured. Null where nothing was."""

    incoming: int | None
    outgoing: int | None


class UsageShape(TypedDict):
    """One server in the stretch that was asked for; `created` and `deleted` may lie outside."""

    server: int
    name: str
    project: int
    account: int
    created: str
    deleted: str | None
    hours: float
    plans: list[PlanHours]
    periods: list[StretchShape]
    traffic: TrafficShape


def usage_shape(usage: Usage) -> UsageShape:
    """A server."""
    server, traffic = usage.server, usage.traffic
    return UsageShape(
        server=server.pk,
        name=server.name,
        project=server.project_id,
        account=server.project.account_id,
        created=moment(server.created),
        deleted=moment_or_none(server.deleted_at),
        hours=_hours(usage.time),
        plans=[_plan(plan, time) for plan, time in usage.by_plan.items()],
        periods=[_stretch(one) for one in usage.stretches],
        traffic=TrafficShape(
            incoming=traffic.incoming if traffic else None,
            outgoing=traffic.outgoing if traffic else None,
        ),
    )


def _plan(plan: ServerType, time: timedelta) -> PlanHours:
    return PlanHours(server_type=plan.pk, name=plan.name, hours=_hours(time))


def _stretch(stretch: Stretch) -> StretchShape:
    plan = stretch.server_type
    return StretchShape(
        server_type=plan.pk,
        name=plan.name,
        hours=_hours(stretch.time),
        began=moment(stretch.began),
        ended=moment(stretch.ended),
    )


def _hours(time: timedelta) -> float:
    return round(time.total_seconds() / 3600, 6)
