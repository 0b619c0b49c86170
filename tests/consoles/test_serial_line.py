"""The line and its feeds by themselves."""

from __future__ import annotations

import asyncio

from django.db import DatabaseError

from vpspanel.consoles.feed import LIMIT, REMEMBERED, Feed, History, Past
from vpspanel.consoles.serial_line import Seat, SerialLine
from vpspanel.consoles.services import Place
from vpspanel.consoles.taping import Taping
from vpspanel.events.actor import Actor


async def test_whoever_looks_is_told_when_the_line_itself_breaks() -> None:
    """The page then comes back by itself, and the line with it."""

    async def place() -> Place | None:
        raise DatabaseError("gone")

    line = SerialLine(place, Taping(lambda actor: None, lambda tape: None))
    failed = asyncio.Event()
    seat = Seat(Actor(None, "page"), "owner", True, lambda: None, lambda sentence: None, failed.set)
    for _ in range(2):
        line.join(seat)
        async with asyncio.timeout(10):
            await failed.wait()
        failed.clear()
        await line.leave(seat)


async def test_a_slow_reader_loses_the_oldest_bytes() -> None:
    feed = Feed(lambda: None)
    chunks = [bytes([number]) * 1024 for number in range(256)] * 2
    for chunk in chunks:
        feed.put(chunk)
    assert feed.is_full
    assert feed.dropped == len(chunks) * 1024 - LIMIT
    got = b""
    while len(got) < LIMIT:
        got += await feed.read()
    assert got == b"".join(chunks)[-LIMIT:]
    assert not feed.is_full


async def test_what_is_past_comes_by_itself() -> None:
    feed = Feed(lambda: None)
    feed.put(Past(b"past"))
    feed.put(b"now")
    feed.put(b" and on")
    assert isinstance(await feed.read(), Past)
    now = await feed.read()
    assert (type(now), now) == (bytes, b"now and on")


def test_history_begins_with_a_whole_line_once_it_has_lost_something() -> None:
    history = History()
    history.add(b"first\n")
    assert history.recall() == b"first\n"
    history.add(b"x" * REMEMBERED + b"\nlast\n")
    assert history.recall() == b"last\n"
