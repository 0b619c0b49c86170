"""Any sequence of orders, verbs, faults and deaths keeps the books right: drawn by Hypothesis.

By hand, more and longer: VPSPANEL_MACHINE_EXAMPLES=200 VPSPANEL_MACHINE_STEPS=50.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Any

import pytest
from django.db import transaction
from django.db.models import Count
from django.utils import timezone
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from hosts.models import Host, IPAddress, StoragePool
from hosts.virt.errors import DiskFull, HostUnreachable, NotFound
from hosts.virt.registry import close_all
from tests.chaos.mortal import LONG_LEASE, finish_everything, let_leases_run_out
from tests.world import World, make_host, make_plan, make_world
from vpspanel.actions.command import registry
from vpspanel.actions.models import OPEN_STATES, Action
from vpspanel.actions.worker import Worker
from vpspanel.errors import Refused
from vpspanel.events.actor import SYSTEM
from vpspanel.servers import services
from vpspanel.servers.audit import audit
from vpspanel.servers.audit_records import check_records
from vpspanel.servers.models import Lifecycle, Server, ServerType
from vpspanel.servers.moving import cancel_move, move_server
from vpspanel.servers.rescue import enable_rescue
from vpspanel.servers.resizing import change_type
from vpspanel.servers.snapshots import create_image

EXAMPLES = int(os.environ.get("VPSPANEL_MACHINE_EXAMPLES", "6"))
STEPS = int(os.environ.get("VPSPANEL_MACHINE_STEPS", "15"))
# By hand a failure is shortened, which takes minutes; in a run of all tests it is only shown.
BY_HAND = "VPSPANEL_MACHINE_EXAMPLES" in os.environ
PHASES = [Phase.generate, Phase.shrink] if BY_HAND else [Phase.generate]
FAULTS = (DiskFull("no room"), HostUnreachable("no answer"))
VERBS: dict[str, Callable[[World, Server], Any]] = {
    "start": lambda world, server: services.power_on(world.alice, server.pk),
    "stop": lambda world, server: services.power_off(world.alice, server.pk),
    "reset": lambda world, server: services.reset(world.alice, server.pk),
    "rebuild": lambda world, server: services.rebuild(
        world.alice, server.pk, image=world.images[1]
    ),
    "rescue": lambda world, server: enable_rescue(world.alice, server.pk),
    "enlarge": lambda world, server: change_type(
        world.alice, server.pk, server_type=ServerType.objects.get(name="large"), keep_disk=True
    ),
    "move": lambda world, server: move_server(SYSTEM, server),
    "call off": lambda world, server: cancel_move(SYSTEM, server),
    "snapshot": lambda world, server: create_image(world.alice, server.pk),
    "delete": lambda world, server: services.delete(world.alice, server.pk),
}


class Died(BaseException):
    """The worker is gone in the middle of what it did: nothing of it is written down."""


class Panel(RuleBasedStateMachine):
    """The panel with two hosts, on which everything may go wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.undo = transaction.atomic()
        self.undo.__enter__()
        self.world = make_world()
        self.world.hosts.append(make_host(self.world.location))
        make_plan(self.world, "large", vcpus=2, memory_mib=256, disk_gib=2)
        self.ordered = 0

    def teardown(self) -> None:
        """Whatever happened: with healthy workers and hosts all ends, and can be deleted whole."""
        try:
            drivers = [self.world.driver(host) for host in self.world.hosts]
            for driver in drivers:
                driver.clear_faults()
                driver.set_reachable(True)
            self.end_well()
            for server in self.servers():
                services.delete(self.world.alice, server.pk)
            self.end_well()
            assert not self.servers()
            assert not any(driver.domains() for driver in drivers)
            for host, pool in zip(Host.objects.all(), StoragePool.objects.all(), strict=True):
                assert (host.vcpus_used, host.memory_used_mib, pool.used_gib) == (0, 0, 0)
        finally:
            transaction.set_rollback(True)
            self.undo.__exit__(None, None, None)
            close_all()

    def end_well(self) -> None:
        """All that is open ends, and the audit finds nothing wrong."""
        finish_everything()
        report = audit()
        assert not report.errors, report.errors

    def servers(self) -> list[Server]:
        """Those that are not deleted, oldest first."""
        return list(Server.objects.exclude(lifecycle=Lifecycle.DELETED).order_by("pk"))

    # --- what people and hosts do ------------------------------------------------------

    @rule()
    def order(self) -> None:
        """Somebody orders."""
        self.ordered += 1
        self.world.order(f"web{self.ordered}")

    @precondition(lambda self: self.servers())
    @rule(verb=st.sampled_from(sorted(VERBS)), which=st.integers(0, 3))
    def ask(self, verb: str, which: int) -> None:
        """Somebody wants something of a server; it may be refused."""
        servers = self.servers()
        with contextlib.suppress(Refused):
            VERBS[verb](self.world, servers[which % len(servers)])

    @rule()
    def work(self) -> None:
        """A worker does all that is due."""
        let_leases_run_out()
        Worker(registry, lease_seconds=LONG_LEASE).run_until_idle()

    @rule(points=st.integers(0, 25))
    def die(self, points: int) -> None:
        """A worker dies after so many points of its way; its lease runs out."""
        left = points

        def count_down(action: Action, where: str) -> None:
            nonlocal left
            if not left:
                raise Died
            left -= 1

        let_leases_run_out()
        with contextlib.suppress(Died):
            Worker(registry, lease_seconds=LONG_LEASE, observer=count_down).run_until_idle()

    @rule(
        host=st.integers(0, 1),
        error=st.sampled_from(FAULTS),
        after=st.integers(0, 12),
        times=st.integers(1, 6),
    )
    def fault(self, host: int, error: Any, after: int, times: int) -> None:
        """Calls to a host will fail."""
        self.world.driver(self.world.hosts[host]).inject("*", error, after=after, times=times)

    @rule(host=st.integers(0, 1), reachable=st.booleans())
    def reach(self, host: int, reachable: bool) -> None:
        """A host goes, or is back."""
        self.world.driver(self.world.hosts[host]).set_reachable(reachable)

    @rule(which=st.integers(0, 3), start=st.booleans())
    def outside(self, which: int, start: bool) -> None:
        """Somebody at the host starts or destroys a guest with virsh."""
        guests = [server for server in self.servers() if self.is_defined(server)]
        if guests:
            server = guests[which % len(guests)]
            driver = self.world.driver(server.host)
            (driver.outside_start if start else driver.outside_destroy)(server.uuid)

    def is_defined(self, server: Server) -> bool:
        """Whether its host knows its guest."""
        with contextlib.suppress(NotFound):
            return bool(self.world.driver(server.host).guest_record(server.uuid))
        return False

    # --- what always holds ---------------------------------------------------------------

    @invariant()
    def books_are_right(self) -> None:
        """The records contradict neither each other nor what may be sold."""
        errors = [f for f in check_records(timezone.now()) if f.level == "error"]
        assert not errors, errors
        for host in Host.objects.all():
            assert host.vcpus_used <= host.vcpus_limit
            assert host.memory_used_mib <= host.memory_limit_mib
        for pool in StoragePool.objects.all():
            assert pool.used_gib <= pool.limit_gib

    @invariant()
    def one_at_a_time(self) -> None:
        """A server has at most one open action, and an address one owner."""
        opened = Action.objects.filter(state__in=OPEN_STATES).order_by()
        counted = opened.values("resource_type", "resource_id").annotate(n=Count("pk"))
        assert not counted.filter(n__gt=1).exists()
        held = IPAddress.objects.exclude(owner=None).order_by()
        assert not held.values("address").annotate(n=Count("owner")).filter(n__gt=1).exists()


@pytest.mark.django_db
def test_whatever_happens_the_books_are_right() -> None:
    run_state_machine_as_test(
        Panel,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            phases=PHASES,
            report_multiple_bugs=False,
            derandomize=not BY_HAND,
            suppress_health_check=list(HealthCheck),  # an example is a story, and takes a second
            database=None,
        ),
    )
