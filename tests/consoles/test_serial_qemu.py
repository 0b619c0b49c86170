"""The serial console of a real guest under QEMU, through libvirt's stream."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from uuid import UUID

import libvirt
import pytest

from hosts.models import Host
from tests.consoles.conftest import World
from tests.consoles.panel import Browser, Panel, Terminal
from tests.hosts.contract_libvirt import QemuHost
from tests.kvm import KvmHost, kvm_host
from vpspanel.servers.models import Server

__all__ = ["kvm_host"]  # a fixture
pytestmark = [pytest.mark.kvm]
MIB = 1024 * 1024


@pytest.fixture
def qemu(kvm_host: KvmHost) -> Iterator[QemuHost]:
    """A private host with a pool; its guests say "ready" and echo what is typed."""
    host = QemuHost(kvm_host)
    yield host
    host.dispose()


@pytest.fixture
def server(world: World, qemu: QemuHost) -> Server:
    """A server of Alice's on the private host, booted."""
    host = Host.objects.create(name="qemu1", location=world.host.location, uri=qemu.uri)
    return on_host(world, world.server, host, qemu.booted())


def on_host(world: World, server: Server, host: Host, uuid: UUID) -> Server:
    """The server is that guest from now on."""
    Server.objects.filter(pk=server.pk).update(uuid=uuid, host=host)
    server.refresh_from_db()
    return server


def echoes(terminal: Terminal, text: str) -> None:
    """The guest answers with what was typed."""
    terminal.type(text)
    terminal.until_output(text.encode())


def answers_soon(terminal: Terminal, text: str) -> None:
    """As soon as it has booted; what it wrote before the console was open again is gone."""
    for _ in range(20):
        terminal.type(text)
        try:
            terminal.until_output(text.encode(), timeout=0.5)
        except TimeoutError:
            continue
        return
    raise AssertionError("the guest does not answer")


def test_typing_reaches_a_real_guest(panel: Panel, world: World, server: Server) -> None:
    terminal = Browser(panel, world.alice).console(server.pk)
    terminal.until_state("connected")
    times = []
    for key in "abcdefghij" * 10:
        started = time.perf_counter()
        echoes(terminal, key)
        times.append((time.perf_counter() - started) * 1000)
    print(
        f"echo through QEMU: p50 {statistics.median(times):.1f} ms, p95 {sorted(times)[-5]:.1f} ms"
    )
    assert statistics.median(times) < 100
    terminal.close()


def test_it_survives_reset_and_restart(
    panel: Panel, world: World, server: Server, qemu: QemuHost
) -> None:
    terminal = Browser(panel, world.alice).console(server.pk)
    terminal.until_state("connected")
    echoes(terminal, "one")
    qemu.driver.reset(server.uuid)
    terminal.until_output(b"ready", timeout=10)
    echoes(terminal, "two")
    qemu.driver.destroy(server.uuid)
    terminal.until_state("stopped")
    qemu.driver.start(server.uuid)
    terminal.until_state("connected")
    answers_soon(terminal, "three")
    terminal.close()


def test_it_survives_the_death_of_libvirtd(
    panel: Panel, world: World, server: Server, qemu: QemuHost, kvm_host: KvmHost
) -> None:
    """The page says so meanwhile, and the console is back within ten seconds of the daemon."""
    terminal = Browser(panel, world.alice).console(server.pk)
    terminal.until_state("connected")
    echoes(terminal, "before")
    kvm_host.kill_libvirtd()
    try:
        terminal.until_state("unreachable", timeout=15)
    finally:
        kvm_host.restart_libvirtd()
        qemu.outside = libvirt.open(qemu.uri)  # the old one died with the daemon
    started = time.monotonic()
    terminal.until_state("connected", timeout=20)
    back = time.monotonic() - started
    print(f"back {back:.1f} s after libvirtd")
    assert back < 10
    echoes(terminal, "after")
    terminal.close()


def test_a_second_viewer_takes_over_a_real_console(
    panel: Panel, world: World, server: Server
) -> None:
    first = Browser(panel, world.alice).console(server.pk)
    first.until_state("connected")
    echoes(first, "first")
    second = Browser(panel, world.olga).console(server.pk)
    second.until_state("busy")
    second.send_json({"type": "take"})
    second.until_state("connected")
    first.until_state("taken")
    echoes(second, "second")
    spent = panel.cpu_seconds()
    time.sleep(1)
    assert panel.cpu_seconds() - spent < 0.5  # nobody asks again and again for what was taken
    second.close()
    first.send_json({"type": "take"})
    first.until_state("connected")
    echoes(first, "again")
    first.close()


def test_a_flood_behind_a_stalled_browser_costs_no_memory(
    panel: Panel, world: World, server: Server, qemu: QemuHost
) -> None:
    other = Browser(panel, world.olga)
    second = world.add_server(world.project, "second")
    neighbour = on_host(world, second, server.host or world.host, qemu.running("neighbour"))
    watcher = other.console(neighbour.pk)
    watcher.until_state("connected")
    echoes(watcher, "x")
    before = panel.rss()
    stalled = Browser(panel, world.alice).console(server.pk, max_queue=1)
    stalled.until_state("connected")
    stalled.type("F")  # the guest writes without end
    times = []
    for _ in range(40):
        started = time.perf_counter()
        echoes(watcher, "k")
        times.append((time.perf_counter() - started) * 1000)
        time.sleep(0.1)
    growth = panel.rss() - before
    print(f"flood: grew {growth / MIB:.1f} MiB; neighbour's echo p95 {sorted(times)[-2]:.0f} ms")
    assert growth < 8 * MIB
    assert sorted(times)[-2] < 500  # two guests without hardware virtualisation share the machine
    stalled.socket.socket.close()
    watcher.close()
