"""How a simulated guest changes its power, with the events that libvirt would send.

Nothing here waits: what a guest does after a while is written down as due, and
`settle` lets it happen, at the latest when the next call or watcher looks. So
a shutdown takes place even if the process that asked for it is killed.
"""

from __future__ import annotations

import hashlib
import json
import math
import sqlite3
import time
from pathlib import Path
from uuid import UUID

from hosts.virt.errors import ForeignObject, HostDegraded, NotFound
from hosts.virt.fake_logs import log_boot
from hosts.virt.fake_store import domain_from_json, emit
from hosts.virt.spec import DomainSeen, DomainSpec, DomainStats, EventKind, Power

ACTIVE = (Power.RUNNING, Power.PAUSED)
# A guest with what it has to do with a move: "leaving", "arriving", "left", or nothing.
GUEST = "SELECT domain.*, moving.state AS move FROM domain LEFT JOIN moving USING (uuid)"


def settle(db: sqlite3.Connection) -> None:
    """Let everything happen that is due by now."""
    now = time.time()
    rows = db.execute("SELECT * FROM domain WHERE due_at <= ? ORDER BY due_at", (now,)).fetchall()
    for row in rows:
        if row["due"] == "reboot":
            restart(db, row["uuid"], "guest", at=row["due_at"])
        else:
            power_off(db, row["uuid"], "shutdown", at=row["due_at"])
    _settle_moves(db)


def _settle_moves(db: sqlite3.Connection) -> None:
    """What two daemons do when whoever drove a move is gone: the guest goes on where it was.

    Once it is paused for its last bytes, the old host cannot know whether it runs on the new one.
    """
    rows = db.execute(
        "SELECT domain.*, moving.state AS move, moving.pid AS mover FROM moving"
        " JOIN domain USING (uuid) WHERE moving.state <> 'left'"
    ).fetchall()
    for row in rows:
        if Path(f"/proc/{row['mover']}").exists():
            continue
        if row["move"] == "arriving":
            power_off(db, row["uuid"], "failed")
        if row["move"] == "arriving" or row["power"] != Power.PAUSED:
            db.execute("DELETE FROM moving WHERE uuid = ?", (row["uuid"],))


def find(db: sqlite3.Connection, uuid: UUID) -> sqlite3.Row | None:
    row: sqlite3.Row | None = db.execute(
        f"{GUEST} WHERE domain.uuid = ?",
        (str(uuid),),
    ).fetchone()
    return row


def need(db: sqlite3.Connection, uuid: UUID) -> sqlite3.Row:
    """The domain. Raises `NotFound`."""
    row = find(db, uuid)
    if row is None:
        raise NotFound(f"Domain {uuid} is not known to this host")
    return row


def need_ours(db: sqlite3.Connection, uuid: UUID) -> sqlite3.Row:
    """The domain. Raises `NotFound`, `ForeignObject`, and `HostDegraded` for a phantom."""
    row = need(db, uuid)
    refuse_foreign(row)
    refuse_phantom(row)
    return row


def refuse_foreign(row: sqlite3.Row) -> None:
    if not row["ours"]:
        raise ForeignObject(f"Domain {row['name']} does not carry our metadata")


def refuse_phantom(row: sqlite3.Row) -> None:
    if row["phantom"]:
        raise HostDegraded(f"Domain {row['name']} is starting up without a QEMU process")


def power_on(db: sqlite3.Connection, row: sqlite3.Row, detail: str = "booted") -> None:
    """The guest runs, with what its definition says now."""
    now = time.time()
    db.execute(
        "UPDATE domain SET power = ?, live_spec = spec, started_at = ?, booted_at = ?,"
        " boots = boots + 1, due_at = NULL, due = '', holder = '' WHERE uuid = ?",
        (Power.RUNNING.value, now, now, row["uuid"]),
    )
    db.execute("DELETE FROM moving WHERE uuid = ?", (row["uuid"],))
    if row["ours"]:  # others do not say where their serial ports are written to
        log_boot(db, row["uuid"])
    emit(db, EventKind.STARTED, row["uuid"], detail)


def power_off(db: sqlite3.Connection, uuid: str, detail: str, at: float | None = None) -> None:
    """The guest is off, and its console is free again."""
    end_guest(db, uuid, Power.OFF)
    emit(db, EventKind.STOPPED, uuid, detail, at)


