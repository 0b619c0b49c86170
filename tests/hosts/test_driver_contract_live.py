"""The driver contract: consoles, events, deadlines, and the end of a driver."""

from __future__ import annotations

import asyncio
import threading
import time
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from hosts.virt.driver import SerialStream
from hosts.virt.errors import (
    CallTimeout,
    ConsoleBusy,
    HostUnreachable,
    InvalidState,
    NotFound,
)
from hosts.virt.spec import DomainEvent, EventKind, Power
from tests.hosts.contract import KIB, ContractHost, on_hosts_with, wait_until

# --- serial consoles ------------------------------------------------------------


async def read_until(stream: SerialStream, wanted: bytes, seconds: float = 20) -> bytes:
    """What came up to and including `wanted`; fails after `seconds` or at the end."""
    seen = b""
    async with asyncio.timeout(seconds):
        while wanted not in seen:
            data = await stream.read()
            assert data, f"the stream ended after {seen[-200:]!r}"
            assert len(data) <= 64 * KIB
            seen += data
    return seen


async def read_to_end(stream: SerialStream, seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while await stream.read():
            pass


@on_hosts_with("open_serial")
async def test_the_console_shows_the_guest_and_takes_what_is_typed(host: ContractHost) -> None:
    stream = await host.driver.open_serial(host.running())
    await read_until(stream, host.ready)
    await stream.write(b"hello")
    await read_until(stream, b"hello")
    await stream.close()


@on_hosts_with("open_serial")
async def test_the_console_ends_with_the_guest(host: ContractHost) -> None:
    uuid = host.running()
    stream = await host.driver.open_serial(uuid)
    await asyncio.to_thread(host.driver.destroy, uuid)
    await read_to_end(stream)
    assert await stream.read() == b""
    await stream.close()


@on_hosts_with("open_serial")
async def test_the_console_survives_a_reset(host: ContractHost) -> None:
    uuid = host.running()
    stream = await host.driver.open_serial(uuid)
    await read_until(stream, host.ready)
    await asyncio.to_thread(host.driver.reset, uuid)
    await read_until(stream, host.ready)
    await stream.close()


@on_hosts_with("open_serial")
async def test_a_second_holder_is_refused(host: ContractHost) -> None:
    uuid = host.running()
    first = await host.driver.open_serial(uuid)
    with pytest.raises(ConsoleBusy):
        await host.driver.open_serial(uuid)
    await read_until(first, host.ready)
    await first.close()


@on_hosts_with("open_serial")
async def test_force_cuts_the_holder_off(host: ContractHost) -> None:
    uuid = host.running()
    first = await host.driver.open_serial(uuid)
    second = await host.driver.open_serial(uuid, force=True)
    await read_to_end(first)
    await first.close()
    await read_until(second, host.ready)
    await second.write(b"mine")
    await read_until(second, b"mine")
    await second.close()


@on_hosts_with("open_serial")
async def test_close_frees_the_console_and_may_be_repeated(host: ContractHost) -> None:
    uuid = host.running()
    first = await host.driver.open_serial(uuid)
    await first.close()
    await first.close()
    assert await first.read() == b""
    second = await host.driver.open_serial(uuid)
    await second.close()


@on_hosts_with("open_serial")
async def test_close_wakes_a_reader(host: ContractHost) -> None:
    stream = await host.driver.open_serial(host.running())
    await read_until(stream, host.ready)
    reader = asyncio.create_task(read_to_end(stream))
    await asyncio.sleep(0.1)
    await stream.close()
    await asyncio.wait_for(reader, 5)


@on_hosts_with("open_serial")
async def test_a_console_needs_a_running_guest(host: ContractHost) -> None:
    spec = host.spec()
    host.driver.define(spec)
    with pytest.raises(InvalidState):
        await host.driver.open_serial(spec.uuid)
    with pytest.raises(NotFound):
        await host.driver.open_serial(uuid4())


@on_hosts_with("open_serial")
async def test_a_slow_reader_stops_the_producer(host: ContractHost) -> None:
    stream = await host.driver.open_serial(host.running())
    await read_until(stream, host.ready)
    await host.flood(stream)
    tracemalloc.start()
    try:
        await asyncio.sleep(1)
        held, _peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 1024 * KIB  # 256 KiB, and what Python needs around them
    total = 0
    async with asyncio.timeout(20):
        while total < 512 * KIB:
            total += len(await stream.read())
    await stream.close()


# --- events -----------------------------------------------------------------------


class Heard:
    """A sink that remembers."""

    def __init__(self, host: ContractHost) -> None:
        self.events: list[DomainEvent] = []
        self.threads: set[int] = set()
        self.stop = host.driver.watch(self._take)
        # The driver connects for the watch by itself; what comes before that is not heard.
        wait_until(lambda: EventKind.CONNECTED in self.kinds(None), 10, "the watch is connected")

    def _take(self, event: DomainEvent) -> None:
        self.events.append(event)
        self.threads.add(threading.get_ident())

    def kinds(self, uuid: UUID | None) -> list[EventKind]:
        return [event.kind for event in self.events if event.uuid == uuid]

    def wait(self, uuid: UUID | None, kind: EventKind, seconds: float = 20) -> DomainEvent:
        wait_until(lambda: kind in self.kinds(uuid), seconds, f"{kind} of {uuid}")
        return next(event for event in self.events if (event.uuid, event.kind) == (uuid, kind))


@on_hosts_with("watch")
def test_watch_tells_the_life_of_a_guest(host: ContractHost) -> None:
    heard = Heard(host)
    uuid = host.running()
    host.driver.destroy(uuid)
    host.driver.undefine(uuid)
    heard.wait(uuid, EventKind.UNDEFINED)
    told = (EventKind.DEFINED, EventKind.STARTED, EventKind.STOPPED, EventKind.UNDEFINED)
    assert [kind for kind in heard.kinds(uuid) if kind in told] == list(told)
    event = heard.wait(uuid, EventKind.STARTED)
    assert event.at.tzinfo is not None
    assert abs(datetime.now(UTC) - event.at) < timedelta(seconds=60)
    assert threading.get_ident() not in heard.threads
    heard.stop()


@on_hosts_with("watch")
def test_watch_tells_within_a_moment(host: ContractHost) -> None:
    uuid = host.running()
    heard = Heard(host)
    host.driver.destroy(uuid)
    done = time.monotonic()
    heard.wait(uuid, EventKind.STOPPED)
    assert time.monotonic() - done < 0.5
    heard.stop()


@on_hosts_with("watch", "open_serial")
def test_watch_tells_what_a_guest_does_by_itself(host: ContractHost) -> None:
    uuid = host.booted()
    heard = Heard(host)
    host.press_inside(uuid, "reboot")
    heard.wait(uuid, EventKind.REBOOTED)
    assert EventKind.STOPPED not in heard.kinds(uuid)
    host.wait_ready(uuid)
    host.press_inside(uuid, "poweroff")
    assert heard.wait(uuid, EventKind.STOPPED).detail == "shutdown"
    assert host.power(uuid) is Power.OFF
    heard.stop()


@on_hosts_with("watch", "open_serial")
@pytest.mark.parametrize("call", ["reboot", "reset"])
def test_watch_tells_reboot_and_reset_as_one_reboot(host: ContractHost, call: str) -> None:
    uuid = host.booted()
    heard = Heard(host)
    getattr(host.driver, call)(uuid)
    heard.wait(uuid, EventKind.REBOOTED)
    assert EventKind.STOPPED not in heard.kinds(uuid)
    heard.stop()


@on_hosts_with("watch", "open_serial")
def test_watch_tells_when_the_process_of_a_guest_dies(host: ContractHost) -> None:
    uuid = host.running()
    heard = Heard(host)
    host.kill(uuid)
    assert heard.wait(uuid, EventKind.STOPPED).detail == "failed"
    assert host.power(uuid) in (Power.OFF, Power.CRASHED)
    heard.stop()
    host.driver.start(uuid)
    assert host.power(uuid) is Power.RUNNING


@on_hosts_with("watch", "open_serial")
def test_a_lost_connection_is_told_and_comes_back_by_itself(host: ContractHost) -> None:
    uuid = host.running()
    heard = Heard(host)
    host.restart_daemon()
    told = [EventKind.CONNECTED, EventKind.DISCONNECTED, EventKind.CONNECTED]
    wait_until(lambda: heard.kinds(None) == told, 20, "disconnected, and connected again")
    assert host.power(uuid) is Power.RUNNING
    host.driver.destroy(uuid)
    heard.wait(uuid, EventKind.STOPPED)
    heard.stop()


@on_hosts_with("watch")
def test_nothing_is_told_after_the_end_of_a_watch(host: ContractHost) -> None:
    heard = Heard(host)
    heard.stop()
    heard.stop()
    before = len(heard.events)
    host.running()
    time.sleep(0.3)
    assert len(heard.events) == before


@on_hosts_with("watch")
def test_a_sink_that_fails_hears_the_next_event(host: ContractHost) -> None:
    kinds: list[EventKind] = []

    def fail(event: DomainEvent) -> None:
        kinds.append(event.kind)
        raise RuntimeError("not now")

    stop = host.driver.watch(fail)
    wait_until(lambda: EventKind.CONNECTED in kinds, 10, "the watch is connected")
    host.driver.destroy(host.running())
    wait_until(lambda: EventKind.STOPPED in kinds, 10, "the last event is told as well")
    stop()


# --- when the host does not answer ------------------------------------------------


@on_hosts_with("probe")
def test_an_unreachable_host_says_so(host: ContractHost) -> None:
    driver = host.unreachable()
    started = time.monotonic()
    calls: tuple[Callable[[], object], ...] = (
        driver.probe,
        driver.domains,
        driver.stats,
        driver.load,
        lambda: driver.domain(uuid4()),
        lambda: driver.pool("default"),
        lambda: driver.start(uuid4()),
        lambda: driver.destroy(uuid4()),
        lambda: driver.delete_volume("default", "disk"),
    )
    for call in calls:
        with pytest.raises(HostUnreachable):
            call()
    assert time.monotonic() - started < 10
    driver.close()


@on_hosts_with("open_serial")
def test_a_host_that_never_answers_is_given_up(host: ContractHost) -> None:
    driver = host.frozen()
    started = time.monotonic()
    with pytest.raises((CallTimeout, HostUnreachable)):
        driver.domains()
    assert time.monotonic() - started < 30
    driver.close()


@on_hosts_with("watch")
def test_close_ends_the_threads(host: ContractHost) -> None:
    before = {thread.ident for thread in threading.enumerate()}
    driver = host.another_driver()
    driver.probe()
    stop = driver.watch(lambda _event: None)
    driver.close()
    stop()

    def left() -> list[str]:
        return [
            thread.name
            for thread in threading.enumerate()
            # libvirt's event loop belongs to the process: it cannot be ended.
            if thread.ident not in before and thread.name != "libvirt-events"
        ]

    wait_until(lambda: not left(), 10, "no thread of the driver is left")
