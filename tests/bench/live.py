"""From the commit of an event to the poke in a browser, beside the websocket's own round trip."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

from django.db import transaction
from websockets.sync.client import ClientConnection

from tests.bench.figures import Figure, percentile
from tests.consoles.panel import Browser, running
from tests.world import make_world
from vpspanel.events.services import record_event
from vpspanel.servers.models import Server

EVENTS = 100
PART = "Live page, SQLite, uvicorn in a process of its own"
# A page is poked at most once in so many seconds; an event that comes sooner waits.
PAUSE = 0.08


def measure() -> list[Figure]:
    """Milliseconds from commit to poke."""
    world = make_world()
    server = world.running("watched")
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as panel:
        socket = Browser(panel, world.alice.user).connect("/ws/events/")
        _expect(socket, "ready")
        socket.send(json.dumps({"watch": [server.pk]}))
        time.sleep(0.5)
        pokes, pings = [], []
        for number in range(EVENTS + 5):
            poke, ping = _poke(socket, server), _ping(socket)
            if number >= 5:
                pokes.append(poke)
                pings.append(ping)
            time.sleep(PAUSE)
        socket.close()
    return [_figure(percent, pokes, pings) for percent in (50, 99)]


def _figure(percent: int, pokes: list[float], pings: list[float]) -> Figure:
    value, limit = percentile(pokes, percent), percentile(pings, percent)
    what = f"event committed to poke in the browser, p{percent}"
    peer = f"websocket ping and pong, p{percent}"
    return Figure(PART, what, value, "ms", peer, limit, value / limit)


def _poke(socket: ClientConnection, server: Server) -> float:
    committed: list[float] = []
    with transaction.atomic():
        # Callbacks run in order: this one before the bell.
        transaction.on_commit(lambda: committed.append(time.perf_counter()))
        record_event(
            "server.changed",
            "Something",
            resource=("server", server.pk),
            project_id=server.project_id,
        )
    _expect(socket, "changed")
    return (time.perf_counter() - committed[0]) * 1000


def _ping(socket: ClientConnection) -> float:
    started = time.perf_counter()
    socket.ping().wait(10)
    return (time.perf_counter() - started) * 1000


def _expect(socket: ClientConnection, kind: str) -> None:
    message = json.loads(socket.recv(10))
    if message["type"] != kind:
        raise AssertionError(f"{message} instead of {kind}")
