"""Samples over time: minutes for two days, five minutes for two weeks, hours for a year."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import Avg, F, FloatField, Max, Q, QuerySet, Sum

from hosts.models_fleet import GuestSample, HostSample

MINUTE, FIVE_MINUTES, HOUR = 60, 300, 3600
BATCH = 2000


@dataclass(frozen=True, slots=True)
class Span:
    """How long samples of a step are kept, and from which they are made."""

    step: int
    kept: timedelta
    source: int = 0


SPANS = (
    Span(MINUTE, timedelta(hours=48)),
    Span(FIVE_MINUTES, timedelta(days=14), MINUTE),
    Span(HOUR, timedelta(days=400), FIVE_MINUTES),
)
LATE = timedelta(minutes=10)  # a monitor that was held up still writes into its minute
SUBJECTS: tuple[tuple[Any, str], ...] = ((HostSample, "host_id"), (GuestSample, "owner"))


def beginning(at: datetime, step: int) -> datetime:
    """The beginning of the stretch of `step` seconds that `at` lies in."""
    return datetime.fromtimestamp(at.timestamp() // step * step, UTC)


# --- keeping -----------------------------------------------------------------------


def keep_figures(now: datetime) -> int:
    """Sum up what is complete and forget what is old; how many samples were made.

    Safe to run at any time and in several processes: what is there stays.
    """
    made = sum(_sum_up(model, subject, now) for model, subject in SUBJECTS)
    for model, _ in SUBJECTS:
        for span in SPANS:
            model.objects.filter(step=span.step, at__lt=now - span.kept).delete()
    return made


def _sum_up(model: Any, subject: str, now: datetime) -> int:
    """The longer steps of one table, from where it was left off."""
    made = 0
    for span in SPANS:
        if not span.source:
            continue
        source = next(one for one in SPANS if one.step == span.source)
        end = beginning(now - LATE, span.step)
        last = model.objects.filter(step=span.step).aggregate(last=Max("at"))["last"]
        start = beginning(now - source.kept, span.step)
        if last is not None:
            start = max(start, last + timedelta(seconds=span.step))
        oldest = model.objects.filter(step=span.source, at__gte=start).order_by("at").first()
        if oldest is not None:
            start = beginning(oldest.at, span.step)
            made += _stretches(model, subject, span, start, end)
    return made


def _stretches(model: Any, subject: str, span: Span, start: datetime, end: datetime) -> int:
    """One stretch after the other, so that memory holds one at a time."""
    made = 0
    while start < end:
        until = start + timedelta(seconds=span.step)
        source = model.objects.filter(step=span.source, at__gte=start, at__lt=until)
        averages = {name: Avg(name) for name in _measured(model)}
        rows = [
            model(step=span.step, at=start, **row)
            for row in source.order_by().values(subject).annotate(**averages)
        ]
        made += len(model.objects.bulk_create(rows, batch_size=BATCH, ignore_conflicts=True))
        start = until
    return made


def _measured(model: Any) -> list[str]:
    """The columns that hold figures."""
    return [field.name for field in model._meta.concrete_fields if _is_figure(field)]


def _is_figure(field: Any) -> bool:
    return bool(field.get_internal_type() == "FloatField")


# --- reading -----------------------------------------------------------------------


def step_for(start: datetime, end: datetime, now: datetime, most: int = 720) -> int:
    """The finest step that is kept back to `start` and gives at most `most` points."""
    for span in SPANS[:-1]:
        points = (end - start).total_seconds() / span.step
        if points <= most and start >= now - span.kept:
            return span.step
    return SPANS[-1].step


def of_guest(owner: UUID, start: datetime, end: datetime, step: int) -> QuerySet[GuestSample]:
    """The samples of one guest, oldest first."""
    return GuestSample.objects.filter(owner=owner, step=step, at__gte=start, at__lt=end).order_by(
        "at"
    )


def of_host(host_id: int, start: datetime, end: datetime, step: int) -> QuerySet[HostSample]:
    """The samples of one host, oldest first."""
    return HostSample.objects.filter(
        host_id=host_id, step=step, at__gte=start, at__lt=end
    ).order_by("at")


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes that went to and came from a guest."""

    incoming: int
    outgoing: int


def traffic_of(
    owners: Sequence[UUID], start: datetime, end: datetime, now: datetime
) -> dict[UUID, Traffic]:
    """What was measured of each guest from `start` to `end`; who was not measured is left out.

    Minutes as far as they are kept back to `start`, else hours and, for what is not
    summed up yet, minutes. One query.
    """
    kept = Q(step=MINUTE)
    if start < now - SPANS[0].kept:
        summed_up = beginning(now - LATE, HOUR)
        kept = Q(step=HOUR, at__lt=summed_up) | Q(step=MINUTE, at__gte=summed_up)
    samples = GuestSample.objects.filter(kept, owner__in=owners, at__gte=start, at__lt=end)
    moved = (
        samples.order_by()
        .values_list("owner")
        .annotate(
            incoming=Sum(F("net_rx_bytes") * F("step"), output_field=FloatField()),
            outgoing=Sum(F("net_tx_bytes") * F("step"), output_field=FloatField()),
        )
    )
    return {
        owner: Traffic(round(incoming), round(outgoing))
        for owner, incoming, outgoing in moved
        if incoming is not None and outgoing is not None
    }


def latest_of_hosts(host_ids: Sequence[int], since: datetime) -> dict[int, HostSample]:
    """The newest sample of each host that has one since then. One query."""
    samples = HostSample.objects.filter(host_id__in=host_ids, step=MINUTE, at__gte=since)
    return {sample.host_id: sample for sample in samples.order_by("at")}
