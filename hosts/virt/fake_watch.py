"""Tailing the event log of a simulated host, from whatever process wrote to it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from sqlite3 import Connection
from uuid import UUID

from hosts.virt.fake_guest import settle
from hosts.virt.fake_store import Store, moment, setting
from hosts.virt.spec import DomainEvent, EventKind

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.04

Sink = Callable[[DomainEvent], None]


class Watch:
    """One `watch()`: a thread that hands every new event to `sink` until `stop`."""

    def __init__(self, store: Store, sink: Sink, *, name: str) -> None:
        self._store = store
        self._sink = sink
        self._stopping = threading.Event()
        with store.transaction() as db:
            self._position = _newest(db)
        self._session: tuple[str, str] | None = None  # so that the first thing said is of it
        self._connected = False
        self._thread = threading.Thread(target=self._run, name=f"watch-{name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """No event is handed out after this returns. Safe to call twice, also from the sink."""
        self._stopping.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._stopping.wait(POLL_SECONDS):
            try:
                events = self._poll()
            except Exception:
                logger.exception("Cannot read the events of a simulated host")
                continue
            for event in events:
                if self._stopping.is_set():
                    return
                self._hand_out(event)

    def _hand_out(self, event: DomainEvent) -> None:
        try:
            self._sink(event)
        except Exception:
            logger.exception("A receiver of host events failed")

    def _poll(self) -> list[DomainEvent]:
        """What is new. Most of the time nothing is, and then nobody is locked out for it."""
        (row,) = self._store.read(
            "SELECT (SELECT COALESCE(MAX(id), 0) FROM event) AS newest,"
            " (SELECT COUNT(*) FROM domain WHERE due_at <= (julianday('now') - 2440587.5) * 86400)"
            " AS due,"
            " (SELECT COALESCE(MAX(value), '') FROM setting WHERE name = 'session') AS session,"
            " (SELECT COALESCE(MAX(value), '1') FROM setting WHERE name = 'reachable') AS reachable"
        )
        session = (row["reachable"], row["session"])
        if (row["newest"], row["due"], session) == (self._position, 0, self._session):
            return []
        with self._store.transaction() as db:
            settle(db)
            return self._collect(db)

    def _collect(self, db: Connection) -> list[DomainEvent]:
        session = _session(db)
        if session != self._session or not self._connected:
            return self._reconnect(db, session)
        rows = db.execute(
            "SELECT * FROM event WHERE id > ? ORDER BY id", (self._position,)
        ).fetchall()
        self._position = _newest(db)
        return [
            DomainEvent(
                kind=EventKind(row["kind"]),
                uuid=UUID(row["uuid"]) if row["uuid"] else None,
                at=moment(row["at"]),
                detail=row["detail"],
            )
            for row in rows
        ]

    def _reconnect(self, db: Connection, session: tuple[str, str]) -> list[DomainEvent]:
        reachable = session[0] == "1"
        events = []
        if self._session is None:
            if not reachable:
                events.append(_connection_event(EventKind.DISCONNECTED))
        else:
            self._position = _newest(db)  # what happened in between is lost
            if self._connected:
                events.append(_connection_event(EventKind.DISCONNECTED))
        if reachable:
            events.append(_connection_event(EventKind.CONNECTED))
        self._session, self._connected = session, reachable
        return events


def _connection_event(kind: EventKind) -> DomainEvent:
    return DomainEvent(kind=kind, uuid=None, at=datetime.now(UTC))


def _newest(db: Connection) -> int:
    (newest,) = db.execute("SELECT COALESCE(MAX(id), 0) FROM event").fetchone()
    return int(newest)


def _session(db: Connection) -> tuple[str, str]:
    """Changes whenever connections to the host break."""
    return setting(db, "reachable", "1"), setting(db, "session", "")
