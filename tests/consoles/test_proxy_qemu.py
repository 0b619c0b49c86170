"""`consoleproxy` before a real guest: what libvirt hands over goes on to a third process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hosts.models import Host
from tests.consoles.conftest import World
from tests.consoles.panel import Browser, Panel, running
from tests.consoles.test_proxy import ProxiedScreen
from tests.consoles.test_serial_qemu import on_host
from tests.hosts.contract_libvirt import QemuHost
from tests.hosts.rfb import EXTENDED_KEYS
from tests.kvm import KvmHost, kvm_host

__all__ = ["kvm_host"]
pytestmark = [pytest.mark.kvm]


@pytest.fixture
def qemu(kvm_host: KvmHost) -> Iterator[QemuHost]:
    """A private host."""
    host = QemuHost(kvm_host)
    yield host
    host.dispose()


def test_a_real_screen_comes_through_and_ends_with_the_guest(
    panel: Panel, world: World, qemu: QemuHost, tmp_path: Path
) -> None:
    host = Host.objects.create(name="qemu1", location=world.host.location, uri=qemu.uri)
    uuid = qemu.booted()
    server = on_host(world, world.server, host, uuid)
    with running(tmp_path, "consoleproxy") as proxy:
        screen = ProxiedScreen(Browser(panel, world.alice), proxy, server.pk)
        assert screen.shake(EXTENDED_KEYS)
        screen.update()
        assert screen.picture.width >= 320
        assert EXTENDED_KEYS in screen.picture.encodings
        qemu.driver.destroy(uuid)
        assert screen.until_closed(timeout=20)[0] == 4500
