"""Real guests, a real libvirtd, and what the panel says of them while it dies and returns."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

import libvirt
import pytest

from hosts.models import Host, HostStatus
from hosts.monitor import Monitor
from hosts.virt.registry import close_all
from hosts.virt.spec import DiskSpec, DomainSpec
from tests.hosts.contract import MIB
from tests.hosts.real_guests import HALT, Guests, guests
from tests.kvm import KvmHost, kvm_host
from tests.world import World
from vpspanel.events.models import Event
from vpspanel.servers.models import Lifecycle, Server
from vpspanel.servers.observe import Observer

pytestmark = [pytest.mark.qemu, pytest.mark.alone]  # it says how fast things show

__all__ = ["guests", "kvm_host"]

SHOWN_WITHIN = 5.0
NOTICED_WITHIN = 35.0
RECOVERED_WITHIN = 10.0
MANY = 40  # CHECKS 29


def boot_sector(code: str) -> bytes:
    """A disk of 1 MiB that runs this machine code."""
    return bytes.fromhex(code).ljust(510, b"\0") + b"\x55\xaa" + bytes(MIB - 512)


# mov dx,604h; mov ax,2000h; out dx,ax; hlt: q35's ACPI power-off
POWERS_OFF = boot_sector("ba0406b80020eff4ebfd")
# mov al,feh; out 64h,al; hlt: the keyboard controller's reset line
REBOOTS = boot_sector("b0fee664f4ebfd")


@dataclass
class Panel:
    """A host row for the private host, rows for its guests, and a monitor that watches."""

    world: World
    host: Host
    guests: Guests

    def server(self, image: bytes = HALT, *, disk_bytes: int = 0) -> Server:
        """A running guest with its row; its disk is as large as its image, if no larger one."""
        spec: DomainSpec = self.guests.spec(image)
        if disk_bytes:
            spec = self._on_overlay(spec, disk_bytes)
        self.guests.driver.define(spec)
        server = Server.objects.create(
            uuid=spec.uuid,
            project=self.world.project,
            name=spec.name,
            server_type=self.world.plan,
            location=self.world.location,
            host=self.host,
            vcpus=1,
            memory_mib=32,
            disk_gib=1,
            mac=f"52:54:{spec.uuid.hex[:2]}:{spec.uuid.hex[2:4]}:{spec.uuid.hex[4:6]}:01",
            pool=self.guests.prefix,
            lifecycle=Lifecycle.ACTIVE,
        )
        self.guests.driver.start(spec.uuid)
        return server

    def _on_overlay(self, spec: DomainSpec, disk_bytes: int) -> DomainSpec:
        pool, base = self.guests.prefix, spec.disks[0].volume
        disk = DiskSpec(pool, f"{base}.qcow2", "vda", "qcow2")
        self.guests.driver.create_overlay(pool, disk.volume, base=base, capacity_bytes=disk_bytes)
        return replace(spec, disks=(disk,))

    def virsh(self, uuid: UUID) -> libvirt.virDomain:
        """The guest as somebody else sees it."""
        return libvirt.open(self.guests.host.uri).lookupByUUID(uuid.bytes)


@pytest.fixture
def panel(world: World, guests: Guests) -> Iterator[Panel]:
    host = Host.objects.create(name="real", location=world.location, uri=guests.host.uri)
    monitor = Monitor(Observer())
    thread = threading.Thread(target=monitor.run)
    thread.start()
    yield Panel(world, host, guests)
    monitor.stop()
    thread.join(15)
    close_all()
    assert not thread.is_alive()


def until(condition: Callable[[], object], seconds: float) -> float:
    """How long it took to come true; fails if it did not."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        if condition():
            return time.monotonic() - began
        time.sleep(0.05)
    assert condition(), f"not within {seconds} s"
    return seconds


def power(server: Server) -> tuple[str, str]:
    server.refresh_from_db()
    return server.power_seen, server.power_wanted


def server_seen(server: Server, since: datetime | None) -> bool:
    """Whether its host has been heard of it after that."""
    server.refresh_from_db()
    return server.seen_at is not None and since is not None and server.seen_at > since


def status(host: Host) -> str:
    host.refresh_from_db()
    return host.status


