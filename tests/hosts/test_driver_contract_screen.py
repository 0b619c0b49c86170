"""The driver contract: screens."""

from __future__ import annotations

import asyncio
import tracemalloc
from uuid import uuid4

import pytest

from hosts.virt.errors import ForeignObject, InvalidState, NotFound
from tests.hosts.contract import KIB, ContractHost, on_hosts_with
from tests.hosts.rfb import EXTENDED_KEYS, Client, ask
from tests.kvm import kvm_host

__all__ = ["kvm_host"]


async def opened(host: ContractHost, uuid: object) -> Client:
    client = Client()
    await host.driver.open_vnc(uuid, client)  # type: ignore[arg-type]
    assert client.transport is not None
    return client


@on_hosts_with("open_vnc")
async def test_a_screen_shows_something(host: ContractHost) -> None:
    client = await opened(host, host.booted())
    async with asyncio.timeout(20):
        name = await client.handshake(EXTENDED_KEYS)
        while client.picture.colours() < 2:
            await client.update()
    assert name
    assert client.picture.width >= 320
    assert EXTENDED_KEYS in client.picture.encodings  # so that pasting works in any layout
    assert client.transport is not None
    client.transport.close()
    async with asyncio.timeout(5):
        await client.until_lost()


@on_hosts_with("open_vnc")
async def test_several_may_look_at_once(host: ContractHost) -> None:
    uuid = host.running()
    clients = [await opened(host, uuid) for _ in range(3)]
    async with asyncio.timeout(20):
        for client in clients:
            await client.handshake()
        for client in clients:
            await client.update()
    for client in clients:
        assert client.transport is not None
        client.transport.abort()


@on_hosts_with("open_vnc")
async def test_a_screen_ends_with_the_guest(host: ContractHost) -> None:
    uuid = host.running()
    client = await opened(host, uuid)
    async with asyncio.timeout(20):
        await client.handshake()
        await asyncio.to_thread(host.driver.destroy, uuid)
        await client.until_lost()


@on_hosts_with("open_vnc")
async def test_a_screen_survives_a_reset(host: ContractHost) -> None:
    uuid = host.running()
    client = await opened(host, uuid)
    async with asyncio.timeout(20):
        await client.handshake()
        await asyncio.to_thread(host.driver.reset, uuid)
        await client.update()
        await client.update()
    assert not client.lost
    assert client.transport is not None
    client.transport.abort()


@on_hosts_with("open_vnc")
async def test_a_screen_needs_a_running_guest_of_ours(host: ContractHost) -> None:
    spec = host.spec()
    host.driver.define(spec)
    client = Client()
    with pytest.raises(InvalidState):
        await host.driver.open_vnc(spec.uuid, client)
    with pytest.raises(NotFound):
        await host.driver.open_vnc(uuid4(), client)
    foreign = host.add_foreign_domain(running=True)
    with pytest.raises(ForeignObject):
        await host.driver.open_vnc(foreign, client)
    assert client.transport is None


@on_hosts_with("open_vnc")
async def test_a_viewer_that_pauses_costs_no_memory(host: ContractHost) -> None:
    client = await opened(host, host.running())
    assert client.transport is not None
    async with asyncio.timeout(20):
        await client.handshake()
        await client.update()
    client.transport.pause_reading()
    tracemalloc.start()
    try:
        for _ in range(100):
            client.write(ask(client.picture.width, client.picture.height))
            await asyncio.sleep(0.01)
        held, _peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # A whole screen may wait on the simulated host, whose QEMU is this process, too.
    assert held < 2048 * KIB
    client.transport.resume_reading()
    async with asyncio.timeout(20):
        await client.take(64)
    client.transport.abort()
