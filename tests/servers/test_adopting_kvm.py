"""A guest that somebody has made by hand on a real host becomes a server and never stops."""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import libvirt
import pytest

from hosts.models import Image, StoragePool
from hosts.virt.driver import Driver
from hosts.virt.errors import Unsupported
from hosts.virt.registry import driver_for
from tests.audit import assert_clean
from tests.hosts.contract import BOOT_IMAGE, wait_until
from tests.hosts.contract_libvirt import BY_HAND
from tests.kvm import KvmHost, kvm_host
from tests.servers.foreigners import IPV4, adopt, adopted, seen
from tests.servers.real_world import POOL, real
from tests.servers.test_adopting import ended
from tests.world import World, work
from vpspanel.servers import services
from vpspanel.servers.models import Lifecycle, Server
from vpspanel.servers.snapshots import create_image

pytestmark = pytest.mark.qemu

__all__ = ["kvm_host", "real"]

NAME, MAC = "old-shop", "52:54:00:83:00:99"


@pytest.fixture
def by_hand(real: World) -> Iterator[Any]:
    """A running guest of somebody else on the real host, with its disk in the panel's pool."""
    pool = Path(StoragePool.objects.get(name=POOL).path)
    raw, disk = pool / "boot.raw", pool / f"{NAME}.qcow2"
    raw.write_bytes(BOOT_IMAGE)
    convert = ["qemu-img", "convert", "-O", "qcow2", str(raw), str(disk)]
    subprocess.run(convert, check=True)
    raw.unlink()
    connection = libvirt.open(real.host.uri)
    definition = BY_HAND.format(name=NAME, uuid=uuid4(), file=disk, mac=MAC, network="audited")
    # The boot code that answers on the serial port knows only this machine.
    domain = connection.defineXML(definition.replace("machine='pc'", "machine='q35'"))
    domain.create()
    yield domain
    left = [one for one in connection.listAllDomains() if one.name() == NAME]
    for one in left:
        if one.isActive():
            one.destroy()
        one.undefine()
    connection.close()


def echoed(driver: Driver, server: Server) -> bytes:
    """What its serial console says once it answers to an "x"."""

    async def talk() -> bytes:
        stream = await driver.open_serial(server.uuid)
        heard = asyncio.create_task(stream.read())
        async with asyncio.timeout(20):
            while not heard.done():
                await stream.write(b"x")
                await asyncio.wait({heard}, timeout=0.5)
        await stream.close()
        return await heard

    return asyncio.run(talk())


def described(domain: Any) -> list[str]:
    """What runs and what its next start makes.

    libvirt keeps the emptied place of a mark, and numbers the port of a card that was changed anew.
    """
    flags = (0, libvirt.VIR_DOMAIN_XML_INACTIVE)
    return [re.sub(r"  <metadata/>\n| portid='[^']*'", "", domain.XMLDesc(flag)) for flag in flags]


def test_a_whole_life_of_a_guest_that_was_taken_over(
    real: World, kvm_host: KvmHost, by_hand: Any
) -> None:
    driver = driver_for(real.host.uri)
    pid = kvm_host.qemu_pids()[NAME]
    server = adopted(real, guest=seen(real.host, NAME))
    assert kvm_host.qemu_pids()[NAME] == pid, "it was stopped"
    tables = kvm_host.exec("ebtables", "-t", "nat", "-L")
    assert IPV4 in tables, "its addresses are not guarded"
    assert MAC.replace(":0", ":") in tables or MAC in tables
    assert b"x" in echoed(driver, server)
    assert_clean()
    services.power_off(real.alice, server.pk)
    work()
    assert NAME not in kvm_host.qemu_pids()
    snapshot = create_image(real.alice, server.pk)
    assert ended(snapshot.action).state == "success", snapshot.action.error_detail
    assert Image.objects.get(pk=snapshot.image.pk).status == "available"
    services.power_on(real.alice, server.pk)
    work()
    runs = by_hand.XMLDesc(0)
    assert "<rng" in runs, "from its next start on it is what the panel makes"
    assert f"vps-{server.uuid}" in runs
    log = kvm_host.dir / "log" / "vpspanel" / f"vps-{server.uuid}.log"
    wait_until(lambda: b"ready" in log.read_bytes(), 30, "it boots from its old disk")
    assert b"x" in echoed(driver, server)
    assert_clean()
    services.delete(real.alice, server.pk)
    work()
    assert Server.objects.get(pk=server.pk).lifecycle == Lifecycle.DELETED
    assert driver.volumes(POOL) == []
    assert driver.filters() == []
    assert driver.domain(server.uuid) is None
    assert_clean()


def test_a_failure_leaves_it_as_it_was(
    real: World, kvm_host: KvmHost, by_hand: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = driver_for(real.host.uri)
    pid = kvm_host.qemu_pids()[NAME]
    before = described(by_hand)
    made = adopt(real, guest=seen(real.host, NAME))
    look_once_more = driver.domain

    def fail(*_: object) -> None:
        monkeypatch.setattr(driver, "domain", look_once_more)
        raise Unsupported("no")

    monkeypatch.setattr(driver, "domain", fail)
    assert ended(made.action).error_code == Unsupported.code
    assert made.action.done() >= {"take_over"}
    assert described(by_hand) == before
    assert kvm_host.qemu_pids()[NAME] == pid
    assert driver.filters() == []
    assert IPV4 not in kvm_host.exec("ebtables", "-t", "nat", "-L")
    assert_clean()
