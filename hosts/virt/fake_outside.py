"""What happens to a simulated host behind the panel's back, for tests and demonstrations.

None of these are calls of the contract: they are not logged, never fail by
injection, and work while the host is unreachable.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import datetime
from sqlite3 import Row
from typing import Any
from uuid import UUID, uuid4

from hosts.virt.errors import VirtError
from hosts.virt.fake_base import FakeBase
from hosts.virt.fake_faults import FOREVER, CallRecord, Fault, call_log, plan_fault
from hosts.virt.fake_guest import (
    ACTIVE,
    crash,
    current_spec,
    end_guest,
    need,
    power_off,
    power_on,
    restart,
    set_power,
)
from hosts.virt.fake_logs import add_to_log
from hosts.virt.fake_store import (
    domain_from_json,
    domain_to_json,
    emit,
    filter_from_json,
    moment,
    set_setting,
)
from hosts.virt.spec import DomainEvent, DomainSpec, EventKind, FilterSpec, NetworkSpec, Power


@dataclass(frozen=True, slots=True)
class GuestRecord:
    """What the simulated host knows of a guest beyond `DomainSeen`."""

    spec: DomainSpec  # as defined
    live_spec: DomainSpec  # as running
    started_at: datetime | None
    boots: int  # starts, reboots and resets since it was defined
    has_agent: bool
    ignore_acpi: bool
    passwords: dict[str, str]  # user -> SHA-256 of the password that was set


class OutsideWorld(FakeBase):
    """Faults, the guests' own doings, and somebody with virsh."""

    # --- faults -----------------------------------------------------------------

    def inject(
        self,
        call: str,
        error: VirtError | type[VirtError] | Fault | None,
        *,
        times: int | None = 1,
        after: int = 0,
        delay: float = 0.0,
    ) -> None:
        """Let `call` ("*": any call) fail `times` times (None: always), from any process.

        `error` is raised instead of the effect; see `Fault` for what else can happen; None
        only delays. The first `after` calls pass untouched. `delay` seconds pass first, and
        a delay longer than the call's deadline ends as `CallTimeout` without effect.
        """
        count = FOREVER if times is None else times
        plan_fault(self._store, call, error, count, after, delay)

    def clear_faults(self) -> None:
        """Forget every injected fault that is still to come."""
        with self._store.transaction() as db:
            db.execute("DELETE FROM fault")

    def set_reachable(self, reachable: bool) -> None:
        """While False every call raises `HostUnreachable`; watchers hear of the change."""
        with self._transaction() as db:
            set_setting(db, "reachable", "1" if reachable else "0")

    def drop_connections(self) -> None:
        """What a restart of libvirtd does: watchers lose the host for a moment, consoles end."""
        with self._transaction() as db:
            set_setting(db, "session", uuid4().hex)
            db.execute("UPDATE domain SET holder = ''")

    def outside_boot(self) -> None:
        """The machine loses power and is back at once: no guest runs, and nobody was told."""
        with self._transaction() as db:
            for row in db.execute("SELECT uuid FROM domain").fetchall():
                end_guest(db, row["uuid"], Power.OFF)
            set_setting(db, "booted_at", str(time.time()))
            set_setting(db, "session", uuid4().hex)

    def call_log(self, name: str | None = None) -> list[CallRecord]:
        """The last 20,000 calls of the contract from every process, oldest first."""
        return call_log(self._store, name)

    def event_log(self) -> list[DomainEvent]:
        """The last 20,000 events, oldest first, whether anybody watched or not."""
        with self._transaction() as db:
            return [
                DomainEvent(
                    kind=EventKind(row["kind"]),
                    uuid=UUID(row["uuid"]) if row["uuid"] else None,
                    at=moment(row["at"]),
                    detail=row["detail"],
                )
                for row in db.execute("SELECT * FROM event ORDER BY id")
            ]

    def wipe(self) -> None:
        """Make it a fresh host, without faults and logs."""
        self._store.wipe()

    def filter_record(self, name: str) -> FilterSpec | None:
        """The filter as it was made last, or None."""
        rows = self._store.read("SELECT spec FROM filter WHERE name = ?", (name,))
        return filter_from_json(rows[0]["spec"]) if rows else None

    def network_record(self, name: str) -> NetworkSpec | None:
        """The network as it was made first, or None."""
        rows = self._store.read("SELECT spec FROM network WHERE name = ?", (name,))
        return NetworkSpec(**json.loads(rows[0]["spec"])) if rows else None

    # --- the guest itself ---------------------------------------------------------

    def guest_poweroff(self, uuid: UUID) -> None:
        """The guest powers itself off. Nothing happens if it is off."""
        self._turn_off(uuid, "shutdown")

    def guest_reboot(self, uuid: UUID) -> None:
        """The guest reboots itself. Nothing happens if it is off."""
        with self._transaction() as db:
            if need(db, uuid)["power"] in ACTIVE:
                restart(db, str(uuid), "guest")

    def guest_says(self, uuid: UUID, text: bytes) -> None:
        """The guest writes this to its serial port while nobody looks."""
        with self._transaction() as db:
            add_to_log(db, str(need(db, uuid)["uuid"]), text)

    def guest_crash(self, uuid: UUID) -> None:
        """The guest's kernel panics. Nothing happens if it is off."""
        with self._transaction() as db:
            if need(db, uuid)["power"] in ACTIVE:
                crash(db, str(uuid))

    def guest_io_error(self, uuid: UUID) -> None:
        """The guest's disk fails under it, and the host pauses it."""
        with self._transaction() as db:
            if need(db, uuid)["power"] == Power.RUNNING:
                emit(db, EventKind.IO_ERROR, str(uuid), "vda: enospc")
                set_power(db, str(uuid), Power.PAUSED, EventKind.PAUSED, "io_error")

    def configure_guest(
        self, uuid: UUID, *, ignore_acpi: bool | None = None, has_agent: bool | None = None
    ) -> None:
        """Whether the guest ignores the power button, and whether its agent answers."""
        with self._transaction() as db:
            row = need(db, uuid)
            db.execute(
                "UPDATE domain SET ignore_acpi = ?, has_agent = ? WHERE uuid = ?",
                (
                    row["ignore_acpi"] if ignore_acpi is None else ignore_acpi,
                    row["has_agent"] if has_agent is None else has_agent,
                    str(uuid),
                ),
            )

    def guest_record(self, uuid: UUID) -> GuestRecord:
        """Raises `NotFound`."""
        with self._transaction() as db:
            return _guest_record(need(db, uuid))

    # --- somebody with virsh --------------------------------------------------------

    def outside_start(self, uuid: UUID) -> None:
        with self._transaction() as db:
            row = need(db, uuid)
            if row["power"] not in ACTIVE:
                power_on(db, row)

    def outside_destroy(self, uuid: UUID) -> None:
        self._turn_off(uuid, "destroyed")

    def outside_kill(self, uuid: UUID) -> None:
        """Somebody kills the QEMU process."""
        self._turn_off(uuid, "failed")

    def outside_pause(self, uuid: UUID) -> None:
        with self._transaction() as db:
            if need(db, uuid)["power"] == Power.RUNNING:
                set_power(db, str(uuid), Power.PAUSED, EventKind.PAUSED, "paused")

    def outside_undefine(self, uuid: UUID) -> None:
        """The guest's definition is gone; a running one is turned off first."""
        self._turn_off(uuid, "destroyed")
        with self._transaction() as db:
            db.execute("DELETE FROM domain WHERE uuid = ?", (str(uuid),))
            emit(db, EventKind.UNDEFINED, str(uuid), "removed")

    def outside_share(self, source: OutsideWorld) -> None:
        """From now on the volumes that `source` has are seen here as well: shared storage."""
        rows = source._store.read("SELECT * FROM volume", ())
        with self._transaction() as db:
            for row in rows:
                marks = ", ".join("?" * len(row))
                db.execute(f"INSERT OR REPLACE INTO volume VALUES ({marks})", tuple(row))  # noqa: S608

    def outside_mount(self, other: OutsideWorld) -> None:
        """From now on both see one storage: what either writes or deletes, the other one sees."""
        self.outside_share(other)
        self.sharing.append(other)
        other.sharing.append(self)
        with self._transaction():
            pass  # what this one had, the other one sees from here on

    def make_phantom(self, uuid: UUID) -> None:
        """Leave the guest as a daemon does that was killed in the middle of a start."""
        with self._transaction() as db:
            need(db, uuid)
            db.execute(
                "UPDATE domain SET power = ?, phantom = 1, live_spec = spec WHERE uuid = ?",
                (Power.UNKNOWN.value, str(uuid)),
            )

    def add_foreign_domain(
        self,
        name: str,
        *,
        uuid: UUID | None = None,
        running: bool = False,
        autostart: bool = False,
        **changes: Any,
    ) -> UUID:
        """A guest that is not ours, with other values of its spec. Returns its UUID."""
        values: dict[str, Any] = {
            "vcpus": 1,
            "memory_mib": 64,
            "disks": (),
            "nics": (),
            "virt_type": "qemu",
        }
        spec = DomainSpec(uuid=uuid or uuid4(), name=name, **(values | changes))
        with self._transaction() as db:
            db.execute(
                "INSERT INTO domain (uuid, name, spec, ours, autostart) VALUES (?, ?, ?, 0, ?)",
                (str(spec.uuid), name, domain_to_json(spec), autostart),
            )
            emit(db, EventKind.DEFINED, str(spec.uuid), "added")
            if running:
                power_on(db, need(db, spec.uuid))
        return spec.uuid

    def add_foreign_filter(self, name: str) -> None:
        """A network filter that is not ours; its name must not start with "vps-"."""
        with self._transaction() as db:
            db.execute("INSERT INTO filter (name, spec) VALUES (?, '{}')", (name,))

    def _turn_off(self, uuid: UUID, detail: str) -> None:
        with self._transaction() as db:
            if need(db, uuid)["power"] in ACTIVE:
                power_off(db, str(uuid), detail)


def _guest_record(row: Row) -> GuestRecord:
    return GuestRecord(
        spec=domain_from_json(row["spec"]),
        live_spec=current_spec(row),
        started_at=None if row["started_at"] is None else moment(row["started_at"]),
        boots=row["boots"],
        has_agent=bool(row["has_agent"]),
        ignore_acpi=bool(row["ignore_acpi"]),
        passwords=json.loads(row["passwords"]),
    )
