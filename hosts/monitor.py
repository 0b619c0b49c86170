"""Watching all hosts: one thread for each host that is enrolled.

The monitor knows hosts and guests, and nobody who owns them: what it sees goes
to a `Sink`. Several monitors may run at once; all they write is conditional.
"""

from __future__ import annotations

import threading

import structlog
from django.db import DatabaseError, close_old_connections

from hosts.enrolment import Desk
from hosts.keys import write_known_hosts
from hosts.models import Host
from hosts.monitor_host import HostWatch, Pace, Sink
from hosts.monitor_status import StatusChange

__all__ = ["Monitor", "Pace", "Sink", "StatusChange"]

log = structlog.get_logger(__name__)

GOODBYE = 2.0  # seconds for all threads together to end


class Monitor:
    """Watches every enrolled host, from `run` (which blocks) until `stop`."""

    def __init__(self, sink: Sink, pace: Pace | None = None):
        self._sink = sink
        self._pace = pace or Pace()
        self._stopping = threading.Event()
        self._watches: dict[int, HostWatch] = {}
        self._desk = Desk()

    def stop(self) -> None:
        """Let `run` return."""
        self._stopping.set()

    def run(self) -> None:
        """Watch until stopped; a thread that a host keeps busy is left behind (it is a daemon)."""
        try:
            while not self._stopping.is_set():
                try:
                    self._reread()
                    write_known_hosts()
                    self._desk.turn()
                except DatabaseError:
                    log.exception("hosts_unreadable")
                finally:
                    close_old_connections()
                self._stopping.wait(self._pace.reread)
        finally:
            self._end(list(self._watches.values()))
            self._watches.clear()

    def _reread(self) -> None:
        """Begin watching hosts that are new, and let go of those that are gone or moved."""
        wanted = dict(Host.objects.values_list("pk", "uri"))
        gone = [pk for pk, watch in self._watches.items() if wanted.get(pk) != watch.uri]
        for pk in gone:
            self._watches.pop(pk).stop()
        for pk, uri in wanted.items():
            if pk not in self._watches:
                watch = self._watches[pk] = HostWatch(pk, uri, self._sink, self._pace)
                watch.start()

    def _end(self, watches: list[HostWatch]) -> None:
        for watch in watches:
            watch.stop()
        for watch in watches:
            watch.join(GOODBYE / max(1, len(watches)))
