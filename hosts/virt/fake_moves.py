"""Guests that go from one simulated host to another.

Each of the two keeps its own half, as two daemons do. When the process that
drives a move is killed, they notice (fake_guest.py): the guest goes on where
it was, unless it was paused for its last bytes; then somebody has to say where.
"""

from __future__ import annotations

import os
import time
from sqlite3 import Connection, Row
from uuid import UUID

from hosts.virt.driver import Driver, MoveWatch
from hosts.virt.errors import InvalidState, NotFound, StillMoving, Unsupported, VirtError
from hosts.virt.fake_base import host_call
from hosts.virt.fake_copies import CopyCalls
from hosts.virt.fake_guest import ACTIVE, find, need_ours, power_off, set_power
from hosts.virt.fake_store import domain_from_json, domain_to_json
from hosts.virt.fake_volumes import find_volume
from hosts.virt.spec import DomainSpec, EventKind, MoveProgress, Power

TICKS = 20
MIB = 1024**2
WRITTEN = ("allocation", "length", "sha256", "head")  # of a volume, besides its name and size


class MoveCalls(CopyCalls):
    """The part of the contract about moves."""

    @host_call
    def move(
        self,
        target: Driver,
        spec: DomainSpec,
        *,
        address: str,
        copied: tuple[str, ...] = (),
        bandwidth_mib: int = 0,
        progress: MoveWatch | None = None,
        timeout: float = 3600,
    ) -> None:
        if not isinstance(target, MoveCalls):
            raise Unsupported(f"{self.uri} and {target.uri} are hosts of two kinds")
        with self._transaction() as db:
            row = need_ours(db, spec.uuid)
            if row["power"] != Power.RUNNING:
                raise InvalidState(f"Domain {row['name']} is {row['power']}")
            if row["move"] == "leaving":
                raise StillMoving(f"Domain {row['name']} is being moved already")
        target._await(spec)
        with self._transaction() as db:
            _note(db, spec.uuid, "leaving")
        try:
            self._send(spec.uuid, progress)
            with self._transaction() as db:
                set_power(db, str(spec.uuid), Power.PAUSED, EventKind.PAUSED, "migrated")
                row = need_ours(db, spec.uuid)
                written = [
                    _written(db, domain_from_json(row["live_spec"]), disk) for disk in copied
                ]
        except BaseException:
            target._turn_away(spec.uuid)
            self._resume(spec.uuid)
            raise
        target._welcome(spec, row, dict(zip(copied, written, strict=True)))
        with self._transaction() as db:
            power_off(db, str(spec.uuid), "migrated")
            _note(db, spec.uuid, "left")

    @host_call
    def call_off_move(self, uuid: UUID) -> bool:
        with self._transaction() as db:
            row = find(db, uuid)
            if row is None or row["move"] != "leaving":
                return False
            db.execute("DELETE FROM moving WHERE uuid = ?", (str(uuid),))
            return True

    @host_call
    def stay(self, uuid: UUID) -> None:
        with self._transaction() as db:
            row = need_ours(db, uuid)
            if row["power"] not in ACTIVE:
                raise InvalidState(f"Domain {row['name']} is {row['power']}")
        self._resume(uuid)

    # --- the two halves -----------------------------------------------------------

    def _send(self, uuid: UUID, progress: MoveWatch | None) -> None:
        """Its memory and disks, while it runs. Raises `VirtError` when it is called off."""
        for tick in range(TICKS + 1):
            time.sleep(self.options.move_s / TICKS)
            with self._transaction() as db:
                row = need_ours(db, uuid)
                if row["move"] != "leaving":
                    raise VirtError(f"The move of {row['name']} was called off", code="cancelled")
                if row["power"] != Power.RUNNING:
                    raise InvalidState(f"Domain {row['name']} is {row['power']}")
            total = domain_from_json(row["live_spec"]).memory_mib * MIB
            if progress is not None:
                progress(MoveProgress(total * tick // TICKS, total))

    def _await(self, spec: DomainSpec) -> None:
        """The guest is about to arrive: it is there, paused."""
        with self._transaction() as db:
            row = need_ours(db, spec.uuid)
            if row["power"] in ACTIVE:
                raise InvalidState(f"Domain {row['name']} is not off on its new host")
            need_filters(db, spec)
            need_parts(db, spec)
            db.execute(
                "UPDATE domain SET live_spec = ? WHERE uuid = ?",
                (domain_to_json(spec), str(spec.uuid)),
            )
            set_power(db, str(spec.uuid), Power.PAUSED, EventKind.STARTED, "migrated")
            _note(db, spec.uuid, "arriving")

    def _turn_away(self, uuid: UUID) -> None:
        with self._transaction() as db:
            row = find(db, uuid)
            if row is not None and row["move"] == "arriving":
                power_off(db, str(uuid), "failed")
                db.execute("DELETE FROM moving WHERE uuid = ?", (str(uuid),))

    def _welcome(self, spec: DomainSpec, row: Row, written: dict[str, Row]) -> None:
        """The guest runs here, as it ran there."""
        with self._transaction() as db:
            for disk in spec.disks:
                if disk.target in written:
                    values = [written[disk.target][name] for name in WRITTEN]
                    columns = ", ".join(f"{name} = ?" for name in WRITTEN)
                    db.execute(
                        f"UPDATE volume SET {columns} WHERE pool = ? AND name = ?",  # noqa: S608
                        (*values, disk.pool, disk.volume),
                    )
            db.execute(
                "UPDATE domain SET started_at = ?, booted_at = ?, boots = ?, has_agent = ?,"
                " ignore_acpi = ?, passwords = ? WHERE uuid = ?",
                (
                    *(row[name] for name in ("started_at", "booted_at", "boots", "has_agent")),
                    *(row[name] for name in ("ignore_acpi", "passwords")),
                    row["uuid"],
                ),
            )
            db.execute("DELETE FROM moving WHERE uuid = ?", (row["uuid"],))
            set_power(db, row["uuid"], Power.RUNNING, EventKind.RESUMED, "migrated")

    def _resume(self, uuid: UUID) -> None:
        with self._transaction() as db:
            row = find(db, uuid)
            db.execute("DELETE FROM moving WHERE uuid = ?", (str(uuid),))
            if row is not None and row["power"] == Power.PAUSED:
                set_power(db, str(uuid), Power.RUNNING, EventKind.RESUMED, "migrated")

    # --- for tests ------------------------------------------------------------------

    def strand(self, uuid: UUID) -> None:
        """The process that moved it was killed when it was paused for its last bytes."""
        with self._transaction() as db:
            set_power(db, str(uuid), Power.PAUSED, EventKind.PAUSED, "migrated")
            _note(db, uuid, "leaving")


def _note(db: Connection, uuid: UUID, state: str) -> None:
    db.execute(
        "INSERT OR REPLACE INTO moving (uuid, state, pid) VALUES (?, ?, ?)",
        (str(uuid), state, os.getpid()),
    )


def _written(db: Connection, spec: DomainSpec, target: str) -> Row:
    """The volume behind that disk."""
    for disk in spec.disks:
        if disk.target == target and (row := find_volume(db, disk.pool, disk.volume)) is not None:
            return row
    raise NotFound(f"{spec.name} has no disk {target}")


# --- what a guest needs of its host ---------------------------------------------------


def need_filters(db: Connection, spec: DomainSpec) -> None:
    """The filters of its cards. Raises `NotFound`."""
    for nic in spec.nics:
        name = nic.filter_name
        if db.execute("SELECT 1 FROM filter WHERE name = ?", (name,)).fetchone() is None:
            raise NotFound(f"No network filter {name} on this host")


def need_parts(db: Connection, spec: DomainSpec) -> None:
    """The disks, their base volumes and the networks that a start needs. Raises `NotFound`."""
    for disk in spec.disks:
        name: str = disk.volume
        while name:
            row = find_volume(db, disk.pool, name)
            if row is None:
                raise NotFound(f"No volume {name} in pool {disk.pool}")
            name = row["base"]
    for nic in spec.nics:
        if nic.network is not None:
            found = db.execute("SELECT 1 FROM network WHERE name = ?", (nic.network,)).fetchone()
            if found is None:
                raise NotFound(f"No network {nic.network} on this host")
