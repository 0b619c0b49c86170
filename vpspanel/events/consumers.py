"""`/ws/events/`: tells a page that a server changed; the page fetches the change itself.

The socket carries a poke, never data. The browser says what it shows:
`{"watch": [12, 13]}`, or `{"watch": "all"}` for everything it may see (also as
`?watch=12,13` or `?watch=all` in the address). It gets `{"type": "ready"}` when
nothing can be missed any more, then `{"type": "changed", "server": 12}` after
each change. Whether the user may see the server is looked up at each poke.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import parse_qs
from weakref import WeakKeyDictionary

import structlog
from django.db import DatabaseError

from vpspanel.events.guard import Checks, Guarded, Loss, Owner, Pair, Rights, guard_for, owner_of
from vpspanel.events.live import Happened, tail
from vpspanel.events.origin import Message, Receive, Scope, Send, refuse
from vpspanel.events.threads import DatabaseThreads

log = structlog.get_logger(__name__)

PAUSE = 0.05  # seconds between two pokes about the same server
TEXT_LIMIT = 8192
WATCH_LIMIT = 1000
MESSAGE_PAUSE = 0.05  # seconds between two messages that are read from one browser
SIGNED_OUT = 4401
BAD_MESSAGE = 4400
TOO_BIG = 1009


class Page:
    """One open page. Waiting pokes are a set, so a browser that stops reading costs nothing."""

    def __init__(self, owner: Owner):
        self.owner = owner
        self.watched: set[int] = set()
        self.all = False
        self._waiting: set[int] = set()
        self._resting: set[int] = set()
        self._wake = asyncio.Event()

    def cares_for(self, server_id: int) -> bool:
        """Whether the page shows this server."""
        return self.all or server_id in self.watched

    def poke(self, server_id: int) -> None:
        """Tell it: at once, or at the end of the pause since the last time."""
        self._waiting.add(server_id)
        if server_id not in self._resting:
            self._wake.set()

    async def next(self) -> int:
        """The next server to tell about."""
        while True:
            ready = self._waiting - self._resting
            if ready:
                server_id = ready.pop()
                self._waiting.discard(server_id)
                self._resting.add(server_id)
                asyncio.get_running_loop().call_later(PAUSE, self._rested, server_id)
                return server_id
            self._wake.clear()
            await self._wake.wait()

    def _rested(self, server_id: int) -> None:
        self._resting.discard(server_id)
        if server_id in self._waiting:
            self._wake.set()


class Pokes:
    """All open pages of this process; one look-up of rights for each batch of events."""

    def __init__(self, rights: Rights):
        self.rights = rights
        self._pages: set[Page] = set()
        self._changed: set[int] = set()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def add(self, page: Page) -> None:
        """Poke this page from now on; returns when nothing can be missed any more."""
        self._pages.add(page)
        if self._task is None or self._task.done():
            stop = tail().listen(self._on_events)
            self._task = asyncio.create_task(self._run(stop), name="pokes")
        await tail().marked()

    def remove(self, page: Page) -> None:
        """It was closed."""
        self._pages.discard(page)
        if not self._pages:
            self._wake.set()

    async def _run(self, stop: Callable[[], None]) -> None:
        try:
            with DatabaseThreads("pokes") as threads:
                while self._pages:
                    await self._wake.wait()
                    self._wake.clear()
                    changed, self._changed = self._changed, set()
                    pairs = self._pairs(changed)
                    if pairs:
                        self._poke(await threads.run(self._look_up, pairs))
        finally:
            stop()

    def _on_events(self, events: Sequence[Happened]) -> None:
        servers = {event.resource_id for event in events if event.resource_type == "server"}
        if servers:
            self._changed |= servers
            self._wake.set()

    def _pairs(self, servers: set[int]) -> set[Pair]:
        return {
            (page.owner.user_id, server_id)
            for page in self._pages
            for server_id in servers
            if page.cares_for(server_id)
        }

    def _look_up(self, pairs: set[Pair]) -> set[Pair]:
        try:
            return set(self.rights(pairs))
        except DatabaseError:
            log.exception("rights_unreadable")
            return set()

    def _poke(self, allowed: set[Pair]) -> None:
        for page in self._pages:
            for user_id, server_id in allowed:
                if user_id == page.owner.user_id and page.cares_for(server_id):
                    page.poke(server_id)


_pokes: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Rights, Pokes]] = WeakKeyDictionary()


class LiveEvents:
    """The ASGI endpoint. Needs the origin check, sessions and users around it."""

    def __init__(self, rights: Rights):
        self._rights = rights

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        owner = owner_of(scope)
        if owner is None:
            await refuse(scope, receive, send)
            return
        await receive()
        await send({"type": "websocket.accept"})
        page = Page(owner)
        asked = parse_qs(scope["query_string"].decode("latin-1")).get("watch", [""])[-1]
        try:
            if asked:
                watch(page, asked if asked == "all" else asked.split(","))
        except ValueError:
            await _close(send, {"type": "websocket.close", "code": BAD_MESSAGE})
            return
        pokes = _pokes.setdefault(asyncio.get_running_loop(), {})
        await _serve(page, pokes.setdefault(self._rights, Pokes(self._rights)), receive, send)


async def _serve(page: Page, pokes: Pokes, receive: Receive, send: Send) -> None:
    end: asyncio.Future[Message] = asyncio.get_running_loop().create_future()

    def lost(loss: Loss) -> None:
        if not end.done():
            end.set_result({"type": "websocket.close", "code": SIGNED_OUT, "reason": loss.reason})

    tasks: list[asyncio.Future[Any]] = [end]
    with guard_for(Checks(pokes.rights)).watching(Guarded(page.owner, lost)):
        try:
            await pokes.add(page)
            tasks.append(asyncio.create_task(_listen(page, receive)))
            tasks.append(asyncio.create_task(_tell(page, send)))
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            message = done.pop().result()
        finally:
            pokes.remove(page)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    if message is not None:
        await _close(send, message)


async def _close(send: Send, message: Message) -> None:
    """Say why it ends; a browser that reads nothing is not waited for."""
    try:
        async with asyncio.timeout(1):
            await send(message)
    except (TimeoutError, OSError):
        log.info("page_did_not_take_the_close")


async def _tell(page: Page, send: Send) -> Message | None:
    try:
        await send({"type": "websocket.send", "text": '{"type": "ready"}'})
        while True:
            text = json.dumps({"type": "changed", "server": await page.next()})
            await send({"type": "websocket.send", "text": text})
    except OSError:  # it went away; uvicorn's ClientDisconnected is one
        return None


async def _listen(page: Page, receive: Receive) -> Message | None:
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return None
        text = message.get("text") or ""
        if len(text) > TEXT_LIMIT or message.get("bytes"):
            return {"type": "websocket.close", "code": TOO_BIG}
        try:
            watch(page, json.loads(text)["watch"])
        except (ValueError, TypeError, KeyError, RecursionError):
            return {"type": "websocket.close", "code": BAD_MESSAGE}
        await asyncio.sleep(MESSAGE_PAUSE)


def watch(page: Page, asked: object) -> None:
    """Note what the page shows. Raises `ValueError` or `TypeError` for all but ids or "all"."""
    if asked == "all":
        page.all, page.watched = True, set()
        return
    if not isinstance(asked, list) or len(asked) > WATCH_LIMIT:
        raise ValueError("watch takes a list of ids, or all")
    try:
        page.all, page.watched = False, {int(number) for number in asked}
    except OverflowError as error:  # JSON as Python reads it knows Infinity
        raise ValueError("an id is a whole number") from error
