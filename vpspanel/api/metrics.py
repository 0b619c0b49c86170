"""`GET /servers/{id}/metrics`: what the monitor measured of a server."""

from __future__ import annotations

from datetime import datetime

from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from hosts.figures import SPANS, beginning, of_guest, step_for
from vpspanel.api.describing import answers
from vpspanel.api.listing import moment_of, number
from vpspanel.api.servers import existing
from vpspanel.api.shapes.metrics import SERIES, MetricsShape, metrics_shape
from vpspanel.api.view import ApiView
from vpspanel.errors import Refused

MOST_POINTS = 720  # of each series


class ServerMetrics(ApiView):
    """Figures over time."""

    @answers(
        "Get figures over time",
        query={"type": SERIES, "start": (), "end": (), "step": ()},
        needed=("type", "start", "end"),
        metrics=MetricsShape,
    )
    def get(self, request: Request, pk: int) -> Response:
        """Those of the kinds that are asked for.

        The step is one of those that are kept: the finest that reaches back to the
        beginning, is not finer than asked for, and gives not too many points.
        """
        server = existing(self.actor, pk).server
        kinds = _kinds(request)
        start, end = moment_of(request, "start"), moment_of(request, "end")
        if end <= start:
            raise Refused("invalid_input", "The end must lie after the start.", field="end")
        step = _step(start, end, number(request, "step", 1))
        samples = of_guest(server.uuid, beginning(start, step), end, step)[: MOST_POINTS + 1]
        shape = metrics_shape(kinds, samples, start=start, end=end, step=step)
        return Response({"metrics": shape})


def _kinds(request: Request) -> list[str]:
    """The parameter `type`: repeated, or with commas."""
    texts = request.query_params.getlist("type")
    kinds = list(dict.fromkeys(kind for text in texts for kind in text.split(",") if kind))
    if not kinds or any(kind not in SERIES for kind in kinds):
        message = f"type is one or several of {', '.join(SERIES)}."
        raise Refused("invalid_input", message, field="type")
    return kinds


def _step(start: datetime, end: datetime, asked: int) -> int:
    finest = step_for(start, end, timezone.now(), MOST_POINTS)
    coarser = [span.step for span in SPANS if span.step >= max(finest, asked)]
    step = coarser[0] if coarser else SPANS[-1].step
    if (end - start).total_seconds() / step > MOST_POINTS:
        days = MOST_POINTS * step // 86400
        raise Refused("invalid_input", f"Ask for {days} days at most at once.", field="start")
    return step
