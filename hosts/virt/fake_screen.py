"""The screen of a simulated guest: a text terminal with the simulated shell, seen over VNC.

All viewers of a guest see the same screen, which lives as long as one of them
looks at it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from hosts.virt.errors import HostUnreachable, InvalidState
from hosts.virt.fake_guest import ACTIVE, need_ours, power_off, restart, settle
from hosts.virt.fake_rfb import Cell, Colour, RfbServer
from hosts.virt.fake_shell import FakeShell
from hosts.virt.fake_store import Store, setting

COLUMNS = 80
ROWS = 25
BANNER = "SIMULATED SCREEN: this guest exists only in the panel's simulated host"
BLACK: Colour = (12, 16, 24)
GREY: Colour = (200, 205, 215)
AMBER: Colour = (245, 184, 64)
POLL_SECONDS = 0.1
OUTPUT_CHUNK = 2048

BACKSPACE, TAB, RETURN, ESCAPE, DELETE = 0xFF08, 0xFF09, 0xFF0D, 0xFF1B, 0xFFFF
CONTROL = {0xFFE3, 0xFFE4}
ALT = {0xFFE9, 0xFFEA}
KEYPAD_ENTER = 0xFF8D
UNICODE = 0x01000000  # keysyms from here on are code points
BYTES = {BACKSPACE: b"\x7f", TAB: b"\t", RETURN: b"\r", KEYPAD_ENTER: b"\r", ESCAPE: b"\x1b"}


@dataclass(frozen=True, slots=True)
class Sight:
    """What the screen must know of its guest from time to time."""

    started_at: float  # 0 while it is off: another start is another screen
    boots: int
    booted_at: float
    name: str


def look(store: Store, uuid: UUID) -> Sight:
    """The guest as it is now."""
    rows = store.read("SELECT * FROM domain WHERE uuid = ?", (str(uuid),))
    if not rows or rows[0]["power"] not in ACTIVE:
        return Sight(0.0, 0, 0.0, "")
    row = rows[0]
    return Sight(row["started_at"] or 0.0, row["boots"], row["booted_at"] or 0.0, row["name"])


def need_screen(store: Store, uuid: UUID) -> Sight:
    """The same. Raises `NotFound`, `InvalidState`, `HostDegraded`, `HostUnreachable`."""
    with store.transaction() as db:
        settle(db)
        if setting(db, "reachable", "1") != "1":
            raise HostUnreachable("The host does not answer")
        row = need_ours(db, uuid)
        if row["power"] not in ACTIVE:
            raise InvalidState(f"Domain {row['name']} is {row['power']}")
    return look(store, uuid)


class Text:
    """Characters in rows, written as a terminal writes them."""

    def __init__(self, rows: int, touched: Callable[[int], None]) -> None:
        self.lines = [[" "] * COLUMNS for _ in range(rows)]
        self.row = 0
        self.column = 0
        self._touched = touched

    def write(self, text: str) -> None:
        if "\x1b[2J" in text:
            text = text.rpartition("\x1b[2J")[2]
            self._clear()
        for character in text:
            self._put(character)

    def _clear(self) -> None:
        self.row = self.column = 0
        for row, line in enumerate(self.lines):
            line[:] = [" "] * COLUMNS
            self._touched(row)

    def _put(self, character: str) -> None:
        self._touched(self.row)
        if character == "\r":
            self.column = 0
        elif character == "\n":
            self._feed()
        elif character == "\b":
            self.column = max(0, self.column - 1)
        else:
            if self.column == COLUMNS:
                self.column = 0
                self._feed()
            self.lines[self.row][self.column] = character
            self.column += 1
        self._touched(self.row)

    def _feed(self) -> None:
        if self.row + 1 < len(self.lines):
            self.row += 1
            return
        self.lines.append(self.lines.pop(0))
        self.lines[-1][:] = [" "] * COLUMNS
        for row in range(len(self.lines)):
            self._touched(row)


class FakeScreen:
    """One guest's screen. Belongs to the event loop that made it."""

    columns = COLUMNS
    rows = ROWS

    def __init__(
        self, store: Store, uuid: UUID, sight: Sight, ended: Callable[[FakeScreen], None]
    ) -> None:
        self.name = f"{sight.name} (simulated)"
        self._store = store
        self._uuid = uuid
        self._sight = sight
        self._ended = ended
        self._viewers: set[RfbServer] = set()
        self._down: set[int] = set()
        self._text = Text(ROWS - 1, lambda row: self._touch(row + 1))
        self._shell = FakeShell(sight.name, sight.booted_at, line="tty1")
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.create_task(self._run())
        self._working: set[asyncio.Task[None]] = set()

    def shows(self, sight: Sight) -> bool:
        """Whether this is the screen of that very start of the guest."""
        return sight.started_at == self._sight.started_at

    async def show(self, viewer: asyncio.Protocol) -> None:
        """Connect one more viewer."""
        theirs, ours = socket.socketpair()
        theirs.setblocking(False)
        ours.setblocking(False)
        server = RfbServer(self)
        self._viewers.add(server)
        await self._loop.create_unix_connection(lambda: server, sock=ours)
        await self._loop.create_unix_connection(lambda: viewer, sock=theirs)

    def cut_off(self) -> None:
        """End it from any thread, as when the host is gone."""
        self._loop.call_soon_threadsafe(self._task.cancel)

    # --- what its connections ask ---------------------------------------------------

    def cells(self, row: int) -> list[Cell]:
        if row == 0:
            return [(character, BLACK, AMBER) for character in BANNER.center(COLUMNS)]
        line = self._text.lines[row - 1]
        cells: list[Cell] = [(character, GREY, BLACK) for character in line]
        if row - 1 == self._text.row and self._text.column < COLUMNS:
            cells[self._text.column] = (line[self._text.column], BLACK, GREY)
        return cells

    def key(self, keysym: int, down: bool) -> None:
        if not down:
            self._down.discard(keysym)
            return
        self._down.add(keysym)
        control, alt = bool(self._down & CONTROL), bool(self._down & ALT)
        if keysym == DELETE and control and alt:
            self._do("reboot")
            return
        typed = typed_by(keysym, control=control)
        if typed:
            self._show(self._shell.feed(typed))
            if self._shell.request:
                self._do(self._shell.request)

    def leave(self, viewer: RfbServer) -> None:
        self._viewers.discard(viewer)
        if not self._viewers:
            self._ended(self)
            self._task.cancel()

    # --- its life -----------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            while True:
                sight = await asyncio.to_thread(look, self._store, self._uuid)
                if not self.shows(sight):
                    return
                if sight.boots != self._sight.boots:
                    self._shell.reboot(sight.booted_at)
                    self._text.write("\x1b[2J")
                self._sight = sight
                self._show(self._shell.tick())
                repeating = self._shell.repeating
                if repeating:
                    self._show(repeating * (OUTPUT_CHUNK // len(repeating) + 1))
                await asyncio.sleep(POLL_SECONDS)
        finally:
            self._ended(self)
            for viewer in list(self._viewers):
                if viewer.transport is not None:
                    viewer.transport.abort()

    def _do(self, request: str) -> None:
        task = asyncio.create_task(asyncio.to_thread(self._request, request))
        self._working.add(task)
        task.add_done_callback(self._working.discard)

    def _request(self, what: str) -> None:
        with self._store.transaction() as db:
            rows = db.execute("SELECT power FROM domain WHERE uuid = ?", (str(self._uuid),))
            row = rows.fetchone()
            if row is None or row["power"] not in ACTIVE:
                return
            if what == "poweroff":
                power_off(db, str(self._uuid), "shutdown")
            else:
                restart(db, str(self._uuid), "guest")

    def _show(self, output: bytes) -> None:
        if output:
            self._text.write(output.decode(errors="replace"))
            for viewer in self._viewers:
                viewer.flush()

    def _touch(self, row: int) -> None:
        for viewer in self._viewers:
            viewer.touch(row)


def typed_by(keysym: int, *, control: bool) -> bytes:
    """The bytes that a terminal sends for a key; none for those that only modify."""
    if keysym in BYTES:
        return BYTES[keysym]
    if 0x20 <= keysym <= 0x7E or 0xA0 <= keysym <= 0xFF:
        character = chr(keysym)
    elif UNICODE < keysym <= UNICODE + 0x10FFFF:
        character = chr(keysym - UNICODE)
    else:
        return b""
    if control and "a" <= character.lower() <= "z":
        return bytes([ord(character.lower()) & 0x1F])
    return character.encode(errors="replace")
