"""What libvirt's own test driver cannot do, or does in its own way: the tables, line by line."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

import pytest

from hosts.virt.errors import Unsupported
from hosts.virt.spec import DomainStats, EventKind, FilterSpec, NicSpec, Power
from tests.hosts.contract import DIFFERENCES, GAPS, ContractHost, wait_until

FILTER = FilterSpec(
    name="vps-contract",
    uuid=UUID("6a0ed0f0-4a6c-4f0c-8d6b-0f6f8a8b3c11"),
    mac="52:54:00:83:00:07",
    ipv4=("10.83.0.7",),
    ipv6=(),
)


def _grown(host: ContractHost) -> None:
    """A disk is to grow."""
    host.add_foreign_volume("base", 512)
    host.driver.create_overlay(host.pool, "v", base="base", capacity_bytes=512)
    host.driver.grow_volume(host.pool, "v", capacity_bytes=1024)


def _downloaded(host: ContractHost) -> None:
    """A volume is to be read."""
    host.add_foreign_volume("v", 512)
    host.driver.download_volume(host.pool, "v", io.BytesIO())


async def _call_gap(host: ContractHost, call: str) -> None:
    driver = host.driver
    if call == "open_serial":
        await driver.open_serial(host.running())
        return
    if call == "open_vnc":
        await driver.open_vnc(host.running(), asyncio.Protocol())
        return
    uuid = host.running()
    calls: dict[str, Callable[[], object]] = {
        "upload_volume": lambda: driver.upload_volume(
            host.pool, "v", io.BytesIO(bytes(512)), length=512, format="raw", capacity_bytes=512
        ),
        "write_volume": lambda: driver.write_volume(host.pool, "v", b"x", capacity_bytes=512),
        "grow_volume": lambda: _grown(host),
        "download_volume": lambda: _downloaded(host),
        "ensure_filter": lambda: driver.ensure_filter(FILTER),
        "delete_filter": lambda: driver.delete_filter("vps-none"),
        "filters": driver.filters,
        "serial_log": lambda: driver.serial_log(uuid, 10),
        "set_password": lambda: driver.set_password(uuid, "root", "secret"),
    }
    calls[call]()


@pytest.mark.libvirt
@pytest.mark.parametrize("call", GAPS)
@pytest.mark.parametrize("host", ["libvirt-test"], indirect=True)
async def test_what_the_test_driver_lacks_is_said_to_be_unsupported(
    host: ContractHost, call: str
) -> None:
    with pytest.raises(Unsupported):
        await _call_gap(host, call)


@pytest.mark.libvirt
@pytest.mark.parametrize("host", ["libvirt-test"], indirect=True)
def test_what_the_test_driver_does_differently(host: ContractHost) -> None:
    """Each line of `DIFFERENCES`; when one of them fails, the common test can take over."""
    spec = host.spec()
    nic = NicSpec(mac=FILTER.mac, network=host.network, filter_name="vps-not-there")
    host.driver.define(replace(spec, nics=(nic,)))
    host.driver.define(spec)
    host.driver.start(spec.uuid)
    (stats,) = [one for one in host.driver.stats() if one.uuid == spec.uuid]
    assert stats == DomainStats(uuid=spec.uuid, power=Power.RUNNING)
    events: list[EventKind] = []
    stop = host.driver.watch(lambda event: events.append(event.kind))
    wait_until(lambda: events, 5, "connected")
    host.driver.reset(spec.uuid)
    host.driver.destroy(spec.uuid)
    wait_until(lambda: EventKind.STOPPED in events, 5, "stopped")
    stop()
    assert EventKind.REBOOTED not in events
    load = host.driver.load()
    assert (load.memory_total_mib, load.memory_used_mib) == (None, None)
    assert set(DIFFERENCES) == {"stats", "load", "reset", "define"}
