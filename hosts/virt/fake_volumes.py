"""The pools and volumes of a simulated host: their sizes are real, their bytes mostly are not.

Of each volume it keeps the SHA-256 of what was written and the first bytes.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from sqlite3 import Connection, Row
from typing import BinaryIO

from hosts.virt.driver import Progress
from hosts.virt.errors import (
    AlreadyExists,
    CallTimeout,
    DiskFull,
    InvalidState,
    NotFound,
    VirtError,
)
from hosts.virt.fake_base import GIB, FakeBase, host_call
from hosts.virt.fake_qcow2 import EMPTY_BYTES
from hosts.virt.fake_store import domain_from_json
from hosts.virt.names import volume_name
from hosts.virt.spec import PoolSeen, VolumeSeen
from hosts.virt.xml import pool_xml

UPLOAD_PREFIX = ".upload-"
CHUNK = 1024 * 1024
HEAD_BYTES = 1024 * 1024
OVERLAY_ALLOCATION = 196_608  # what an empty qcow2 overlay takes on a real host


@dataclass(frozen=True, slots=True)
class VolumeRecord:
    """What the simulated host kept of a volume; `head` is at most 1 MiB of its first bytes."""

    pool: str
    name: str
    capacity: int
    allocation: int
    format: str
    base: str
    length: int
    sha256: str
    head: bytes


class VolumeCalls(FakeBase):
    """The part of the contract about storage."""

    @host_call
    def ensure_pool(self, name: str, path: str) -> PoolSeen:
        pool_xml(name, path)
        with self._transaction() as db:
            row = db.execute("SELECT * FROM pool WHERE name = ?", (name,)).fetchone()
            if row is not None and row["path"] != path:
                raise AlreadyExists(f"Pool {name} exists at {row['path']}, not at {path}")
            if row is None:
                db.execute("INSERT INTO pool (name, path) VALUES (?, ?)", (name, path))
            return self._pool_seen(db, name)

    @host_call
    def pool(self, name: str) -> PoolSeen:
        with self._transaction() as db:
            return self._pool_seen(db, name)

    @host_call
    def volumes(self, pool: str) -> list[VolumeSeen]:
        with self._transaction() as db:
            _need_pool(db, pool)
            rows = db.execute("SELECT * FROM volume WHERE pool = ? ORDER BY name", (pool,))
            return [
                VolumeSeen(
                    pool=row["pool"],
                    name=row["name"],
                    capacity_bytes=row["capacity"],
                    allocation_bytes=row["allocation"],
                    format=row["format"],
                    file_bytes=file_bytes(row),
                    base=row["base"],
                )
                for row in rows
            ]

    @host_call
    def upload_volume(
        self,
        pool: str,
        name: str,
        source: BinaryIO,
        *,
        length: int,
        format: str,  # noqa: A002  (the contract's name)
        capacity_bytes: int,
        progress: Progress | None = None,
        timeout: float = 3600,
    ) -> None:
        volume_name(name)
        if name.startswith(UPLOAD_PREFIX):
            raise ValueError(f"{name!r} starts like an unfinished upload")
        temporary = UPLOAD_PREFIX + name
        with self._transaction() as db:
            _need_pool(db, pool)
            if find_volume(db, pool, name) is not None:
                return
            _delete(db, pool, temporary)
            self._need_room(db, length)
            insert_volume(db, pool, temporary, capacity_bytes, 0, format)
        try:
            end = time.monotonic() + timeout
            digest, head = self._receive(pool, temporary, source, length, progress, end)
            with self._transaction() as db:
                self._publish(db, pool, temporary, name, length, digest, head)
        finally:
            with self._transaction() as db:
                _delete(db, pool, temporary)

    def _receive(
        self,
        pool: str,
        temporary: str,
        source: BinaryIO,
        length: int,
        progress: Progress | None,
        end: float,
    ) -> tuple[str, bytes]:
        """Read `length` bytes; returns their SHA-256 and the first of them."""
        digest, head, sent = hashlib.sha256(), b"", 0
        while sent < length:
            data = source.read(min(CHUNK, length - sent))
            if not data:
                raise VirtError(
                    f"The source ended after {sent} of {length} bytes", code="source_too_short"
                )
            if time.monotonic() > end:
                raise CallTimeout(f"{temporary} was not uploaded in time")
            digest.update(data)
            head += data[: HEAD_BYTES - len(head)]
            with self._transaction() as db:
                self._need_room(db, len(data))
                db.execute(
                    "UPDATE volume SET allocation = allocation + ? WHERE pool = ? AND name = ?",
                    (len(data), pool, temporary),
                )
            sent += len(data)
            if progress is not None:
                progress(sent)
        return digest.hexdigest(), head

    def _publish(
        self,
        db: Connection,
        pool: str,
        temporary: str,
        name: str,
        length: int,
        digest: str,
        head: bytes,
    ) -> None:
        """Give the complete upload its name, unless another upload was first."""
        if find_volume(db, pool, name) is None:
            db.execute(
                "UPDATE volume SET name = ?, length = ?, sha256 = ?, head = ?"
                " WHERE pool = ? AND name = ?",
                (name, length, digest, head, pool, temporary),
            )

    @host_call
    def write_volume(self, pool: str, name: str, data: bytes, *, capacity_bytes: int) -> None:
        volume_name(name)
        if len(data) > capacity_bytes:
            raise ValueError(f"{len(data)} bytes do not fit into {capacity_bytes}")
        with self._transaction() as db:
            _need_pool(db, pool)
            row = find_volume(db, pool, name)
            if row is None:
                self._need_room(db, len(data))
                insert_volume(db, pool, name, capacity_bytes, len(data), "raw")  # sparse
            digest = hashlib.sha256(data).hexdigest()
            db.execute(
                "UPDATE volume SET capacity = MAX(capacity, ?), length = ?, sha256 = ?, head = ?"
                " WHERE pool = ? AND name = ?",
                (capacity_bytes, len(data), digest, data[:HEAD_BYTES], pool, name),
            )

    @host_call
    def create_overlay(self, pool: str, name: str, *, base: str, capacity_bytes: int) -> None:
        volume_name(name)
        with self._transaction() as db:
            _need_pool(db, pool)
            row = find_volume(db, pool, name)
            if row is not None:
                if row["base"] != base or row["capacity"] != capacity_bytes:
                    raise AlreadyExists(f"Volume {name} exists with another base or capacity")
                return
            below = find_volume(db, pool, base)
            if below is None:
                raise NotFound(f"No volume {base} in pool {pool}")
            if below["base"]:
                raise InvalidState(f"Volume {base} stands on another one itself: it is no base")
            self._need_room(db, OVERLAY_ALLOCATION)
            insert_volume(db, pool, name, capacity_bytes, OVERLAY_ALLOCATION, "qcow2", base)

    @host_call
    def grow_volume(self, pool: str, name: str, *, capacity_bytes: int) -> None:
        volume_name(name)
        with self._transaction() as db:
            _need_pool(db, pool)
            row = find_volume(db, pool, name)
            if row is None:
                raise NotFound(f"No volume {name} in pool {pool}")
            if row["format"] != "qcow2":
                raise InvalidState(f"Volume {name} is {row['format']} and not qcow2")
            db.execute(
                "UPDATE volume SET capacity = MAX(capacity, ?) WHERE pool = ? AND name = ?",
                (capacity_bytes, pool, name),
            )

    @host_call
    def volume_users(self, pool: str, name: str) -> list[str]:
        volume_name(name)
        with self._transaction() as db:
            _need_pool(db, pool)
            if find_volume(db, pool, name) is None:
                return []
            above = "SELECT name FROM volume WHERE pool = ? AND base = ?"
            found = {row["name"] for row in db.execute(above, (pool, name))}
            for row in db.execute("SELECT name, spec, live_spec FROM domain"):
                specs = [domain_from_json(text) for text in (row["spec"], row["live_spec"]) if text]
                disks = {(disk.pool, disk.volume) for spec in specs for disk in spec.disks}
                if (pool, name) in disks:
                    found.add(row["name"])
            return sorted(found)

    @host_call
    def delete_volume(self, pool: str, name: str) -> bool:
        volume_name(name)
        with self._transaction() as db:
            _need_pool(db, pool)
            return _delete(db, pool, name)

    # --- for tests ------------------------------------------------------------

    def volume_record(self, pool: str, name: str) -> VolumeRecord | None:
        """What was written to a volume, or None if there is none. Not logged as a call."""
        with self._transaction() as db:
            row = find_volume(db, pool, name)
            return None if row is None else VolumeRecord(**dict(row))

    def add_foreign_volume(
        self,
        pool: str,
        name: str,
        size_bytes: int,
        *,
        format: str = "raw",  # noqa: A002 (the contract's name)
    ) -> None:
        """A file that somebody else put into the pool; also the way to fill it up."""
        with self._transaction() as db:
            _need_pool(db, pool)
            insert_volume(db, pool, name, size_bytes, size_bytes, format)

    # --- inside -----------------------------------------------------------------

    def _available(self, db: Connection) -> int:
        """Bytes left; all pools of a simulated host share its one disk."""
        (used,) = db.execute("SELECT COALESCE(SUM(allocation), 0) FROM volume").fetchone()
        return max(0, int(self.options.disk_gib * GIB) - int(used))

    def _need_room(self, db: Connection, size: int) -> None:
        available = self._available(db)
        if size > available:
            raise DiskFull(f"{size} bytes needed, {available} available")

    def _pool_seen(self, db: Connection, name: str) -> PoolSeen:
        row = _need_pool(db, name)
        return PoolSeen(
            name=name,
            type="dir",
            path=row["path"],
            capacity_bytes=int(self.options.disk_gib * GIB),
            available_bytes=self._available(db),
            active=True,
        )


def _need_pool(db: Connection, name: str) -> Row:
    row: Row | None = db.execute("SELECT * FROM pool WHERE name = ?", (name,)).fetchone()
    if row is None:
        raise NotFound(f"No storage pool {name}")
    return row


def find_volume(db: Connection, pool: str, name: str) -> Row | None:
    row: Row | None = db.execute(
        "SELECT * FROM volume WHERE pool = ? AND name = ?", (pool, name)
    ).fetchone()
    return row


def file_bytes(row: Row) -> int:
    """The length of what is sent of it: what was written, if that was kept, else an empty disk."""
    return int(row["length"]) if 0 < row["length"] <= HEAD_BYTES else EMPTY_BYTES


def insert_volume(
    db: Connection,
    pool: str,
    name: str,
    capacity: int,
    allocation: int,
    volume_format: str,
    base: str = "",
) -> None:
    db.execute(
        "INSERT INTO volume (pool, name, capacity, allocation, format, base)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (pool, name, capacity, allocation, volume_format, base),
    )


def _delete(db: Connection, pool: str, name: str) -> bool:
    cursor = db.execute("DELETE FROM volume WHERE pool = ? AND name = ?", (pool, name))
    return cursor.rowcount > 0
