"""The fleet in the admin: a row for each host, renewed while it is looked at."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from hosts.models import Location
from vpspanel.servers.fleet import SORTS, STATES, Wanted, read_fleet

COLUMNS = (
    ("name", "Host"),
    ("health", "Health"),
    ("vcpus", "vCPUs"),
    ("memory", "Memory"),
    ("disk", "Disk"),
    ("guests", "Guests"),
    ("load", "Load"),
)


def need_host_right(request: HttpRequest, right: str = "view") -> None:
    """Raises `PermissionDenied` for staff who may not do that with hosts."""
    if not request.user.has_perm(f"hosts.{right}_host"):
        raise PermissionDenied


def wanted_from(request: HttpRequest) -> Wanted:
    """What the address asks for."""
    asked = request.GET
    sort = asked.get("sort", "name")
    return Wanted(
        words=asked.get("q", "").strip()[:100],
        location=asked.get("location", "")[:32],
        state=asked.get("state", ""),
        sort=sort if sort in SORTS else "name",
        down=asked.get("down") == "1",
        page=asked.get("page", "1"),
    )


@require_safe
def fleet_page(request: HttpRequest) -> HttpResponse:
    """The page around the rows."""
    context = {
        **admin.site.each_context(request),
        **_rows_context(request),
        "title": "Fleet",
        "locations": Location.objects.values_list("name", flat=True),
        "states": STATES,
    }
    return render(request, "admin/servers/fleet.html", context)


@require_safe
def fleet_rows_page(request: HttpRequest) -> HttpResponse:
    """The rows alone, fetched again every few seconds."""
    return render(request, "admin/servers/fleet_rows.html", _rows_context(request))


def _rows_context(request: HttpRequest) -> dict[str, Any]:
    need_host_right(request)
    wanted = wanted_from(request)
    fleet = read_fleet(wanted)
    return {
        "wanted": wanted,
        "fleet": fleet,
        "columns": [_column(wanted, name, label) for name, label in COLUMNS],
        "here": _query(wanted, page=fleet.page.number),
        "previous": _query(wanted, page=fleet.page.number - 1),
        "next": _query(wanted, page=fleet.page.number + 1),
    }


def _column(wanted: Wanted, name: str, label: str) -> dict[str, str]:
    """A column's head: the link that sorts by it, or the other way round."""
    is_it = wanted.sort == name
    down = not wanted.down if is_it else name not in ("name", "health")
    sorted_by = ("descending" if wanted.down else "ascending") if is_it else "none"
    return {"label": label, "sorted": sorted_by, "query": _query(wanted, sort=name, down=down)}


def _query(wanted: Wanted, **changes: Any) -> str:
    asked = {
        "q": wanted.words,
        "location": wanted.location,
        "state": wanted.state,
        "sort": wanted.sort,
        "down": wanted.down,
        **changes,
    }
    return urlencode(
        {name: 1 if value is True else value for name, value in asked.items() if value}
    )
