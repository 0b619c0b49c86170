"""The record of what servers were and when: begun, switched and ended with the facts themselves.

Every function is to be called in the transaction that changes the fact. A
period is written once and ended once; nothing else ever changes it.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from vpspanel.servers.models import Server
from vpspanel.servers.models_period import ServerPeriod

_NEXT = timedelta(microseconds=1)  # no two of one server begin at the same moment


def begin_period(server: Server) -> None:
    """It was ordered: it has its plan from then on."""
    ServerPeriod.objects.create(
        server=server, server_type_id=server.server_type_id, began=server.created
    )


def switch_period(server_id: int, server_type_id: int, at: datetime) -> None:
    """It has another plan from that moment on; the same plan changes nothing.

    To be called before its own row says so.
    """
    open_one = _open_period(server_id)
    if open_one.server_type_id == server_type_id:
        return
    at = max(at, open_one.began + _NEXT)  # a clock may have been set back
    _end(open_one, at)
    ServerPeriod.objects.create(server_id=server_id, server_type_id=server_type_id, began=at)


def end_periods(server_id: int, at: datetime, *, never_built: bool) -> datetime:
    """It is gone; of one that was never built nothing counts. When that was, for its own row."""
    open_one = _open_period(server_id)
    at = max(at, open_one.began)
    _end(open_one, open_one.began if never_built else at)
    return at


def _open_period(server_id: int) -> ServerPeriod:
    """The one in which it is. A process of before an upgrade may have sold it without."""
    found = ServerPeriod.objects.select_for_update().filter(server=server_id, ended=None).first()
    if found is not None:
        return found
    server = Server.objects.get(pk=server_id)
    return ServerPeriod.objects.create(
        server=server, server_type_id=server.server_type_id, began=server.created
    )


def _end(period: ServerPeriod, at: datetime) -> None:
    ServerPeriod.objects.filter(pk=period.pk, ended=None).update(ended=at)
