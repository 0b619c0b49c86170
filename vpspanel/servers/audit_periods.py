"""The invariant of the record of periods: no gap, no overlap, from order to deletion."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby, pairwise

from vpspanel.servers.audit_findings import Finding, Level
from vpspanel.servers.models import Lifecycle, Server
from vpspanel.servers.models_period import ServerPeriod


def check_periods() -> Iterator[Finding]:
    """What is wrong with the periods of which server."""
    without = Server.objects.filter(periods=None).values_list("pk", "name")
    for pk, name in without:
        yield _error(pk, name, "Nothing says what it was and when")
    rows = ServerPeriod.objects.select_related("server").order_by("server", "began", "pk")
    for server, periods in groupby(rows.iterator(), key=lambda row: row.server):
        problem = _problem(server, list(periods))
        if problem:
            yield _error(server.pk, server.name, problem)


def _problem(server: Server, periods: list[ServerPeriod]) -> str:
    if periods[0].began != server.created:
        return f"Its first period begins at {periods[0].began}, it was ordered at {server.created}"
    for earlier, later in pairwise(periods):
        if earlier.ended != later.began:
            return f"A period ends at {earlier.ended}, the next begins at {later.began}"
    last = periods[-1]
    if server.lifecycle != Lifecycle.DELETED:
        if last.ended is not None or last.server_type_id != server.server_type_id:
            return "Its open period is not of the plan that it has"
    elif last.ended != (last.began if server.failed_reason else server.deleted_at):
        return f"Its last period ends at {last.ended}, it was deleted at {server.deleted_at}"
    return ""


def _error(pk: int, name: str, message: str) -> Finding:
    return Finding(Level.ERROR, "periods", f"server {pk} ({name})", message)
