"""What every page with graphs has in common: its range, its context, the answer to its script."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone

from vpspanel.errors import Refused
from vpspanel.servers.graphs import RANGES, USUAL, Range, Series, as_json, as_table, range_named


def asked_range(request: HttpRequest) -> Range:
    """The one that the address names; the usual one rather than an error."""
    try:
        return range_named(request.GET.get("range", ""))
    except Refused:
        return USUAL


def figures_answer(request: HttpRequest, read: Callable[[Range], Series]) -> HttpResponse:
    """JSON of the range that the address names; 400 for one that does not exist."""
    try:
        of = range_named(request.GET.get("range", ""))
    except Refused as refusal:
        error = {"code": refusal.code, "message": refusal.message}
        return JsonResponse({"error": error}, status=400)
    return JsonResponse(as_json(read(of)))


def graph_context(series: Series, figures_url: str) -> dict[str, Any]:
    """The places of the graphs, where their script gets the points, and the table."""
    return {
        "series": series,
        "ranges": RANGES,
        "table": as_table(series),
        "figures_url": figures_url,
        "zone": timezone.get_current_timezone_name(),
    }
