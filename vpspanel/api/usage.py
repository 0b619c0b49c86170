"""`GET /usage?from=…&to=…`: what servers were and moved, for whoever bills them."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import QuerySet
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from vpspanel.api.auth import Whose
from vpspanel.api.describing import lists
from vpspanel.api.listing import ids, moment_of, ordered, page_of
from vpspanel.api.shapes.usage import UsageShape, usage_shape
from vpspanel.api.view import ApiView
from vpspanel.errors import Refused
from vpspanel.servers.models import Server
from vpspanel.servers.usage import usage_of, used_servers

LONGEST = timedelta(days=400)
COLUMNS = {"id": "id", "name": "name", "created": "created"}


class UsageOfServers(ApiView):
    """Of the project, or of all projects of a reseller whose token acts in none."""

    whose = Whose.ANYBODY

    @lists(
        "List what servers were and when",
        "usage",
        UsageShape,
        sort=COLUMNS,
        filters={"from": (), "to": (), "account": (), "project": ()},
        needed=("from", "to"),
    )
    def get(self, request: Request) -> Response:
        """A page of servers that existed then, deleted ones included."""
        start, end, now = moment_of(request, "from"), moment_of(request, "to"), timezone.now()
        if not timedelta() < end - start <= LONGEST:
            message = f"to lies after from, by {LONGEST.days} days at most."
            raise Refused("invalid_input", message, field="to")
        end = min(end, now)
        rows = used_servers(self.actor, start, end)
        if accounts := ids(request, "account"):
            rows = rows.filter(project__account__in=accounts)
        if projects := ids(request, "project"):
            rows = rows.filter(project__in=projects)

        def shapes(page: QuerySet[Server]) -> list[UsageShape]:
            servers = list(page.select_related("project"))
            return [usage_shape(usage) for usage in usage_of(servers, start, end, now)]

        return page_of(request, "usage", ordered(request, rows, COLUMNS), shapes)
