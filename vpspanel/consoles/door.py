"""The door of `consoleproxy`: one process that decides, beside many that only carry bytes.

websockify makes a process for each viewer. Those know neither users nor
servers: each hands its visitor's handshake to the door, over a UNIX socket of
packets, and gets back a connected socket to the guest's screen, or the reason
why there is none. The door runs the handshake through the same ASGI callables
as the panel's own endpoints: origin, session, ticket, seats, guard, timeline.

Packets are JSON. From the viewer's process once `{"path", "headers", "client"}`;
its hanging up says that the viewer has left. Back come `{"refused": true}`, or
`{"screen": {"types": …}}` with the socket, and in the end `{"end": [code, reason]}`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import structlog
from django.http import parse_cookie

from vpspanel.consoles.viewer import Ended
from vpspanel.events.origin import App, Message, Scope

log = structlog.get_logger(__name__)

PACKET_LIMIT = 128 * 1024
HANDSHAKE_LIMIT = 64 * 1024
ANSWER_WITHIN = 40.0  # seconds; a host that hangs takes the longest
LAST_WORDS_WITHIN = 3.0
TICKET_COOKIE = "console-ticket"


# --- the viewer's side: a plain process, no event loop ----------------------------------


@dataclass(slots=True)
class Admission:
    """What the door said: `screen` is connected, or `end` says why there is none."""

    door: socket.socket
    types: bool = False
    screen: socket.socket | None = None
    end: Ended | None = None


def knock(path: str, handshake: dict[str, Any]) -> Admission | None:
    """Show the handshake at the door `path`; None if it is refused. Raises `OSError`."""
    packet = json.dumps(handshake).encode()
    if len(packet) > HANDSHAKE_LIMIT:
        return None
    door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    door.settimeout(ANSWER_WITHIN)
    door.connect(path)
    door.send(packet)
    answer, descriptors, _, _ = socket.recv_fds(door, PACKET_LIMIT, 1)
    screen = socket.socket(fileno=descriptors[0]) if descriptors else None
    said = json.loads(answer or b'{"refused": true}')
    if "screen" in said:
        return Admission(door, types=said["screen"]["types"], screen=screen)
    return Admission(door, end=Ended(*said["end"])) if "end" in said else None


def last_words(door: socket.socket) -> Ended:
    """Why the door wants an open screen closed."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        return Ended(*json.loads(door.recv(PACKET_LIMIT))["end"])
    return Ended(1012, "The panel is being restarted.")


# --- the door's side ---------------------------------------------------------------------


class Caller:
    """One viewer's process, as an ASGI server shows a websocket to its application."""

    def __init__(self, line: socket.socket):
        self._line = line
        self._loop = asyncio.get_running_loop()
        self._first: list[Message] = []

    async def serve(self, app: App) -> None:
        """Let `app` decide, and stay until one of them ends it."""
        with self._line, contextlib.suppress(OSError, ValueError, KeyError):
            scope = _scope_of(json.loads(await self._loop.sock_recv(self._line, PACKET_LIMIT)))
            hello = {"type": "hello", "ticket": _ticket_of(scope)}
            self._first = [
                {"type": "websocket.receive", "text": json.dumps(hello)},
                {"type": "websocket.connect"},
            ]
            await app({**scope, "caller": self}, self._receive, self._send)

    def hand_over(self, screen: socket.socket, *, types: bool) -> None:
        """Give the viewer's process the guest's screen."""
        packet = json.dumps({"screen": {"types": types}}).encode()
        socket.send_fds(self._line, [packet], [screen.fileno()])

    async def _receive(self) -> Message:
        if self._first:
            return self._first.pop()
        while await self._loop.sock_recv(self._line, PACKET_LIMIT):
            pass  # it has nothing more to say
        return {"type": "websocket.disconnect", "code": 1006}

    async def _send(self, message: Message) -> None:
        if message["type"] != "websocket.close":
            return
        refused = message["code"] == REFUSED and "reason" not in message
        said = {"refused": True} if refused else {"end": [message["code"], message["reason"]]}
        self._line.send(json.dumps(said).encode())


REFUSED = 4403  # without a reason: see `vpspanel.events.origin.refuse`


def _scope_of(handshake: dict[str, Any]) -> Scope:
    headers = [
        (name.lower().encode("latin-1"), value.encode("latin-1"))
        for name, value in handshake["headers"]
    ]
    return {
        "type": "websocket",
        "scheme": "ws",
        "path": handshake["path"],
        "root_path": "",
        "query_string": b"",
        "headers": headers,
        "client": (handshake["client"], 0),
    }


def _ticket_of(scope: Scope) -> str:
    """The secret in its cookie: no log holds those, as some do addresses and other headers."""
    sent = [value.decode("latin-1") for name, value in scope["headers"] if name == b"cookie"]
    return parse_cookie(sent[0]).get(TICKET_COOKIE, "") if len(sent) == 1 else ""


async def keep_door(listener: socket.socket, app: App, lifeline: int) -> None:
    """Let callers in until nobody holds the other end of `lifeline`, then see the last ones off."""
    loop = asyncio.get_running_loop()
    closing = asyncio.Event()
    loop.add_reader(lifeline, closing.set)
    callers: set[asyncio.Task[None]] = set()
    accepting = asyncio.create_task(_let_in(listener, app, callers))
    await closing.wait()
    loop.remove_reader(lifeline)
    accepting.cancel()
    for caller in callers:
        caller.cancel()
    if callers:
        await asyncio.wait(callers, timeout=LAST_WORDS_WITHIN)


async def _let_in(listener: socket.socket, app: App, callers: set[asyncio.Task[None]]) -> None:
    loop = asyncio.get_running_loop()
    while True:
        line, _ = await loop.sock_accept(listener)
        line.setblocking(False)
        task = asyncio.create_task(Caller(line).serve(app))
        callers.add(task)
        task.add_done_callback(callers.discard)


@dataclass(frozen=True, slots=True)
class Door:
    """The running process, as its parent knows it."""

    path: str
    pid: int
    lifeline: int

    def is_open(self) -> bool:
        """Whether it runs; without it nobody may see anything."""
        with contextlib.suppress(ChildProcessError):
            return os.waitpid(self.pid, os.WNOHANG) == (0, 0)
        return False


def open_door(app: App) -> Door:
    """Start it. It ends when its parent and all viewers' processes have ended."""
    directory = Path(tempfile.mkdtemp(prefix="vpspanel-door-"))  # nobody else may enter
    path = directory / "door"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(str(path))
    listener.listen(512)
    listener.setblocking(False)
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(writing)
        _be_the_door(lambda: asyncio.run(keep_door(listener, app, reading)), path)
    os.close(reading)
    listener.close()
    return Door(str(path), pid, writing)


def _be_the_door(work: Callable[[], None], path: Path) -> NoReturn:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it sees the viewers off first
    try:
        work()
    except BaseException:
        log.exception("door_failed")
    finally:
        path.unlink(missing_ok=True)
        path.parent.rmdir()
        os._exit(0)