def test_libvirtd_dies_and_returns(panel: Panel) -> None:
    servers = [panel.server() for _ in range(MANY)]
    until(lambda: {power(server) for server in servers} == {("running", "on")}, 30)
    qemus = panel.guests.host.qemu_pids()
    before = Event.objects.latest("id").pk
    panel.guests.host.kill_libvirtd()
    until(lambda: status(panel.host) == HostStatus.UNREACHABLE, NOTICED_WITHIN)
    assert {power(server) for server in servers} == {("running", "on")}
    seen_at = servers[0].seen_at
    time.sleep(3)
    servers[0].refresh_from_db()
    assert servers[0].seen_at == seen_at, "nobody looked, and yet it was seen"
    panel.guests.host.restart_libvirtd()
    took = until(lambda: status(panel.host) == HostStatus.REACHABLE, RECOVERED_WITHIN)
    took += until(lambda: all(server_seen(server, seen_at) for server in servers), RECOVERED_WITHIN)
    print(f"\n{MANY} guests seen again {took:.1f} s after libvirtd's return")
    assert took <= RECOVERED_WITHIN
    assert {power(server) for server in servers} == {("running", "on")}
    assert panel.guests.host.qemu_pids() == qemus
    # The events' own connection may return a little after the one that lists. What happens in
    # between is found by the list that follows: off as well, only nobody says by whom.
    panel.virsh(servers[0].uuid).destroy()
    until(lambda: power(servers[0])[0] == "off", RECOVERED_WITHIN)
    told = Event.objects.filter(resource_type="server", public=True, id__gt=before)
    kinds = [event.kind for event in told]
    assert kinds in (["server.powered_off"], ["server.found_off"])
    wanted = "off" if kinds == ["server.powered_off"] else "on"
    assert power(servers[0]) == ("off", wanted)


def test_what_happens_while_libvirtd_is_gone_shows_after_its_return(panel: Panel) -> None:
    server, other = panel.server(), panel.server()
    until(lambda: {power(server), power(other)} == {("running", "on")}, 15)
    panel.guests.host.kill_libvirtd()
    qemu = panel.guests.host.qemu_pids()[server.name]
    panel.guests.host.exec("kill", "-9", str(qemu))
    until(lambda: status(panel.host) == HostStatus.UNREACHABLE, NOTICED_WITHIN)
    panel.guests.host.restart_libvirtd()
    until(lambda: power(server) in (("off", "on"), ("crashed", "on")), RECOVERED_WITHIN)
    assert power(other) == ("running", "on")


def test_a_frozen_libvirtd_is_noticed(panel: Panel) -> None:
    server = panel.server()
    until(lambda: power(server) == ("running", "on"), 15)
    panel.guests.host.signal_libvirtd(signal.SIGSTOP)
    try:
        until(lambda: status(panel.host) == HostStatus.UNREACHABLE, NOTICED_WITHIN)
        assert power(server) == ("running", "on")
    finally:
        panel.guests.host.signal_libvirtd(signal.SIGCONT)
    until(lambda: status(panel.host) == HostStatus.REACHABLE, RECOVERED_WITHIN)


def test_a_guest_that_powers_itself_off(panel: Panel) -> None:
    server = panel.server(POWERS_OFF)
    until(lambda: not panel.virsh(server.uuid).isActive(), 30)
    until(lambda: power(server) == ("off", "off"), SHOWN_WITHIN)
    event = Event.objects.get(kind="server.powered_off")
    assert "from inside" in event.message


def test_a_guest_that_reboots_is_not_shown_as_off(panel: Panel) -> None:
    server = panel.server(REBOOTS)
    until(lambda: Event.objects.filter(kind="server.rebooted").exists(), 30)
    shown = set()
    end = time.monotonic() + 6
    while time.monotonic() < end:
        shown.add(power(server))
        time.sleep(0.1)
    assert shown == {("running", "on")}
    assert server.booted_at is not None


def test_a_guest_whose_qemu_is_killed(panel: Panel) -> None:
    server = panel.server()
    until(lambda: power(server) == ("running", "on"), 15)
    qemu = panel.guests.host.qemu_pids()[server.name]
    panel.guests.host.exec("kill", "-9", str(qemu))
    until(lambda: power(server) == ("crashed", "on"), SHOWN_WITHIN)


def test_what_somebody_does_with_virsh(panel: Panel, kvm_host: KvmHost) -> None:
    server = panel.server()
    until(lambda: power(server) == ("running", "on"), 15)
    domain = panel.virsh(server.uuid)
    domain.suspend()
    until(lambda: power(server) == ("paused", "on"), SHOWN_WITHIN)
    domain.resume()
    until(lambda: power(server) == ("running", "on"), SHOWN_WITHIN)
    domain.destroy()
    until(lambda: power(server) == ("off", "off"), SHOWN_WITHIN)
    domain.rename(f"{server.name}-renamed")  # it is known by its UUID
    domain = panel.virsh(server.uuid)
    domain.create()
    until(lambda: power(server) == ("running", "on"), SHOWN_WITHIN)
    domain.destroy()
    domain.undefine()
    until(lambda: power(server)[0] == "missing", 20)
