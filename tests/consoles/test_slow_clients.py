"""A client that never finishes what it began, or sends more than anybody could need, is cut off."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState
from websockets.exceptions import ConnectionClosed

from tests.consoles.conftest import World
from tests.consoles.panel import Browser, Panel, running
from vpspanel import bounded

MIB = 1024 * 1024
WITHIN = 0.3  # instead of fifteen seconds
Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


async def _answer(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """A page that takes longer than a head may."""
    while (await receive()).get("more_body"):
        pass
    await asyncio.sleep(2 * WITHIN)
    headers = [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
async def connect(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Connect]:
    """Connects to a server with the bounded protocol."""
    monkeypatch.setattr(bounded, "HEAD_WITHIN", WITHIN)
    config = uvicorn.Config(_answer, lifespan="off", log_config=None)
    state = ServerState()
    server = await asyncio.get_running_loop().create_server(
        lambda: bounded.BoundedHttp(config, state, {}), "127.0.0.1", 0
    )
    port = server.sockets[0].getsockname()[1]
    async with server:
        yield lambda: asyncio.open_connection("127.0.0.1", port)


@pytest.mark.parametrize("half", [b"", b"GET", b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow:"])
async def test_half_a_request_is_not_waited_for(connect: Connect, half: bytes) -> None:
    reader, writer = await connect()
    writer.write(half)
    async with asyncio.timeout(20):
        assert await reader.read() == b""
    writer.close()


async def test_a_head_that_comes_drop_by_drop_is_not_waited_for(connect: Connect) -> None:
    reader, writer = await connect()
    ended = asyncio.create_task(reader.read())
    writer.write(b"GET / HTTP/1.1\r\nX-Slow: ")
    async with asyncio.timeout(20):
        while not ended.done():
            writer.write(b"x")
            await asyncio.sleep(0.05)
    with contextlib.suppress(ConnectionError):
        assert await ended == b""
    writer.close()


async def test_headers_without_end_are_cut_off(connect: Connect) -> None:
    reader, writer = await connect()
    sent = 0
    with contextlib.suppress(ConnectionError):
        writer.write(b"GET / HTTP/1.1\r\n")
        while sent < 64 * MIB and not reader.at_eof():
            writer.write(b"X-More: " + b"x" * 8000 + b"\r\n")
            sent += 8010
            await writer.drain()
    assert sent < 16 * MIB  # the two sockets hold some of it
    writer.close()


async def test_a_slow_answer_is_not_a_slow_request(connect: Connect) -> None:
    """Neither for the request itself, nor for half of the next one behind it."""
    reader, writer = await connect()
    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP")
    async with asyncio.timeout(20):
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"ok")
    writer.close()


async def test_a_long_body_is_not_a_long_head(connect: Connect) -> None:
    reader, writer = await connect()
    size = 4 * bounded.HEAD_LIMIT
    writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n")
    writer.write(b"Content-Length: %d\r\n\r\n" % size + bytes(size))
    async with asyncio.timeout(20):
        assert (await reader.read()).endswith(b"ok")
    writer.close()


@pytest.mark.alone
def test_a_read_full_of_tiny_frames_fills_no_memory(panel: Panel, world: World) -> None:
    """Forty thousand frames of one byte come in one piece, on each of eight sockets."""
    browser = Browser(panel, world.alice)
    terminals = [browser.console(world.server.pk) for _ in range(8)]
    for terminal in terminals:
        terminal.until_state("connecting")
    before = panel.rss()
    frames = (b"\x82\x81\x00\x00\x00\x00k" * 40_000)[: 256 * 1024 // 7 * 7]
    for terminal in terminals:
        terminal.socket.socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            terminal.socket.socket.send(frames)
    most = 0
    until = time.monotonic() + 2
    while time.monotonic() < until:
        most = max(most, panel.rss() - before)
        time.sleep(0.02)
    print(f"tiny frames: grew {most / MIB:.1f} MiB")
    assert most < 16 * MIB
    for terminal in terminals:
        terminal.socket.socket.shutdown(socket.SHUT_RDWR)


def test_an_idle_console_is_closed_if_the_site_wants_that(
    world: World, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("idle")
    with running(directory, CONSOLE_IDLE_SECONDS="2", CONSOLES_PER_USER="2") as panel:
        browser = Browser(panel, world.alice)
        other = world.add_server(world.project, "other")
        busy, idle = browser.console(world.server.pk), browser.console(other.pk)
        busy.login()
        busy.type("yes\r")
        busy.listen(4)  # what is shown counts as well
        code, reason, _ = idle.until_closed(timeout=20)
        assert (code, bool(reason)) == (4411, True)
        busy.output = b""
        busy.until_output(b"y\r\ny\r\n")
        held = browser.connect(f"/ws/console/serial/{other.pk}/")
        refused = browser.connect(f"/ws/console/serial/{other.pk}/")
        with pytest.raises(ConnectionClosed, match="4429"):
            refused.recv(10)
        held.close()
        busy.close()
