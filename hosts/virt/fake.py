"""A simulated KVM host that keeps the whole contract without libvirt.

`fake:///NAME?dir=/path&cpus=4&memory_mib=8192&disk_gib=100` (all options:
`FakeOptions`). With `dir` its state is a file that any number of processes
share; without, it belongs to this process. It shows the panel where no QEMU
can run, and stands in for hosts in tests: it can fail at any call
(`inject`), vanish (`set_reachable`) and be changed behind the panel's back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import asdict
from json import dumps, loads
from sqlite3 import Connection, Row
from uuid import NAMESPACE_URL, UUID, uuid5

from hosts.virt.errors import (
    AgentUnavailable,
    AlreadyExists,
    InvalidState,
    Unsupported,
    VirtError,
)
from hosts.virt.fake_adopting import AdoptCalls
from hosts.virt.fake_base import host_call
from hosts.virt.fake_console import ConsoleLine, FakeSerial, take_console
from hosts.virt.fake_faults import Fault
from hosts.virt.fake_guest import (
    ACTIVE,
    GUEST,
    find,
    guest_stats,
    need,
    need_ours,
    power_off,
    power_on,
    refuse_foreign,
    refuse_phantom,
    restart,
    seen,
    set_power,
    store_password,
)
from hosts.virt.fake_logs import delete_log, log_of
from hosts.virt.fake_moves import need_filters, need_parts
from hosts.virt.fake_outside import OutsideWorld
from hosts.virt.fake_screen import FakeScreen, Sight, need_screen
from hosts.virt.fake_store import (
    domain_from_json,
    domain_to_json,
    emit,
    filter_to_json,
    setting,
)
from hosts.virt.fake_watch import Watch
from hosts.virt.names import filter_name
from hosts.virt.nwfilter import filter_xml
from hosts.virt.spec import (
    DomainEvent,
    DomainSeen,
    DomainSpec,
    DomainStats,
    EventKind,
    FilterSpec,
    HostLoad,
    HostSeen,
    NetworkSpec,
    Power,
)
from hosts.virt.xml import domain_xml, network_xml

__all__ = ["FakeDriver", "Fault"]


class FakeDriver(AdoptCalls, OutsideWorld):
    """One simulated host, as `hosts.virt.driver.Driver` describes."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self._watches: list[Watch] = []
        self._consoles: list[FakeSerial] = []
        self._screens: dict[tuple[asyncio.AbstractEventLoop, UUID], FakeScreen] = {}

    # --- the host -----------------------------------------------------------------

    @host_call
    def probe(self) -> HostSeen:
        options = self.options
        with self._transaction() as db:
            pools = [row["name"] for row in db.execute("SELECT name FROM pool ORDER BY name")]
            networks = [row["name"] for row in db.execute("SELECT name FROM network ORDER BY name")]
            return HostSeen(
                uuid=uuid5(NAMESPACE_URL, f"fake:{options.dir}/{options.name}"),
                hostname=options.name,
                libvirt_version="0.0.0",
                hypervisor_version="0.0.0",
                architecture="x86_64",
                cpu_model="Simulated CPU",
                cpus=options.cpus,
                memory_mib=options.memory_mib,
                virt_type=options.virt_type,
                virt_reason="This is a simulated host: no guest really runs.",
                pools=tuple(self._pool_seen(db, name) for name in pools),
                networks=tuple(networks),
            )

    @host_call
    def load(self) -> HostLoad:
        now = time.time()
        with self._transaction() as db:
            rows = db.execute("SELECT * FROM domain WHERE live_spec IS NOT NULL")
            guests = [guest_stats(row, now) for row in rows]
            booted = float(setting(db, "booted_at", "0"))
        busy = sum(guest.cpu_time_ns or 0 for guest in guests)
        return HostLoad(
            cpu_busy_ns=busy,
            cpu_idle_ns=max(0, int((now - booted) * self.options.cpus * 1e9) - busy),
            memory_total_mib=self.options.memory_mib,
            memory_used_mib=sum(guest.memory_mib or 0 for guest in guests),
        )

    @host_call
    def ensure_network(self, spec: NetworkSpec) -> NetworkSpec:
        network_xml(spec)
        with self._transaction() as db:
            db.execute(
                "INSERT OR IGNORE INTO network (name, spec) VALUES (?, ?)",
                (spec.name, dumps(asdict(spec))),
            )
            row = db.execute("SELECT spec FROM network WHERE name = ?", (spec.name,)).fetchone()
            return NetworkSpec(**loads(row["spec"]))

    # --- network filters ------------------------------------------------------------

    @host_call
    def ensure_filter(self, spec: FilterSpec) -> None:
        filter_xml(spec)
        with self._transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO filter (name, spec) VALUES (?, ?)",
                (spec.name, filter_to_json(spec)),
            )

    @host_call
    def delete_filter(self, name: str) -> bool:
        filter_name(name)
        with self._transaction() as db:
            for row in db.execute("SELECT * FROM domain WHERE live_spec IS NOT NULL"):
                if any(nic.filter_name == name for nic in domain_from_json(row["live_spec"]).nics):
                    raise InvalidState(f"Filter {name} is in use by {row['name']}")
            return db.execute("DELETE FROM filter WHERE name = ?", (name,)).rowcount > 0

    @host_call
    def filters(self) -> list[str]:
        with self._transaction() as db:
            rows = db.execute("SELECT name FROM filter WHERE name LIKE 'vps-%' ORDER BY name")
            return [row["name"] for row in rows]

    # --- domains --------------------------------------------------------------------

    @host_call
    def domains(self) -> list[DomainSeen]:
        with self._transaction() as db:
            return [seen(row) for row in db.execute(f"{GUEST} ORDER BY name")]

    @host_call
    def domain(self, uuid: UUID) -> DomainSeen | None:
        with self._transaction() as db:
            row = find(db, uuid)
            return None if row is None else seen(row)

    @host_call
    def stats(self) -> list[DomainStats]:
        now = time.time()
        with self._transaction() as db:
            rows = db.execute("SELECT * FROM domain WHERE live_spec IS NOT NULL ORDER BY name")
            return [guest_stats(row, now) for row in rows]

    @host_call
    def define(self, spec: DomainSpec) -> DomainSeen:
        domain_xml(spec)  # refuses what a real host would not be given
        if spec.virt_type == "kvm" and self.options.virt_type != "kvm":
            raise Unsupported("This simulated host has no KVM")
        with self._transaction() as db:
            row = find(db, spec.uuid)
            if row is not None:
                refuse_foreign(row)
                if row["name"] != spec.name:
                    raise VirtError(f"Domain {row['name']} cannot be renamed to {spec.name}")
            clash = db.execute(
                "SELECT uuid FROM domain WHERE name = ? AND uuid <> ?", (spec.name, str(spec.uuid))
            ).fetchone()
            if clash is not None:
                raise AlreadyExists(f"Domain name {spec.name} is taken by {clash['uuid']}")
            need_filters(db, spec)
            db.execute(
                "INSERT INTO domain (uuid, name, spec) VALUES (?, ?, ?)"
                " ON CONFLICT (uuid) DO UPDATE SET name = excluded.name, spec = excluded.spec",
                (str(spec.uuid), spec.name, domain_to_json(spec)),
            )
            emit(db, EventKind.DEFINED, str(spec.uuid), "added" if row is None else "updated")
            return seen(need(db, spec.uuid))

    @host_call
    def undefine(self, uuid: UUID) -> bool:
        with self._transaction() as db:
            row = find(db, uuid)
            if row is None:
                delete_log(db, str(uuid))
                return False
            refuse_foreign(row)
            refuse_phantom(row)
            if row["power"] in ACTIVE:
                raise InvalidState(f"Domain {row['name']} is {row['power']}")
            delete_log(db, str(uuid))
            db.execute("DELETE FROM moving WHERE uuid = ?", (str(uuid),))
            db.execute("DELETE FROM domain WHERE uuid = ?", (str(uuid),))
            emit(db, EventKind.UNDEFINED, str(uuid), "removed")
            return True

    @host_call
    def start(self, uuid: UUID) -> None:
        with self._transaction() as db:
            row = need_ours(db, uuid)
            if row["power"] == Power.RUNNING:
                return
            if seen(row).between:
                raise InvalidState(f"Domain {row['name']} is being migrated")
            if row["power"] == Power.PAUSED:
                set_power(db, str(uuid), Power.RUNNING, EventKind.RESUMED, "unpaused")
                return
            spec = domain_from_json(row["spec"])
            need_filters(db, spec)
            need_parts(db, spec)
            self._need_room(db, 1)
            power_on(db, row)

    @host_call
    def shutdown(self, uuid: UUID) -> None:
        with self._transaction() as db:
            row = need_ours(db, uuid)
            if row["power"] == Power.RUNNING and not row["ignore_acpi"]:
                self._plan(db, uuid, "shutdown")

    @host_call
    def destroy(self, uuid: UUID) -> None:
        with self._transaction() as db:
            row = find(db, uuid)
            if row is None:
                return
            refuse_foreign(row)
            refuse_phantom(row)
            if row["power"] in ACTIVE:
                power_off(db, str(uuid), "destroyed")

    @host_call
    def reboot(self, uuid: UUID) -> None:
        with self._transaction() as db:
            row = need_ours(db, uuid)
            _need_active(row)
            if not row["ignore_acpi"]:
                self._plan(db, uuid, "reboot")

    @host_call
    def reset(self, uuid: UUID) -> None:
        with self._transaction() as db:
            row = need_ours(db, uuid)
            _need_active(row)
            restart(db, str(uuid), "reset")

    @host_call
    def set_password(self, uuid: UUID, user: str, password: str) -> None:
        with self._transaction() as db:
            row = need_ours(db, uuid)
            if row["power"] != Power.RUNNING or not row["has_agent"]:
                raise AgentUnavailable(f"The agent of {row['name']} does not answer")
            store_password(db, row, user, password)

    # --- what guests wrote to their serial ports --------------------------------------

    @host_call
    def serial_log(self, uuid: UUID, limit: int) -> bytes:
        with self._transaction() as db:
            need_ours(db, uuid)
            return log_of(db, str(uuid))[-limit:]

    @host_call
    def serial_logs(self) -> list[UUID]:
        with self._transaction() as db:
            return [UUID(row["uuid"]) for row in db.execute("SELECT uuid FROM serial_log")]

    @host_call
    def delete_serial_log(self, uuid: UUID) -> bool:
        with self._transaction() as db:
            return delete_log(db, str(uuid))

    # --- consoles and events ----------------------------------------------------------

    async def open_serial(self, uuid: UUID, *, force: bool = False) -> FakeSerial:
        console = FakeSerial(await asyncio.to_thread(self._take_console, uuid, force))
        self._consoles = [c for c in self._consoles if not c.closed] + [console]
        return console

    async def open_vnc(self, uuid: UUID, viewer: asyncio.Protocol) -> None:
        sight = await asyncio.to_thread(self._see_screen, uuid)
        key = (asyncio.get_running_loop(), uuid)
        screen = self._screens.get(key)
        if screen is None or not screen.shows(sight):
            screen = FakeScreen(self._store, uuid, sight, self._screen_ended)
            self._screens[key] = screen
        await screen.show(viewer)

    def watch(self, sink: Callable[[DomainEvent], None]) -> Callable[[], None]:
        watch = Watch(self._store, sink, name=self.options.name)
        self._watches.append(watch)
        return watch.stop

    def close(self) -> None:
        self._closing.set()
        for watch in self._watches:
            watch.stop()
        for console in self._consoles:
            console.cut_off()
        for screen in list(self._screens.values()):
            screen.cut_off()
        self._watches, self._consoles = [], []
        self._store.close()

    # --- inside -----------------------------------------------------------------------

    def _take_console(self, uuid: UUID, force: bool) -> ConsoleLine:
        described = [str(uuid), f"force={force}"]
        with self._gate.call("open_serial", described, self.options.timeout_s):
            return take_console(self._store, uuid, force=force)

    def _screen_ended(self, ended: FakeScreen) -> None:
        self._screens = {key: one for key, one in self._screens.items() if one is not ended}

    def _see_screen(self, uuid: UUID) -> Sight:
        with self._gate.call("open_vnc", [str(uuid)], self.options.timeout_s):
            return need_screen(self._store, uuid)

    def _plan(self, db: Connection, uuid: UUID, due: str) -> None:
        """What the guest will do once it has reacted to the power button."""
        db.execute(
            "UPDATE domain SET due = ?, due_at = ? WHERE uuid = ?",
            (due, time.time() + self.options.shutdown_s, str(uuid)),
        )


def _need_active(row: Row) -> None:
    if row["power"] not in ACTIVE:
        raise InvalidState(f"Domain {row['name']} is {row['power']}")
