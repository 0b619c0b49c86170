"""What every console's socket goes through: ticket, rights, traces in the timeline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import structlog
from django.db import DatabaseError
from django.db.models import ObjectDoesNotExist

from vpspanel.consoles.console import Console
from vpspanel.consoles.models import Kind, Way
from vpspanel.consoles.rights import CHECKS, LINK_IN_SESSION, guest_id
from vpspanel.consoles.room import room
from vpspanel.consoles.services import (
    How,
    Place,
    record_closed,
    record_opened,
    record_read,
    redeem_ticket,
)
from vpspanel.consoles.viewer import Ended, Hello, Viewer
from vpspanel.events.actor import Actor
from vpspanel.events.guard import Guarded, Owner, guard_for, owner_of
from vpspanel.events.live import Happened, tail
from vpspanel.events.origin import Receive, Scope, Send, refuse

log = structlog.get_logger(__name__)


async def serve(scope: Scope, receive: Receive, send: Send, kind: Kind, make: Maker) -> None:
    """One console, from its handshake to its end; `make` gives it once it may be."""
    await enter(scope, receive, send, kind, lambda visit: visit.run(make))


async def enter(
    scope: Scope,
    receive: Receive,
    send: Send,
    kind: Kind,
    stay: Callable[[Visit], Awaitable[None]],
) -> None:
    """One websocket, from its handshake to its end; `stay` is what happens between."""
    owner = owner_of(scope) or _guest_of(scope)
    if owner is None:
        await refuse(scope, receive, send)
        return
    await receive()
    await send({"type": "websocket.accept"})
    # Not through the session's middleware, which looks at each message whether to save.
    viewer = Viewer(receive, scope.get("direct_send", send))
    client, user = scope.get("client"), scope["user"]
    actor = Actor(user if user.is_authenticated else None, "page", client[0] if client else None)
    visit = Visit(scope["url_route"]["kwargs"]["server_id"], actor, owner, viewer, kind)
    scope["later"].append(lambda: _stay(visit, stay))


async def _stay(visit: Visit, stay: Callable[[Visit], Awaitable[None]]) -> None:
    try:
        await stay(visit)
    except Ended as end:
        await visit.viewer.close(end)


def _guest_of(scope: Scope) -> Owner | None:
    """Whoever came by a link and has not signed in; None without a link."""
    session = scope["session"]
    link_id = session.get(LINK_IN_SESSION)
    if not isinstance(link_id, int) or not session.session_key:
        return None
    return Owner(guest_id(link_id), session.session_key, "")


Maker = Callable[["Visit", Hello], Console]


class Visit:
    """One connection: its ticket, its rights, its traces in the timeline."""

    def __init__(
        self, server_id: int, actor: Actor, owner: Owner, viewer: Viewer, kind: Kind
    ) -> None:
        self.actor = actor
        self.server_id = server_id
        self._kind = kind
        self.way = Way.MEMBER
        self.types = False
        self.owner = owner
        self.viewer = viewer
        self.room = room()
        self._connected_at = 0.0
        self._writing: list[asyncio.Task[None]] = []

    @property
    def name(self) -> str:
        """Of the person who looks."""
        return self.actor.name

    @property
    def is_guest(self) -> bool:
        """Whether it is somebody who should learn no names."""
        return self.way in (Way.LINK, Way.GRANT)

    @property
    def key(self) -> tuple[int, Kind]:
        """Which console it is."""
        return self.server_id, self._kind

    async def run(self, make: Maker) -> None:
        """Serve it until it is closed. Raises `Ended` if it never began."""
        with self.room.seat(self.owner.user_id, self.key):
            hello = await self.viewer.hello()
            await self._redeem(hello.ticket)
            console = make(self, hello)
            del hello  # a console may live for days
            await self.show(console)

    async def show(self, console: Console) -> None:
        """Serve it until it is closed, say why, and write that down."""
        end = Ended(1011, "Something went wrong here.")
        try:
            end = await self._watched(console)
            await self.viewer.close(end)
        finally:
            await self._note_closed(end.reason)

    async def once(self, answer: Callable[[Visit], Awaitable[Ended]]) -> None:
        """Answer it and close it. Raises `Ended` if it may not be."""
        with self.room.seat(self.owner.user_id, self.key):
            await self._redeem((await self.viewer.hello()).ticket)
            await self.viewer.close(await answer(self))
            await asyncio.gather(*self._writing)

    async def _watched(self, console: Console) -> Ended:
        socket = Guarded(
            self.owner,
            lost=lambda loss: console.end(loss.code, loss.reason),
            server_id=self.server_id,
            control=console.allow,
        )
        stop = tail().listen(_nudge_on(self.server_id, console))
        try:
            with (
                guard_for(CHECKS[self.way]).watching(socket),
                self.room.present(self.key, console),
            ):
                return await console.run()
        finally:
            stop()

    async def _redeem(self, ticket: str) -> None:
        found = await self.room.threads.run(
            redeem_ticket,
            ticket,
            user_id=self.owner.user_id,
            server_id=self.server_id,
            kind=self._kind,
            session_key=self.owner.session_key,
        )
        if found is None:
            raise Ended(4410, "This link to the console is not valid any more.")
        self.way, self.types = found.way, found.types
        if self.way is Way.STAFF:
            self.actor = replace(self.actor, via="staff", label=f"{self.actor.name} (staff)")
        elif self.way is Way.LINK:
            self.owner = Owner(found.who, self.owner.session_key, "")
            self.actor = Actor(None, "link", self.actor.ip, label="Guest by link")

    async def place(self) -> Place | None:
        """Where the server is now."""
        return await self.room.place(self.server_id)

    # --- the timeline: written beside the bytes, never in their way -----------------

    def note_connected(self, how: How) -> None:
        """The guest's end is open."""
        if not self._connected_at or how is How.TOOK_OVER:
            self._write(record_opened, how=how)
        self._connected_at = self._connected_at or time.monotonic()

    def note_read(self) -> None:
        """The boot log was read."""
        self._write(record_read)

    async def _note_closed(self, reason: str) -> None:
        if self._connected_at:
            seconds = int(time.monotonic() - self._connected_at)
            self._write(record_closed, seconds=seconds, reason=reason)
        await asyncio.gather(*self._writing)

    def _write(self, record: Callable[..., None], **facts: object) -> None:
        before = self._writing[-1] if self._writing else None
        self._writing.append(asyncio.create_task(self._record(before, record, facts)))

    async def _record(
        self,
        before: asyncio.Task[None] | None,
        record: Callable[..., None],
        facts: dict[str, object],
    ) -> None:
        if before is not None:
            await before
        try:
            await self.room.writer.run(record, self.actor, self.server_id, kind=self._kind, **facts)
        except (DatabaseError, ObjectDoesNotExist):
            log.exception("console_not_recorded", server=self.server_id, record=record.__name__)


def _nudge_on(server_id: int, console: Console) -> Callable[[Sequence[Happened]], None]:
    def listener(events: Sequence[Happened]) -> None:
        for event in events:
            if (
                event.resource_type == "server"
                and event.resource_id == server_id
                and not event.kind.startswith("console.")
            ):
                console.nudge()
                if event.kind == "server.rebooted":
                    console.notice("The server rebooted.")

    return listener
