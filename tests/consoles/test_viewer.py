"""A viewer that takes nothing is given up, and waiting costs little."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest

from vpspanel.consoles import viewer as module
from vpspanel.consoles.flag import Flag
from vpspanel.consoles.viewer import Ended, Viewer


class Page:
    """The other end; takes what is sent while it is `open`."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.taken = 0

    async def send(self, message: dict[str, Any]) -> None:
        await self.open.wait()
        self.taken += len(message["bytes"])

    async def receive(self) -> dict[str, Any]:
        await asyncio.Event().wait()
        return {}


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STALLED_AFTER", 0.3)


async def test_a_stalled_page_is_given_up() -> None:
    page = Page()
    viewer = Viewer(page.receive, page.send)
    await viewer.send_bytes(b"shown")
    page.open.clear()
    with pytest.raises(Ended) as ended:
        async with asyncio.timeout(20):
            await viewer.send_bytes(b"not shown")
    assert ended.value.code == 4408


async def test_a_slow_page_is_not() -> None:
    """Each send takes a good part of the time that one may take, all of them much more."""
    page = Page()
    viewer = Viewer(page.receive, page.send)
    loop = asyncio.get_running_loop()
    for _ in range(5):
        page.open.clear()
        loop.call_later(0.1, page.open.set)
        await viewer.send_bytes(b"x")
    assert page.taken == 5


async def test_being_cancelled_is_not_being_stalled() -> None:
    page = Page()
    page.open.clear()
    sending = asyncio.create_task(Viewer(page.receive, page.send).send_bytes(b"x"))
    await asyncio.sleep(0)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending


async def test_the_timer_keeps_no_viewer_alive() -> None:
    page = Page()
    viewer = Viewer(page.receive, page.send)
    await viewer.send_bytes(b"x")
    gone = weakref.ref(viewer)
    del viewer
    gc.collect()
    assert gone() is None


async def test_a_flag_lets_go_who_waits_and_who_comes_later() -> None:
    flag = Flag()
    waiting = asyncio.gather(flag.wait(), flag.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    flag.set()
    flag.set()
    flag.clear()
    await waiting  # it was set, if only for a moment
    again = asyncio.create_task(flag.wait())
    await asyncio.sleep(0)
    again.cancel()
    await asyncio.gather(again, return_exceptions=True)
    flag.set()
    async with asyncio.timeout(5):
        await flag.wait()
