"""Ends open websockets whose owner may no longer have them.

A websocket lives long after the request that opened it, and nothing in Django
looks at it again. Here one task per process looks at all of them together:
every `LOOK_EVERY` seconds, and at once when an event says that people or
rights have changed. Three or four queries serve any number of sockets.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any
from weakref import WeakKeyDictionary

import structlog
from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import DatabaseError
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from vpspanel.events.live import Happened, tail
from vpspanel.events.threads import DatabaseThreads

log = structlog.get_logger(__name__)

LOOK_EVERY = 2.5
LOOK_AT_MOST_EVERY = 0.3
# How long nobody's right could be looked up before every socket is closed: when
# in doubt, nobody may. A short stop of the database should cut no console.
BLIND_LIMIT = 10.0

Pair = tuple[int, int]  # user, server
# Which of these users may see which of these servers; True: and control it.
Rights = Callable[[set[Pair]], dict[Pair, bool]]


@dataclass(frozen=True, slots=True)
class Owner:
    """Who opened a socket, and by which sign-in."""

    user_id: int
    session_key: str
    auth_hash: str


@dataclass(frozen=True, slots=True)
class Loss:
    """Why a socket ends: the close code, and a sentence for whoever had it."""

    code: int
    reason: str


SIGNED_OUT = Loss(4401, "You were signed out.")
NO_ACCESS = Loss(4403, "You no longer have access to this server.")
NOT_KNOWN = Loss(4403, "Your right to this could not be checked.")


@dataclass(eq=False, slots=True)
class Guarded:
    """One open socket. `lost` is called once, with the reason; `control` at each look."""

    owner: Owner
    lost: Callable[[Loss], None]
    server_id: int | None = None
    control: Callable[[bool], None] | None = None

    @property
    def pair(self) -> Pair | None:
        """Whose right to which server this socket needs."""
        return None if self.server_id is None else (self.owner.user_id, self.server_id)


@dataclass(frozen=True, slots=True)
class Findings:
    """What one look into the database found."""

    owners: set[Owner]
    rights: dict[Pair, bool]
    losses: dict[Pair, Loss]


@dataclass(frozen=True, slots=True)
class Checks:
    """What those who know servers look up for the guard.

    `why`: the reasons of those without a right, where it is not simply that.
    `signed_in`: those whose sign-in still counts; by default, see `signed_in`.
    """

    rights: Rights
    why: Callable[[set[Pair]], dict[Pair, Loss]] | None = None
    signed_in: Callable[[set[Owner]], set[Owner]] | None = None


class Guard:
    """All open sockets of this process that are checked alike."""

    def __init__(self, checks: Checks):
        self._checks = checks
        self._sockets: set[Guarded] = set()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._looked = 0.0

    @contextlib.contextmanager
    def watching(self, socket: Guarded) -> Iterator[None]:
        """Look after `socket` as long as the block lasts."""
        self._sockets.add(socket)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="socket guard")
        try:
            yield
        finally:
            self._sockets.discard(socket)
            if not self._sockets:
                self._wake.set()

    async def _run(self) -> None:
        self._looked = time.monotonic()
        stop = tail().listen(self._on_events)
        try:
            with DatabaseThreads("socket-guard") as threads:
                while self._sockets:
                    await self._sleep()
                    await self._look(threads)
        finally:
            stop()

    async def _sleep(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_EVERY):
                await self._wake.wait()
                if self._sockets:
                    await asyncio.sleep(LOOK_AT_MOST_EVERY)
        self._wake.clear()

    async def _look(self, threads: DatabaseThreads) -> None:
        sockets = list(self._sockets)
        if not sockets:
            return
        owners = {socket.owner for socket in sockets}
        pairs = {socket.pair for socket in sockets if socket.pair is not None}
        try:
            found = await threads.run(self._find, owners, pairs)
        except DatabaseError:
            log.exception("rights_unreadable", sockets=len(sockets))
            if time.monotonic() - self._looked > BLIND_LIMIT:
                self._close_all(sockets)
            return
        self._looked = time.monotonic()
        for socket in sockets:
            if socket in self._sockets:
                _judge(socket, found)

    def _find(self, owners: set[Owner], pairs: set[Pair]) -> Findings:
        checks = self._checks
        rights = checks.rights(pairs) if pairs else {}
        missing = pairs - rights.keys()
        losses = checks.why(missing) if missing and checks.why is not None else {}
        return Findings((checks.signed_in or signed_in)(owners), rights, losses)

    def _close_all(self, sockets: Iterable[Guarded]) -> None:
        for socket in sockets:
            socket.lost(NOT_KNOWN)

    def _on_events(self, events: Sequence[Happened]) -> None:
        watched = {socket.server_id for socket in self._sockets}
        for event in events:
            if event.resource_type != "server" or event.resource_id in watched:
                self._wake.set()
                return


def _judge(socket: Guarded, found: Findings) -> None:
    if socket.owner not in found.owners:
        socket.lost(SIGNED_OUT)
    elif socket.pair is not None and socket.pair not in found.rights:
        socket.lost(found.losses.get(socket.pair, NO_ACCESS))
    elif socket.pair is not None and socket.control is not None:
        socket.control(found.rights[socket.pair])


def signed_in(owners: set[Owner]) -> set[Owner]:
    """Those whose session still exists, and whose user is active with the same password."""
    model = session_model()
    sessions = set(
        model.objects.filter(
            session_key__in={owner.session_key for owner in owners},
            expire_date__gt=timezone.now(),
        ).values_list("session_key", flat=True)
    )
    users = get_user_model().objects.filter(
        pk__in={owner.user_id for owner in owners}, is_active=True
    )
    hashes = {user.pk: user.get_session_auth_hash() for user in users.only("password")}
    return {
        owner
        for owner in owners
        if owner.session_key in sessions
        and constant_time_compare(hashes.get(owner.user_id, ""), owner.auth_hash)
    }


def session_model() -> Any:
    """The table of sessions: only sessions kept in the database can be asked for together."""
    return import_module(settings.SESSION_ENGINE).SessionStore.get_model_class()


def owner_of(scope: dict[str, Any]) -> Owner | None:
    """Who opens this websocket; None for somebody who is not signed in."""
    user, session = scope["user"], scope["session"]
    if not user.is_authenticated or not session.session_key:
        return None
    return Owner(user.pk, session.session_key, user.get_session_auth_hash())


_guards: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Checks, Guard]] = WeakKeyDictionary()


def guard_for(checks: Checks) -> Guard:
    """The guard of this process that checks so."""
    guards = _guards.setdefault(asyncio.get_running_loop(), {})
    if checks not in guards:
        guards[checks] = Guard(checks)
    return guards[checks]
