"""The serial console of a simulated guest: one holder at a time, ends with the guest."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from sqlite3 import Connection, Row
from uuid import UUID

from hosts.virt.errors import ConsoleBusy, HostUnreachable, InvalidState
from hosts.virt.fake_guest import ACTIVE, need_ours, power_off, restart, settle
from hosts.virt.fake_shell import FakeShell
from hosts.virt.fake_store import Store, setting

HELD_LIMIT = 256 * 1024
READ_LIMIT = 64 * 1024
TYPED_AT_ONCE = 256  # answers to so many bytes stay far below TYPED_RESERVE
TYPED_RESERVE = 32 * 1024
OUTPUT_CHUNK = 4096
POLL_SECONDS = 0.04


@dataclass(frozen=True, slots=True)
class Glimpse:
    """What the holder of a console must know of the guest from time to time."""

    holding: bool  # the guest is on and nobody took the console away
    boots: int
    booted_at: float


class ConsoleLine:
    """The holder's right to one guest's serial port, kept in the host's state."""

    def __init__(self, store: Store, uuid: UUID, token: str, hostname: str) -> None:
        self.hostname = hostname
        self._store = store
        self._uuid = str(uuid)
        self._token = token

    def look(self) -> Glimpse:
        rows = self._store.read("SELECT * FROM domain WHERE uuid = ?", (self._uuid,))
        if not rows:
            return Glimpse(holding=False, boots=0, booted_at=0.0)
        row = rows[0]
        return Glimpse(
            holding=row["power"] in ACTIVE and _token(row) == self._token,
            boots=row["boots"],
            booted_at=row["booted_at"] or 0.0,
        )

    def request(self, what: str) -> None:
        """The guest was told to `poweroff` or `reboot` by whoever sits at its console."""
        with self._store.transaction() as db:
            if not self._is_mine(db):
                return
            if what == "poweroff":
                power_off(db, self._uuid, "shutdown")
            else:
                restart(db, self._uuid, "guest")

    def free(self) -> None:
        """Give the console back, if it is still ours."""
        with self._store.transaction() as db:
            if self._is_mine(db):
                db.execute("UPDATE domain SET holder = '' WHERE uuid = ?", (self._uuid,))

    def _is_mine(self, db: Connection) -> bool:
        row = db.execute("SELECT * FROM domain WHERE uuid = ?", (self._uuid,)).fetchone()
        return row is not None and _token(row) == self._token


def take_console(store: Store, uuid: UUID, *, force: bool) -> ConsoleLine:
    """Become the holder. Raises `NotFound`, `InvalidState`, `HostDegraded`, `ConsoleBusy`."""
    with store.transaction() as db:
        settle(db)
        if setting(db, "reachable", "1") != "1":
            raise HostUnreachable("The host does not answer")
        row = need_ours(db, uuid)
        if row["power"] not in ACTIVE:
            raise InvalidState(f"Domain {row['name']} is {row['power']}")
        if not force and _is_held(row):
            raise ConsoleBusy(f"The console of {row['name']} is in use")
        token = secrets.token_hex(8)
        holder = json.dumps({"token": token, "pid": os.getpid(), "born": _born(os.getpid())})
        db.execute("UPDATE domain SET holder = ? WHERE uuid = ?", (holder, str(uuid)))
        return ConsoleLine(store, uuid, token, row["name"])


def _token(row: Row) -> str:
    return str(json.loads(row["holder"])["token"]) if row["holder"] else ""


def _is_held(row: Row) -> bool:
    """Whether the holder's process still lives: a killed one holds nothing, as with libvirt."""
    if not row["holder"]:
        return False
    holder = json.loads(row["holder"])
    return bool(holder["born"]) and _born(holder["pid"]) == holder["born"]


def _born(pid: int) -> str:
    """When process `pid` started, in clock ticks since boot; "" if there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]


class FakeSerial:
    """`SerialStream` of a simulated guest. Belongs to the event loop that opened it."""

    def __init__(self, line: ConsoleLine) -> None:
        self.closed = False
        self._line = line
        self._held = bytearray()
        self._changed = asyncio.Condition()
        self._loop = asyncio.get_running_loop()
        self._shell: FakeShell | None = None
        self._boots = 0
        self._task = asyncio.create_task(self._run())

    @property
    def held(self) -> int:
        """Bytes produced and not read yet."""
        return len(self._held)

    async def read(self) -> bytes:
        async with self._changed:
            await self._changed.wait_for(lambda: self._held or self.closed)
            data = bytes(self._held[:READ_LIMIT])
            del self._held[:READ_LIMIT]
            self._changed.notify_all()
            return data

    async def write(self, data: bytes) -> None:
        for start in range(0, len(data), TYPED_AT_ONCE):
            async with self._changed:
                await self._changed.wait_for(
                    lambda: self.closed or (self._shell and self._has_room(TYPED_RESERVE))
                )
                if self.closed or self._shell is None:
                    raise HostUnreachable("The console is closed")
                self._held += self._shell.feed(data[start : start + TYPED_AT_ONCE])
                self._changed.notify_all()
                request = self._shell.request
            if request:
                await asyncio.to_thread(self._line.request, request)
                return

    async def close(self) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        await self._end()
        await asyncio.to_thread(self._line.free)

    def cut_off(self) -> None:
        """End the stream from any thread, as when the connection to the host is closed."""
        self._line.free()
        with suppress(RuntimeError):  # the loop is gone, and the stream with it
            self._loop.call_soon_threadsafe(self._task.cancel)

    # --- the guest's side -------------------------------------------------------------

    async def _run(self) -> None:
        try:
            while True:
                glimpse = await asyncio.to_thread(self._line.look)
                if not glimpse.holding:
                    break
                await self._show(glimpse)
                await asyncio.sleep(POLL_SECONDS)
        finally:
            await self._end()

    async def _show(self, glimpse: Glimpse) -> None:
        """Produce what the guest writes by itself, as far as there is room for it."""
        async with self._changed:
            if self._shell is None:
                self._shell = FakeShell(self._line.hostname, glimpse.booted_at)
            elif glimpse.boots != self._boots:
                self._shell.reboot(glimpse.booted_at)
            self._boots = glimpse.boots
            if self._has_room(2 * TYPED_RESERVE):
                self._held += self._shell.tick()
            while self._shell.repeating and self._has_room(2 * TYPED_RESERVE):
                count = OUTPUT_CHUNK // len(self._shell.repeating) + 1
                self._held += self._shell.repeating * count
            self._changed.notify_all()

    def _has_room(self, reserve: int) -> bool:
        return len(self._held) <= HELD_LIMIT - reserve

    async def _end(self) -> None:
        async with self._changed:
            self.closed = True
            self._changed.notify_all()
