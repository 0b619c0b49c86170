"""libvirtd is killed in the middle of orders: each is built or undone, and nothing is left between.

`VPSPANEL_KILLS=60` tries that often.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from dataclasses import dataclass

import psutil
import pytest

from hosts.models import Host, HostStatus
from hosts.monitor import Pace
from hosts.virt.libvirt import LibvirtDriver
from hosts.virt.registry import driver_for
from hosts.virt.spec import Power
from tests.audit import assert_clean
from tests.hosts.contract import wait_until
from tests.kvm import KvmHost
from tests.lab import Lab
from tests.servers.lab_world import lab_world, libvirtd_of, orders_go_to, processes, watched
from tests.servers.test_lab_moves import explained, of_lab
from tests.world import World, work
from vpspanel.actions import services as actions
from vpspanel.actions.command import registry
from vpspanel.actions.models import Action
from vpspanel.actions.worker import Worker
from vpspanel.events.actor import SYSTEM
from vpspanel.servers import services
from vpspanel.servers.models import Lifecycle, Server

__all__ = ["lab_world"]

pytestmark = [pytest.mark.lab, pytest.mark.slow]

TRIES = int(os.environ.get("VPSPANEL_KILLS", "12"))
FIRST, LAST = 0.010, 0.340  # CHECKS 34: seconds after which libvirtd dies
FROM = ("before:create_disk", "before:start_domain")  # counted from here, in turn
DEAD_FOR = 0.5  # until it is started again, as a service manager would do
ENDED_WITHIN = 120.0  # table A5: an action ends by itself
RECOVERED_WITHIN = 10.0
OFTEN = Pace(phantom=1.0)


@dataclass(slots=True)
class Death:
    """What becomes of a host's libvirtd while an order is at work."""

    machine: KvmHost
    point: str
    delay: float = 0.0
    frozen: bool = False  # its QEMU, as soon as there is one, before libvirtd is killed
    thread: threading.Thread | None = None

    def come(self, action: Action, where: str) -> None:
        """The observer of a worker: it begins to count at the point, once."""
        if action.command == "create" and where == self.point and self.thread is None:
            self.thread = threading.Thread(target=self._happen)
            self.thread.start()

    def _happen(self) -> None:
        daemon = libvirtd_of(self.machine)
        if self.frozen:
            wait_until(lambda: guests_of(self.machine), 30, "there is a QEMU")
            for guest in guests_of(self.machine).values():
                guest.suspend()
        time.sleep(self.delay)
        daemon.kill()
        daemon.wait(10)
        time.sleep(DEAD_FOR)
        self.machine.restart_libvirtd()


def test_libvirtd_is_killed_while_servers_are_built(lab: Lab, lab_world: World) -> None:
    """CHECKS 34"""
    host = lab_world.host
    orders_go_to(host)
    machine, outcomes, times = of_lab(lab, host).kvm, Counter[str](), []
    delete(lab_world, lab_world.running("first"))  # what comes once for all: image, connections
    with watched(OFTEN):
        for number in range(TRIES):
            delay = FIRST + (LAST - FIRST) * (number // 2) / max((TRIES - 1) // 2, 1)
            death = Death(machine, FROM[number % 2], delay)
            began = time.monotonic()
            outcome = ordered_and_killed(lab_world, death, f"kill{number}")
            times.append(time.monotonic() - began)
            outcomes[f"{outcome}, {death.point}"] += 1
            print(f"{death.point} + {delay * 1000:.0f} ms: {outcome} after {times[-1]:.1f} s")
    print(f"{dict(outcomes)}, the longest took {max(times):.1f} s")
    assert_clean()


def test_a_guest_that_never_gets_there_is_flagged(lab: Lab, lab_world: World) -> None:
    """CHECKS 34: its QEMU says nothing and libvirtd is killed; what comes back starts for ever."""
    host = lab_world.host
    orders_go_to(host)
    driver = driver_for(host.uri)
    assert isinstance(driver, LibvirtDriver)
    driver._phantoms.patience = 3.0
    death = Death(of_lab(lab, host).kvm, "before:start_domain", frozen=True)
    with watched(OFTEN):
        assert ordered_and_killed(lab_world, death, "phantom") == "success after a phantom"
    assert_clean()


def ordered_and_killed(world: World, death: Death, name: str) -> str:
    """How the order ended; what the host has of it is what the records say."""
    ordered = world.order(name)
    action, server = ordered.action, ordered.server
    cured = False

    def over() -> bool:
        nonlocal cured
        Worker(registry, observer=death.come).run_until_idle()
        action.refresh_from_db()
        if action.state == "parked" and action.error_code == "host_degraded":
            cure_phantom(world.host, death.machine, action)
            cured = True
        return action.state not in ("queued", "running", "parked")

    with explained(action):
        wait_until(over, ENDED_WITHIN, "it ends")
    assert death.thread is not None, "libvirtd was killed"
    death.thread.join(30)
    wait_until(lambda: status(world.host) == HostStatus.REACHABLE, RECOVERED_WITHIN, "it is back")
    server.refresh_from_db()
    driver = driver_for(world.host.uri)
    seen = driver.domain(server.uuid)
    if action.state == "success":
        assert (server.lifecycle, seen and seen.power) == (Lifecycle.ACTIVE, Power.RUNNING)
    else:
        assert (server.lifecycle, seen) == (Lifecycle.DELETED, None)
        left = {volume.name for volume in driver.volumes("vpspanel")}
        assert not left & set(server.volumes)
        assert server.filter_name not in driver.filters()
    nothing_else_runs(world.host, death.machine)
    if server.lifecycle != Lifecycle.DELETED:
        delete(world, server)
    return f"{action.state}{' after a phantom' if cured else ''}"


def delete(world: World, server: Server) -> None:
    services.delete(world.alice, server.pk)
    work()
    server.refresh_from_db()
    assert server.lifecycle == Lifecycle.DELETED


def status(host: Host) -> str:
    host.refresh_from_db()
    return host.status


def cure_phantom(host: Host, machine: KvmHost, action: Action) -> None:
    """Staff are told of it, end what hangs, and let the action go on."""
    wait_until(lambda: status(host) == HostStatus.DEGRADED, 30, "the phantom is flagged")
    assert "paused while starting up" in host.status_reason
    for guest in guests_of(machine).values():
        guest.kill()
    machine.kill_libvirtd()
    machine.restart_libvirtd()
    wait_until(lambda: status(host) == HostStatus.REACHABLE, 30, "it is cured")
    actions.retry_parked(action, actor=SYSTEM)


def nothing_else_runs(host: Host, machine: KvmHost) -> None:
    """Each QEMU belongs to a guest that runs, and each guest that runs has one."""
    running = sorted(
        seen.name for seen in driver_for(host.uri).domains() if seen.power is not Power.OFF
    )
    assert sorted(guests_of(machine)) == running


def guests_of(machine: KvmHost) -> dict[str, psutil.Process]:
    """The QEMUs of guests: what libvirtd starts to look what QEMU can do has no name."""
    found = {}
    for process in processes(machine, "qemu-system"):
        line = process.cmdline()
        if "-name" in line:
            name = line[line.index("-name") + 1].removeprefix("guest=").split(",")[0]
            found[name] = process
    return found
