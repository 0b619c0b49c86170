"""Events: who did what to which thing of the project. Read backwards, or followed."""

from __future__ import annotations

from datetime import timedelta
from typing import TypedDict

from django.db.models import Q
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from vpspanel.api.auth import Whose
from vpspanel.api.describing import answers
from vpspanel.api.listing import MOST_PER_PAGE, PER_PAGE, ids, number
from vpspanel.api.view import ApiView
from vpspanel.errors import Refused
from vpspanel.events.live import LATE_COMMIT
from vpspanel.servers.access import page_of_events
from vpspanel.webhooks.message import EventShape, event_shape


class Place(TypedDict, total=False):
    """Where to go on: what to give as `after` or as `before`."""

    after: int
    before: int | None


class EventsCursor(Place):
    """The place, and whether there is more already."""

    more: bool


class EventsMeta(TypedDict):
    """Beside the events."""

    cursor: EventsCursor


class Events(ApiView):
    """The events of the project, or of all that is a reseller's, by a cursor: an event's id.

    Numbers are given before they are committed, so a smaller one may appear
    after a larger one. Whoever follows with `after` must not miss it, and gets
    events only once all that may still come before them have come.
    """

    whose = Whose.ANYBODY

    @answers(
        "List events, or follow them",
        query=("after", "before", "kind", "per_page", "resource_type", "resource_id"),
        events=list[EventShape],
        meta=EventsMeta,
    )
    def get(self, request: Request) -> Response:
        """Newest first, or with `after` those that came next; the cursor to go on with."""
        following = "after" in request.query_params
        if following and "before" in request.query_params:
            raise Refused("invalid_input", "Give after or before, not both.", field="before")
        chosen = _chosen(request)
        if following:
            after = _cursor(request, "after")
            settled = timezone.now() - timedelta(seconds=LATE_COMMIT)
            chosen &= Q(pk__gt=after, at__lte=settled)
        elif "before" in request.query_params:
            chosen &= Q(pk__lt=_cursor(request, "before"))
        size = min(number(request, "per_page", PER_PAGE), MOST_PER_PAGE)
        found = page_of_events(self.actor, chosen, size + 1, oldest_first=following)
        shown = found[:size]
        last = shown[-1].pk if shown else None
        cursor = {"after" if following else "before": last, "more": len(found) > size}
        if following and last is None:
            cursor["after"] = after
        return Response(
            {"events": [event_shape(event) for event in shown], "meta": {"cursor": cursor}}
        )


def _cursor(request: Request, name: str) -> int:
    """An id; 0 is before all. Raises `Refused`."""
    found = ids(request, name)
    if len(found) != 1:
        raise Refused("invalid_input", f"{name} is one number.", field=name)
    return found[0]


def _chosen(request: Request) -> Q:
    """By `kind` (`server.renamed`, `server.*`; repeatable), `resource_type`, `resource_id`."""
    chosen = Q()
    for kind in request.query_params.getlist("kind"):
        stem = kind.removesuffix("*")
        chosen |= Q(kind__startswith=stem) if stem != kind else Q(kind=kind)
    if types := request.query_params.getlist("resource_type"):
        chosen &= Q(resource_type__in=types)
    if wanted := ids(request, "resource_id"):
        chosen &= Q(resource_id__in=wanted)
    return chosen
