"""Orders and the ends of servers take what they need in one order, so that they never deadlock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from uuid import uuid4

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from hosts.models import CapacityClaim, Host, StoragePool
from hosts.placement import Need
from hosts.services import claim_capacity, grow_claim
from tests.world import World, make_host
from vpspanel.accounts.models import Account
from vpspanel.servers.audit_records import (
    _recount_account,
    _recount_host,
    _recount_pool,
    check_records,
)
from vpspanel.servers.endings import bury
from vpspanel.servers.ordering import need_of

pytestmark = pytest.mark.postgres  # SQLite has one lock for everything


def in_thread(act: Callable[[], object]) -> tuple[threading.Thread, list[BaseException]]:
    """Begin it; what it raises is in the list once the thread has ended."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            act()
        except BaseException as error:
            errors.append(error)
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread, errors


def somebody_waits(seconds: float = 5.0) -> None:
    """Return when a transaction waits for a lock."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            if cursor.fetchone()[0]:
                return
        time.sleep(0.02)
    raise AssertionError("nobody waits")


def test_an_order_and_a_deletion_of_one_account_do_not_deadlock(world: World) -> None:
    server = world.running()
    with transaction.atomic():
        Account.objects.filter(pk=server.project.account_id).update(
            servers_used=F("servers_used") + 1
        )
        thread, errors = in_thread(transaction.atomic(lambda: bury(server.pk)))
        somebody_waits()
        Host.objects.filter(pk=world.host.pk).update(vcpus_used=F("vcpus_used") + 1)
        transaction.set_rollback(True)
    thread.join()
    assert errors == []
    server.refresh_from_db()
    assert server.lifecycle == "deleted"
    assert Host.objects.get(pk=world.host.pk).vcpus_used == 0


def test_an_order_and_a_larger_plan_on_one_host_do_not_deadlock(world: World) -> None:
    server = world.running()
    more = Need(2, 256, 2)
    with transaction.atomic():
        StoragePool.objects.filter(host=world.host).update(used_gib=F("used_gib") + 1)
        thread, errors = in_thread(lambda: grow_claim(server.uuid, more))
        somebody_waits()
        Host.objects.filter(pk=world.host.pk).update(vcpus_used=F("vcpus_used") + 1)
        transaction.set_rollback(True)
    thread.join()
    assert errors == []
    assert Host.objects.get(pk=world.host.pk).vcpus_used == more.vcpus


def test_a_host_that_has_no_room_after_all_is_let_go(world: World) -> None:
    """Two orders that try hosts in different orders must not hold one while they try the next."""
    full, other = world.host, make_host(world.location)
    Host.objects.filter(pk=other.pk).update(memory_limit_mib=4096)  # so that `full` comes first
    need = need_of(world.plan)
    filled = threading.Event()

    def fill_host() -> None:
        """Somebody takes the last of the host just now."""
        with transaction.atomic():
            Host.objects.filter(pk=full.pk).update(memory_used_mib=F("memory_limit_mib"))
            filled.set()
            somebody_waits()

    filler, errors = in_thread(fill_host)
    assert filled.wait(5)
    with transaction.atomic():
        claim = claim_capacity(uuid4(), need, location=world.location)
        assert claim.host_id == other.pk
        free, blocked = in_thread(lambda: change_without_waiting(full, need))
        free.join()
    filler.join()
    assert (errors, blocked) == ([], [])


def test_a_host_that_somebody_is_just_taking_is_not_waited_for(world: World) -> None:
    best, other = world.host, make_host(world.location)
    Host.objects.filter(pk=other.pk).update(memory_used_mib=4096)
    need = need_of(world.plan)
    with transaction.atomic():
        assert claim_capacity(uuid4(), need, location=world.location).host_id == best.pk
        claims: list[int] = []

        def order() -> None:
            with transaction.atomic():
                claims.append(claim_capacity(uuid4(), need, location=world.location).host_id)

        thread, errors = in_thread(order)
        thread.join(30)
        assert (claims, errors) == ([other.pk], [])


def test_who_loses_a_host_to_its_spread_holds_nothing_there(world: World) -> None:
    """Two pools, so that two orders of one spread get as far as the claim on one host."""
    best, other = world.host, make_host(world.location)
    StoragePool.objects.create(host=best, name="second", path="/second", limit_gib=1000)
    Host.objects.filter(pk=other.pk).update(memory_limit_mib=4096)  # so that `best` comes first
    need, spread, claims = need_of(world.plan), uuid4(), list[CapacityClaim]()

    def order() -> None:
        with transaction.atomic():
            claims.append(claim_capacity(uuid4(), need, location=world.location, spread=spread))

    with transaction.atomic():
        first = claim_capacity(uuid4(), need, location=world.location, spread=spread)
        thread, errors = in_thread(order)
        somebody_waits()
    thread.join()
    assert errors == []
    assert [first.host_id, *(claim.host_id for claim in claims)] == [best.pk, other.pk]
    assert sum(best.pools.values_list("used_gib", flat=True)) == need.disk_gib
    assert Host.objects.get(pk=best.pk).memory_used_mib == need.memory_mib


def test_choosing_and_claiming_is_one_statement(world: World) -> None:
    """Without a savepoint; what it cannot have expected is raised all the same."""
    owner, need = uuid4(), need_of(world.plan)
    with transaction.atomic(), CaptureQueriesContext(connection) as queries:
        claim = claim_capacity(owner, need, location=world.location)
    assert len(queries) == 1
    assert claim == CapacityClaim.objects.get(owner=owner)
    stored = CapacityClaim.objects.values().get(owner=owner)
    assert {name: getattr(claim, name) for name in stored} == stored
    with pytest.raises(IntegrityError, match="owner"), transaction.atomic():
        claim_capacity(owner, need, location=world.location)
    assert Host.objects.get(pk=world.host.pk).memory_used_mib == need.memory_mib


def change_without_waiting(host: Host, need: Need) -> None:
    """Fails if somebody holds a row of the host."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL lock_timeout = '500ms'")
        StoragePool.objects.filter(host=host).update(used_gib=F("used_gib") + need.disk_gib)
        Host.objects.filter(pk=host.pk).update(vcpus_used=F("vcpus_used") + need.vcpus)


@pytest.mark.parametrize("what", ["host", "pool", "account"])
def test_counting_again_beside_an_order_loses_nothing(world: World, what: str) -> None:
    """A counter that is set too low would let the same room be sold twice."""
    recount = {
        "host": lambda: _recount_host(world.host.pk),
        "pool": lambda: _recount_pool(world.host.pools.get().pk),
        "account": lambda: _recount_account(world.project.account_id),
    }[what]
    with transaction.atomic():
        world.order()
        thread, errors = in_thread(recount)
        somebody_waits()
    thread.join()
    assert errors == []
    report = {finding.code for finding in check_records(timezone.now())}
    assert not report & {"host_counter", "pool_counter", "account_counter"}
