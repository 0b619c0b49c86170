"""Nothing that a guest or a browser does fills the panel's memory or slows others down."""

from __future__ import annotations

import json
import socket
import statistics
import threading
import time

import pytest
from websockets.exceptions import ConnectionClosed

from tests.consoles.conftest import World
from tests.consoles.panel import Browser, Panel, Terminal

pytestmark = pytest.mark.alone

MIB = 1024 * 1024
GROWTH = 8 * MIB


def flooded(panel: Panel, world: World, *, acks: bool) -> Terminal:
    """A console whose guest writes without end and whose browser has stopped reading."""
    terminal = Browser(panel, world.alice).console(world.server.pk, acks=acks, max_queue=1)
    terminal.until_state("connected")
    terminal.until_output(b"login: ")
    terminal.type("root\r")
    terminal.until_output(b"# ")
    terminal.type("yes flood\r")
    return terminal


@pytest.mark.parametrize("acks", [True, False])
def test_a_stalled_browser_costs_no_memory_and_no_time_of_others(
    panel: Panel, world: World, acks: bool
) -> None:
    """With the page's own acknowledgements, and with nothing but TCP to say stop."""
    other = Browser(panel, world.mallory).console(world.foreign.pk)
    other.login()
    before = panel.rss()
    stalled = flooded(panel, world, acks=acks)
    started = time.monotonic()
    times = []
    while time.monotonic() - started < 4:
        at = time.perf_counter()
        other.type("k")
        other.until_output(b"k")
        times.append((time.perf_counter() - at) * 1000)
        time.sleep(0.02)
    growth = panel.rss() - before
    times.sort()
    print(
        f"stalled: grew {growth / MIB:.1f} MiB; "
        f"others' echo p50 {statistics.median(times):.1f} ms, p95 {times[-len(times) // 20]:.1f} ms"
    )
    assert growth < GROWTH
    assert times[-len(times) // 20] < 200
    stalled.socket.socket.close()
    other.close()


def test_a_page_that_acknowledges_gets_all_of_a_flood(panel: Panel, world: World) -> None:
    """The window opens again and again: many times its size comes through."""
    terminal = Browser(panel, world.alice).console(world.server.pk)
    terminal.login()
    terminal.type("yes flood\r")
    total = 0
    deadline = time.monotonic() + 30
    while total < 4 * MIB:
        assert time.monotonic() < deadline
        terminal.step(5)
        total += len(terminal.output)
        terminal.output = b""
    terminal.type("\x03")
    terminal.until_output(b"^C", timeout=10)
    terminal.close()


def test_acknowledging_what_was_not_sent_is_refused(panel: Panel, world: World) -> None:
    for count in (10**9, -1, "many", None):
        terminal = Browser(panel, world.alice).console(world.server.pk)
        terminal.until_state("connected")
        terminal.send_json({"type": "ack", "bytes": count})
        assert terminal.until_closed()[0] == 4400


@pytest.mark.parametrize("size", [64 * 1024 + 1, 2 * MIB, 64 * MIB])
def test_a_big_frame_closes_the_socket(panel: Panel, world: World, size: int) -> None:
    before = panel.rss()
    terminal = Browser(panel, world.alice).console(world.server.pk)
    terminal.until_state("connected")
    with pytest.raises((ConnectionClosed, OSError)) as closed:  # noqa: PT012 - either call meets it
        terminal.socket.send(b"x" * size)
        terminal.until_state("never")
    if isinstance(closed.value, ConnectionClosed) and closed.value.rcvd is not None:
        assert closed.value.rcvd.code == 1009
    else:
        assert size > MIB  # cut off before it had sent it all
    assert panel.rss() - before < GROWTH


def test_a_long_control_message_closes_the_socket(panel: Panel, world: World) -> None:
    terminal = Browser(panel, world.alice).console(world.server.pk)
    terminal.until_state("connected")
    terminal.socket.send(json.dumps({"type": "x" * 2000}))
    assert terminal.until_closed()[0] == 1009


def test_ten_thousand_small_frames_are_slowed_down(panel: Panel, world: World) -> None:
    """They are read no faster than a person could ever need, and held by the sender."""
    other = Browser(panel, world.mallory).console(world.foreign.pk)
    other.login()
    terminal = Browser(panel, world.alice).console(world.server.pk)
    terminal.login()
    before = panel.rss()
    sender = threading.Thread(target=_type_much, args=(terminal, 10_000), daemon=True)
    sender.start()
    at = time.perf_counter()
    other.type("k")
    other.until_output(b"k")
    assert time.perf_counter() - at < 0.2
    time.sleep(2)
    assert panel.rss() - before < GROWTH
    terminal.socket.socket.shutdown(socket.SHUT_RDWR)
    sender.join(10)
    other.close()


def _type_much(terminal: Terminal, count: int) -> None:
    try:
        for _ in range(count):
            terminal.socket.send(b"x")
    except (ConnectionClosed, OSError):
        return


def test_many_consoles_stay_apart_and_quick(panel: Panel, world: World) -> None:
    """Ten at once, of two people: each types its own mark and sees no other's."""
    people = [(world.alice, world.project), (world.mallory, world.foreign.project)]
    terminals = []
    before = panel.rss()
    for number in range(10):
        user, project = people[number % 2]
        browser = Browser(panel, user)
        server = world.add_server(project, f"many{number}")
        terminals.append((number, browser.console(server.pk)))
    for _, terminal in terminals:
        terminal.login()
    times = []
    for turn in range(10):
        for number, terminal in terminals:
            at = time.perf_counter()
            mark = f"<{number}:{turn}>".encode()
            terminal.type(mark.decode())
            shown = terminal.until_output(mark)
            times.append((time.perf_counter() - at) * 1000)
            assert shown.count(b"<") == 1
    times.sort()
    print(f"10 consoles: p95 {times[-5]:.1f} ms, {(panel.rss() - before) / 10 / 1024:.0f} KiB each")
    assert times[-5] < 200
    for _, terminal in terminals:
        terminal.close()
