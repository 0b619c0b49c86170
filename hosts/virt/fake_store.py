"""Where a simulated host keeps its state: one SQLite database per host.

With a path the database is a file in WAL mode, so web, worker and monitor
share one host, and a process that dies in the middle of a transaction leaves
the state as it was before. Without a path it lives in this process.
Times in the tables are seconds since the epoch.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from hosts.virt.errors import VirtError
from hosts.virt.spec import DiskSpec, DomainSpec, EventKind, FilterSpec, NicSpec

SCHEMA_VERSION = 1
KEEP_EVENTS = 20_000
KEEP_CALLS = 20_000

SCHEMA = """
CREATE TABLE IF NOT EXISTS setting (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS pool (name TEXT PRIMARY KEY, path TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS network (name TEXT PRIMARY KEY, spec TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS filter (name TEXT PRIMARY KEY, spec TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS volume (
    pool TEXT NOT NULL, name TEXT NOT NULL, capacity INTEGER NOT NULL,
    allocation INTEGER NOT NULL, format TEXT NOT NULL, base TEXT NOT NULL DEFAULT '',
    length INTEGER NOT NULL DEFAULT 0, sha256 TEXT NOT NULL DEFAULT '',
    head BLOB NOT NULL DEFAULT x'', PRIMARY KEY (pool, name)
);
CREATE TABLE IF NOT EXISTS domain (
    uuid TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, spec TEXT NOT NULL,
    live_spec TEXT, power TEXT NOT NULL DEFAULT 'off', ours INTEGER NOT NULL DEFAULT 1,
    phantom INTEGER NOT NULL DEFAULT 0, autostart INTEGER NOT NULL DEFAULT 0,
    ignore_acpi INTEGER NOT NULL DEFAULT 0, has_agent INTEGER NOT NULL DEFAULT 0,
    passwords TEXT NOT NULL DEFAULT '{}', started_at REAL, booted_at REAL,
    boots INTEGER NOT NULL DEFAULT 0, due_at REAL, due TEXT NOT NULL DEFAULT '',
    holder TEXT NOT NULL DEFAULT ''
);
CREATE TABLE IF NOT EXISTS moving (
    uuid TEXT PRIMARY KEY, state TEXT NOT NULL, pid INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS serial_log (uuid TEXT PRIMARY KEY, text BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS event (
    id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, uuid TEXT,
    at REAL NOT NULL, detail TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS call (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, args TEXT NOT NULL,
    pid INTEGER NOT NULL, at REAL NOT NULL, outcome TEXT NOT NULL DEFAULT ''
);
CREATE TABLE IF NOT EXISTS fault (
    id INTEGER PRIMARY KEY AUTOINCREMENT, call TEXT NOT NULL, fault TEXT NOT NULL,
    skip INTEGER NOT NULL, remaining INTEGER NOT NULL, delay REAL NOT NULL
);
"""

WIPE = (
    "DELETE FROM setting",
    "DELETE FROM pool",
    "DELETE FROM network",
    "DELETE FROM filter",
    "DELETE FROM volume",
    "DELETE FROM domain",
    "DELETE FROM moving",
    "DELETE FROM serial_log",
    "DELETE FROM event",
    "DELETE FROM call",
    "DELETE FROM fault",
)

_inherited: list[sqlite3.Connection] = []  # SQLite forbids closing a connection across fork()


class Store:
    """The database of one simulated host, safe from several threads and processes."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._pid = os.getpid()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A write transaction: all of the block, or nothing of it."""
        self._notice_fork()
        with self._lock:
            db = self._connection or self._open()
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")

    def read(self, sql: str, parameters: tuple[Any, ...] = ()) -> list[sqlite3.Row]:
        """The rows of one query; in a file this waits for no writer of another process."""
        self._notice_fork()
        with self._lock:
            db = self._connection or self._open()
            return db.execute(sql, parameters).fetchall()

    def close(self) -> None:
        """Close the file; the next use opens it again. State in memory is kept."""
        self._notice_fork()
        with self._lock:
            if self._connection is not None and self.path is not None:
                self._connection.close()
                self._connection = None

    def wipe(self) -> None:
        """Empty every table: a fresh host."""
        with self.transaction() as db:
            for statement in WIPE:
                db.execute(statement)

    def _notice_fork(self) -> None:
        if self._pid != os.getpid():
            if self._connection is not None and self.path is not None:
                _inherited.append(self._connection)
                self._connection = None
            self._lock = threading.RLock()
            self._pid = os.getpid()

    def _open(self) -> sqlite3.Connection:
        if self.path is None:
            db = _connect(":memory:")
            db.executescript(SCHEMA)
        else:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Two processes must not switch a new file to WAL at the same time.
            with self.path.with_suffix(".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                db = _connect(str(self.path))
                _prepare(db, self.path)
        self._connection = db
        return db


def _connect(database: str) -> sqlite3.Connection:
    db = sqlite3.connect(database, timeout=30, isolation_level=None, check_same_thread=False)
    db.row_factory = sqlite3.Row
    return db


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version not in (0, SCHEMA_VERSION):
        raise VirtError(
            f"The simulated host in {path} was written by another version of the panel; "
            "delete that file to start with an empty host."
        )
    db.execute("PRAGMA journal_mode = WAL")
    # A killed process loses nothing without fsync; only a power cut could.
    db.execute("PRAGMA synchronous = OFF")
    # Also what a later version of the panel added: each table only if it is not there.
    db.executescript(f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT")


# --- stores in memory: one per name -------------------------------------------

_memory: dict[str, Store] = {}
_memory_lock = threading.Lock()


def memory_store(name: str) -> Store:
    """The state in this process of the simulated host `name`."""
    with _memory_lock:
        return _memory.setdefault(name, Store(None))


def reset_memory(name: str | None = None) -> None:
    """Empty the simulated host `name` of this process, or all of them (between tests)."""
    with _memory_lock:
        stores = [s for n, s in _memory.items() if name in (None, n)]
    for store in stores:
        store.wipe()


# --- settings and events --------------------------------------------------------


def setting(db: sqlite3.Connection, name: str, default: str) -> str:
    row = db.execute("SELECT value FROM setting WHERE name = ?", (name,)).fetchone()
    return str(row["value"]) if row else default


def set_setting(db: sqlite3.Connection, name: str, value: str) -> None:
    db.execute("INSERT OR REPLACE INTO setting (name, value) VALUES (?, ?)", (name, value))


def emit(
    db: sqlite3.Connection, kind: EventKind, uuid: str | None, detail: str, at: float | None = None
) -> None:
    """Append to the event log that every `watch()` tails."""
    cursor = db.execute(
        "INSERT INTO event (kind, uuid, at, detail) VALUES (?, ?, ?, ?)",
        (kind.value, uuid, time.time() if at is None else at, detail),
    )
    event_id = int(cursor.lastrowid or 0)
    if event_id % 500 == 0:
        db.execute("DELETE FROM event WHERE id <= ?", (event_id - KEEP_EVENTS,))


def record_call(db: sqlite3.Connection, name: str, args: list[str]) -> int:
    """Append to the call log; returns the row's id, for its outcome."""
    cursor = db.execute(
        "INSERT INTO call (name, args, pid, at) VALUES (?, ?, ?, ?)",
        (name, json.dumps(args), os.getpid(), time.time()),
    )
    call_id = int(cursor.lastrowid or 0)
    if call_id % 500 == 0:
        db.execute("DELETE FROM call WHERE id <= ?", (call_id - KEEP_CALLS,))
    return call_id


# --- specs as JSON --------------------------------------------------------------


def domain_to_json(spec: DomainSpec) -> str:
    """`spec` as text that `domain_from_json` turns back into an equal spec."""
    data = {name: getattr(spec, name) for name in DomainSpec.__slots__}
    data |= {
        "uuid": str(spec.uuid),
        "disks": [asdict(disk) for disk in spec.disks],
        "nics": [asdict(nic) for nic in spec.nics],
        "metadata": dict(spec.metadata),
    }
    return json.dumps(data)


def domain_from_json(text: str) -> DomainSpec:
    data = json.loads(text)
    data["uuid"] = UUID(data["uuid"])
    data["disks"] = tuple(DiskSpec(**disk) for disk in data["disks"])
    data["nics"] = tuple(NicSpec(**nic) for nic in data["nics"])
    return DomainSpec(**data)


def filter_to_json(spec: FilterSpec) -> str:
    return json.dumps(asdict(spec) | {"uuid": str(spec.uuid)})


def filter_from_json(text: str) -> FilterSpec:
    data = json.loads(text)
    return FilterSpec(
        name=data["name"],
        uuid=UUID(data["uuid"]),
        mac=data["mac"],
        ipv4=tuple(data["ipv4"]),
        ipv6=tuple(data["ipv6"]),
    )


def moment(seconds: float) -> datetime:
    """An aware UTC datetime from seconds since the epoch."""
    return datetime.fromtimestamp(seconds, UTC)
