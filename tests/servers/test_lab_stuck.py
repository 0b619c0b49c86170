"""Six guests of one host freeze, and everybody who calls them waits: the others do not notice."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

import libvirt
import pytest

from hosts.virt.errors import VirtError
from hosts.virt.registry import driver_for
from tests.audit import assert_clean
from tests.hosts.contract import wait_until
from tests.kvm import KvmHost
from tests.lab import Lab
from tests.servers.lab_world import lab_world, orders_go_to, worker_with_threads
from tests.servers.test_lab_moves import host_of, of_lab
from tests.world import World, work
from vpspanel.actions.models import OPEN_STATES, Action
from vpspanel.servers import services
from vpspanel.servers.models import Lifecycle, Server

__all__ = ["lab_world"]

pytestmark = [pytest.mark.lab, pytest.mark.slow]

STUCK = 6
ANSWERS_WITHIN = 1.0  # CHECKS 33
ROUNDS = 5
FREE = libvirt.VIR_DOMAIN_CONTROL_OK


def took(call: Callable[[], object]) -> float:
    """Seconds."""
    began = time.monotonic()
    call()
    return time.monotonic() - began


@contextmanager
def frozen(host: KvmHost, servers: list[Server]) -> Iterator[None]:
    """Their QEMUs answer nobody, until the end of the block."""
    known = host.qemu_pids()
    pids = [str(known[server.domain_name]) for server in servers]
    host.exec("kill", "-STOP", *pids)
    try:
        yield
    finally:
        host.exec("kill", "-CONT", *pids)


def press_reset(servers: list[Server], machine: KvmHost) -> list[threading.Thread]:
    """Of each, which its QEMU has to do; when all wait for their QEMUs."""

    def press(server: Server) -> None:
        with suppress(VirtError):
            driver_for(host_of(server).uri).reset(server.uuid)

    threads = [threading.Thread(target=press, args=(server,)) for server in servers]
    for thread in threads:
        thread.start()
    connection = libvirt.open(machine.uri)
    domains = [connection.lookupByUUID(server.uuid.bytes) for server in servers]
    wait_until(lambda: FREE not in [one.controlInfo()[0] for one in domains], 20, "all are asked")
    connection.close()
    return threads


def test_six_stuck_calls_hold_up_nobody(lab: Lab, lab_world: World) -> None:
    first, second, _ = lab_world.hosts
    orders_go_to(first)
    ill = [lab_world.running(f"ill{number}") for number in range(STUCK)]
    well = lab_world.running("well")
    orders_go_to(second)
    elsewhere = lab_world.running("elsewhere")
    machine = of_lab(lab, first).kvm
    with frozen(machine, ill):
        stuck = press_reset(ill, machine)
        calls_to_others_are_quick(well, elsewhere)
        assert all(thread.is_alive() for thread in stuck), "they were stuck all the while"
    for thread in stuck:
        thread.join(60)
    with worker_with_threads():
        with frozen(machine, ill):
            actions_elsewhere_are_quick(lab_world, ill, elsewhere)
        wait_until(lambda: not open_actions(), 120, "what was stuck has ended")
    for server in (*ill, well, elsewhere):
        services.delete(lab_world.alice, server.pk)
    work()
    assert set(Server.objects.values_list("lifecycle", flat=True)) == {Lifecycle.DELETED}
    assert_clean()


def calls_to_others_are_quick(well: Server, elsewhere: Server) -> None:
    """CHECKS 33: the seventh call to the host, of each kind, and calls to another host."""
    here, there = (driver_for(host_of(server).uri) for server in (well, elsewhere))
    calls: dict[str, Callable[[], object]] = {
        "reset": partial(here.reset, well.uuid),
        "look": partial(here.domain, well.uuid),
        "list": here.domains,
        "figures": here.stats,
        "reset elsewhere": partial(there.reset, elsewhere.uuid),
    }
    times = {what: max(took(call) for _ in range(ROUNDS)) for what, call in calls.items()}
    print(f"\nbeside {STUCK} stuck calls: {times}")
    assert max(times.values()) < ANSWERS_WITHIN, times


def actions_elsewhere_are_quick(world: World, ill: list[Server], elsewhere: Server) -> None:
    """As many actions hang as one host may have at once; a worker has threads left for others."""
    for server in ill:
        services.reset(world.alice, server.pk)
    limit = host_of(ill[0]).action_limit
    wait_until(lambda: open_actions("running") == limit, 30, "they hang")
    times = []
    for _ in range(ROUNDS):
        action = services.reset(world.alice, elsewhere.pk)
        times.append(took(partial(wait_until, partial(succeeded, action), 30, "it is reset")))
    assert open_actions() == len(ill), "they hung all the while"
    print(f"an action on another host meanwhile: {times}")
    assert max(times) < ANSWERS_WITHIN


def open_actions(*states: str) -> int:
    """How many there are, in any state or in these."""
    return Action.objects.filter(state__in=states or OPEN_STATES).count()


def succeeded(action: Action) -> bool:
    action.refresh_from_db()
    return action.state == "success"