def crash(db: sqlite3.Connection, uuid: str) -> None:
    """The guest has crashed: it runs no longer and says why."""
    end_guest(db, uuid, Power.CRASHED)
    emit(db, EventKind.CRASHED, uuid, "crashed")


def end_guest(db: sqlite3.Connection, uuid: str, power: Power) -> None:
    """It runs no longer, and nobody is told."""
    db.execute(
        "UPDATE domain SET power = ?, live_spec = NULL, started_at = NULL, booted_at = NULL,"
        " due_at = NULL, due = '', holder = '', phantom = 0 WHERE uuid = ?",
        (power.value, uuid),
    )


def restart(db: sqlite3.Connection, uuid: str, detail: str, at: float | None = None) -> None:
    """The guest boots again in the same QEMU process: one REBOOT event, no STOPPED."""
    db.execute(
        "UPDATE domain SET booted_at = ?, boots = boots + 1, due_at = NULL, due = ''"
        " WHERE uuid = ?",
        (time.time() if at is None else at, uuid),
    )
    log_boot(db, uuid)
    emit(db, EventKind.REBOOTED, uuid, detail, at)


def set_power(db: sqlite3.Connection, uuid: str, power: Power, kind: EventKind, why: str) -> None:
    db.execute("UPDATE domain SET power = ? WHERE uuid = ?", (power.value, uuid))
    emit(db, kind, uuid, why)


# --- what is seen -----------------------------------------------------------------


def current_spec(row: sqlite3.Row) -> DomainSpec:
    """What the guest runs with; its definition if it is off."""
    return domain_from_json(row["live_spec"] or row["spec"])


def seen(row: sqlite3.Row) -> DomainSeen:
    spec = current_spec(row)
    return DomainSeen(
        uuid=UUID(row["uuid"]),
        name=row["name"],
        power=Power(row["power"]),
        ours=bool(row["ours"]),
        autostart=bool(row["autostart"]),
        phantom=bool(row["phantom"]),
        metadata=dict(spec.metadata),
        disks=tuple(f"{disk.pool}/{disk.volume}" for disk in spec.disks),
        moved_away=row["move"] == "left" and row["power"] == Power.OFF,
        between=row["move"] in ("leaving", "arriving") and row["power"] == Power.PAUSED,
    )


def guest_stats(row: sqlite3.Row, now: float) -> DomainStats:
    """Counters that only grow, at a pace of the guest's own, so that graphs have a shape."""
    uuid = UUID(row["uuid"])
    if row["phantom"]:
        return DomainStats(uuid=uuid, power=Power(row["power"]))
    spec = current_spec(row)
    up = max(0.0, now - (row["started_at"] or now))
    seed = hashlib.sha256(uuid.bytes).digest()
    share = 0.02 + seed[0] / 2000  # of one CPU, on average
    period = 300 + seed[1] * 10
    # The integral of 1 + sin(t): never falls, and its slope swings between 0 and 2.
    work = up + period * (1 - math.cos(up / period))
    return DomainStats(
        uuid=uuid,
        power=Power(row["power"]),
        cpu_time_ns=int(work * share * spec.vcpus * 1e9),
        cpu_steal_ns=int(work * share * 2e7),
        memory_mib=max(1, int(spec.memory_mib * (0.3 + seed[2] / 1024))),
        disk_read_bytes=int(min(up, 20) * 4_000_000 + work * seed[3] * 20),
        disk_write_bytes=int(work * seed[4] * 60),
        net_rx_bytes=int(work * seed[5] * 120),
        net_tx_bytes=int(work * seed[6] * 100),
        disk_read_requests=int(min(up, 20) * 200 + work * seed[3] / 50),
        disk_write_requests=int(work * seed[4] / 50),
        net_rx_packets=int(work * seed[5] / 8),
        net_tx_packets=int(work * seed[6] / 8),
    )


def store_password(db: sqlite3.Connection, row: sqlite3.Row, user: str, password: str) -> None:
    """Keep a digest only: tests compare it, and the state file holds no password."""
    passwords = json.loads(row["passwords"])
    passwords[user] = hashlib.sha256(password.encode()).hexdigest()
    db.execute(
        "UPDATE domain SET passwords = ? WHERE uuid = ?", (json.dumps(passwords), row["uuid"])
    )
