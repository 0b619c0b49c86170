"""Pokes: from the commit of an event to the frame in the browser of those who may know."""

from __future__ import annotations

import json
import statistics
import time
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.db import transaction
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from tests.consoles.conftest import World, panel, world
from tests.consoles.panel import Browser, Panel
from vpspanel.accounts.models import Member
from vpspanel.events.models import Event
from vpspanel.events.services import record_event
from vpspanel.servers.models import Lifecycle, Server

__all__ = ["panel", "world"]  # fixtures

ADDRESS = "/ws/events/"


def watch(browser: Browser, servers: list[int] | str) -> ClientConnection:
    """A page that shows these and misses nothing from now on."""
    socket = browser.connect(ADDRESS)
    assert hear(socket) == {"type": "ready"}
    socket.send(json.dumps({"watch": servers}))
    time.sleep(0.1)
    return socket


def hear(socket: ClientConnection, timeout: float = 5) -> dict[str, Any]:
    """The next poke."""
    answer: dict[str, Any] = json.loads(socket.recv(timeout))
    return answer


def silent(socket: ClientConnection, seconds: float = 0.5) -> bool:
    """Whether nothing comes for so long."""
    try:
        socket.recv(seconds)
    except TimeoutError:
        return True
    return False


def happen(server: Server, kind: str = "server.changed") -> Event:
    """Something happens to the server."""
    return record_event(
        kind, "Something", resource=("server", server.pk), project_id=server.project_id
    )


@pytest.mark.both_databases
def test_a_change_is_told_at_once(panel: Panel, world: World) -> None:
    socket = watch(Browser(panel, world.rita), [world.server.pk])
    times = []
    for _ in range(40):
        with transaction.atomic():
            happen(world.server)
        committed = time.perf_counter()
        assert hear(socket) == {"type": "changed", "server": world.server.pk}
        times.append((time.perf_counter() - committed) * 1000)
        time.sleep(0.06)
    times.sort()
    print(f"commit to poke: p50 {statistics.median(times):.1f} ms, p95 {times[-2]:.1f} ms")
    assert statistics.median(times) < 100
    socket.close()


def test_many_changes_become_few_pokes(panel: Panel, world: World) -> None:
    socket = watch(Browser(panel, world.alice), [world.server.pk])
    started = time.monotonic()
    for _ in range(100):
        happen(world.server)
    took = time.monotonic() - started
    pokes = 0
    while not silent(socket, 0.3):
        pokes += 1
    assert 1 <= pokes <= took / 0.05 + 3
    socket.close()


@pytest.mark.both_databases
def test_nothing_is_told_to_those_who_may_not_see(panel: Panel, world: World) -> None:
    """Mallory asks for a foreign server by its number, and for everything."""
    for asked in ([world.server.pk, world.foreign.pk], "all"):
        socket = watch(Browser(panel, world.mallory), asked)
        happen(world.server)
        assert silent(socket)
        happen(world.foreign)
        assert hear(socket)["server"] == world.foreign.pk
        socket.close()


def test_only_what_the_page_shows_is_told(panel: Panel, world: World) -> None:
    other = world.add_server(world.project, "other")
    socket = watch(Browser(panel, world.alice), [other.pk])
    happen(world.server)
    assert silent(socket)
    socket.send(json.dumps({"watch": "all"}))
    time.sleep(0.1)
    happen(world.server)
    assert hear(socket)["server"] == world.server.pk
    new = world.add_server(world.project, "new")
    happen(new, "server.created")
    assert hear(socket)["server"] == new.pk
    socket.close()


def test_the_address_can_say_what_is_shown(panel: Panel, world: World) -> None:
    for query in (f"?watch={world.server.pk},7", "?watch=all"):
        socket = Browser(panel, world.alice).connect(ADDRESS + query)
        assert hear(socket) == {"type": "ready"}
        happen(world.server)
        assert hear(socket)["server"] == world.server.pk
        socket.close()


def test_the_end_of_a_server_is_told(panel: Panel, world: World) -> None:
    socket = watch(Browser(panel, world.alice), [world.server.pk])
    Server.objects.filter(pk=world.server.pk).update(lifecycle=Lifecycle.DELETED)
    happen(world.server, "server.deleted")
    assert hear(socket)["server"] == world.server.pk
    socket.close()


def test_a_lost_right_is_felt_at_the_next_event(panel: Panel, world: World) -> None:
    socket = watch(Browser(panel, world.olga), "all")
    Member.objects.filter(user=world.olga).delete()
    happen(world.server)
    assert silent(socket)
    socket.close()


def test_what_was_rolled_back_is_not_told(panel: Panel, world: World) -> None:
    socket = watch(Browser(panel, world.alice), "all")
    with transaction.atomic():
        happen(world.server)
        transaction.set_rollback(True)
    assert silent(socket)
    happen(world.server)
    assert hear(socket)["server"] == world.server.pk
    socket.close()


def test_signing_out_ends_the_socket(panel: Panel, world: World) -> None:
    socket = watch(Browser(panel, world.alice), "all")
    Session.objects.all().delete()
    started = time.monotonic()
    with pytest.raises(ConnectionClosed) as closed:
        socket.recv(8)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4401
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("nonsense", 4400),
        ('{"watch": 7}', 4400),
        ('{"watch": ["x"]}', 4400),
        ('{"watch": null}', 4400),
        ("[]", 4400),
        (json.dumps({"watch": list(range(1001))}), 4400),
        ("x" * 9000, 1009),
        (b"bytes", 1009),
    ],
)
def test_nonsense_closes_the_socket(
    panel: Panel, world: World, message: str | bytes, code: int
) -> None:
    socket = Browser(panel, world.alice).connect(ADDRESS)
    assert hear(socket) == {"type": "ready"}
    socket.send(message)
    with pytest.raises(ConnectionClosed) as closed:
        socket.recv(5)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == code
