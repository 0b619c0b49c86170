"""The serial console on real guests: memory, hand-over, and ends of all kinds."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hosts.virt.console import HELD_LIMIT, LibvirtSerial, in_thread
from hosts.virt.errors import CallTimeout, ForeignObject, HostUnreachable, InvalidState, VirtError
from hosts.virt.spec import DomainSpec
from tests.hosts.real_guests import FLOOD, Guests, guests
from tests.kvm import kvm_host

pytestmark = pytest.mark.qemu

__all__ = ["guests", "kvm_host"]


async def open_on(guests: Guests, spec: DomainSpec, *, force: bool = False) -> LibvirtSerial:
    stream = await guests.driver.open_serial(spec.uuid, force=force)
    assert isinstance(stream, LibvirtSerial)
    return stream


async def read_until(stream: LibvirtSerial, wanted: bytes, seconds: float = 10) -> bytes:
    seen = b""
    async with asyncio.timeout(seconds):
        while wanted not in seen:
            data = await stream.read()
            assert data, "the stream ended"
            seen += data
    return seen


def resident_kib() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def wait_for(condition: Callable[[], bool], seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 (what is waited for happens in other threads)
            await asyncio.sleep(0.02)


async def test_what_is_typed_comes_back_in_order(guests: Guests) -> None:
    stream = await open_on(guests, guests.booted())
    text = bytes(range(0x61, 0x7A)) * 20
    for start in range(0, len(text), 10):
        await stream.write(text[start : start + 10])
        await read_until(stream, text[start + 9 : start + 10])
    await stream.close()


async def test_a_viewer_that_stalls_costs_no_memory_and_does_not_stop_the_guest(
    guests: Guests,
) -> None:
    spec = guests.running(FLOOD)
    stream = await open_on(guests, spec)
    await wait_for(lambda: stream.dropped > 0, 30)
    before, dropped = resident_kib(), stream.dropped
    await wait_for(lambda: stream.dropped > dropped + 3 * HELD_LIMIT, 60)
    assert resident_kib() - before < 2048
    assert len(stream._held) == HELD_LIMIT
    assert set(await stream.read()) == set(b"A")
    await stream.close()


async def test_a_flood_leaves_another_console_quick(guests: Guests) -> None:
    flood = await open_on(guests, guests.running(FLOOD))
    quiet = await open_on(guests, guests.booted())
    longest = 0.0
    for letter in b"abcdefghij":
        started = time.monotonic()
        await quiet.write(bytes([letter]))
        await read_until(quiet, bytes([letter]))
        longest = max(longest, time.monotonic() - started)
    assert longest < 1.0
    await flood.close()
    await quiet.close()


async def test_the_one_cut_off_sees_the_end_and_keeps_no_thread_busy(guests: Guests) -> None:
    spec = guests.booted()
    first = await open_on(guests, spec)
    second = await open_on(guests, spec, force=True)
    async with asyncio.timeout(5):
        while await first.read():
            pass
    used = time.process_time()
    await asyncio.sleep(0.5)
    assert time.process_time() - used < 0.25
    with pytest.raises(HostUnreachable):
        await first.write(b"x")
    await first.close()
    await second.write(b"k")
    await read_until(second, b"k")
    await second.close()
    third = await open_on(guests, spec)
    await third.close()


async def test_closing_wakes_a_reader(guests: Guests) -> None:
    stream = await open_on(guests, guests.running())
    reader = asyncio.create_task(stream.read())
    await asyncio.sleep(0.05)
    await stream.close()
    async with asyncio.timeout(1):
        assert await reader == b""


async def test_consoles_leave_nothing_behind(guests: Guests) -> None:
    spec = guests.booted()
    for _ in range(3):
        await (await open_on(guests, spec)).close()
    files = open_files()
    threads = threading.active_count()
    for _ in range(20):
        stream = await open_on(guests, spec)
        await stream.write(b"x")
        await stream.close()
    await wait_for(lambda: threading.active_count() <= threads, 5)
    assert open_files() - files <= 2


async def test_the_end_of_libvirtd_is_the_end_of_the_stream(guests: Guests) -> None:
    spec = guests.booted()
    stream = await open_on(guests, spec)
    await asyncio.to_thread(guests.host.kill_libvirtd)
    try:
        async with asyncio.timeout(5):
            while await stream.read():
                pass
        await stream.close()
        with pytest.raises(VirtError):
            await open_on(guests, spec)
    finally:
        await asyncio.to_thread(guests.host.restart_libvirtd)
    async with asyncio.timeout(10):
        again = await reopened(guests, spec)
    await again.write(b"q")
    await read_until(again, b"q")
    await again.close()


async def reopened(guests: Guests, spec: DomainSpec) -> LibvirtSerial:
    while True:
        try:
            return await open_on(guests, spec)
        except HostUnreachable:
            await asyncio.sleep(0.1)


async def test_only_running_guests_of_ours_have_a_console(guests: Guests) -> None:
    spec = guests.spec()
    guests.driver.define(spec)
    with pytest.raises(InvalidState):
        await open_on(guests, spec)
    foreign = guests.prefix + "-foreign"
    document = (
        f"<domain type='qemu'><name>{foreign}</name><memory unit='MiB'>32</memory>"
        "<os><type>hvm</type></os><devices><serial type='pty'/></devices></domain>"
    )
    file = guests.pool_path / "foreign.xml"
    file.write_text(document)
    guests.host.exec("virsh", "create", str(file))
    (seen,) = [domain for domain in guests.driver.domains() if domain.name == foreign]
    with pytest.raises(ForeignObject):
        await guests.driver.open_serial(seen.uuid)
    guests.host.exec("virsh", "destroy", foreign)
    file.unlink()


async def test_work_that_hangs_is_left_behind_and_what_it_opens_is_closed() -> None:
    release, closed = threading.Event(), threading.Event()

    class Opened:
        def close(self) -> None:
            closed.set()

    def work() -> Opened:
        release.wait()
        return Opened()

    with pytest.raises(CallTimeout):
        await in_thread(work, "test", 0.05)
    release.set()
    assert await asyncio.to_thread(closed.wait, 5)
