"""The last slot, the last address, the last of an account's quota: sold once, whatever the crowd.

Twenty buyers stand at a barrier and order at the same moment, twenty times.
Nineteen get a clear refusal, none an error.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

import pytest
from django.db import connection

from hosts.models import CapacityClaim, Host, IPAddress, IPPool, StoragePool
from tests.world import World, make_plan, work
from vpspanel.accounts.models import Account
from vpspanel.actions.models import Action
from vpspanel.errors import Refused
from vpspanel.servers import services
from vpspanel.servers.models import PrimaryIP, Server
from vpspanel.servers.resizing import change_type

pytestmark = pytest.mark.both_databases

BUYERS = 20
ROUNDS = 20


def all_at_once(act: Callable[[int], object], people: int = BUYERS) -> Counter[str]:
    """Everybody acts at the same moment; how often each outcome came."""
    outcomes: Counter[str] = Counter()
    barrier = threading.Barrier(people)
    guard = threading.Lock()

    def one(number: int) -> None:
        barrier.wait()
        try:
            act(number)
            outcome = "sold"
        except Refused as refused:
            outcome = refused.code
        except Exception as error:
            outcome = repr(error)
        finally:
            connection.close()
        with guard:
            outcomes[outcome] += 1

    threads = [threading.Thread(target=one, args=(number,)) for number in range(people)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def clear(world: World) -> None:
    """Between two rounds nothing is sold."""
    Action.objects.all().delete()
    PrimaryIP.objects.all().delete()
    Server.objects.all().delete()
    CapacityClaim.objects.all().delete()
    IPAddress.objects.all().delete()
    IPPool.objects.update(next_index=2)
    Host.objects.update(vcpus_used=0, memory_used_mib=0)
    StoragePool.objects.update(used_gib=0)
    Account.objects.update(servers_used=0)


def crowd(world: World, rounds: int = ROUNDS) -> Counter[str]:
    """So many rounds of twenty buyers."""
    total: Counter[str] = Counter()
    for _ in range(rounds):
        clear(world)
        outcomes = all_at_once(lambda number: world.order(f"web{number}"))
        assert outcomes["sold"] == 1, outcomes
        total += outcomes
    return total


def test_the_last_slot_is_sold_once(world: World) -> None:
    Host.objects.update(memory_limit_mib=world.plan.memory_mib)
    assert crowd(world) == {"sold": ROUNDS, "resource_unavailable": ROUNDS * (BUYERS - 1)}
    assert Host.objects.get().memory_used_mib == world.plan.memory_mib
    assert IPAddress.objects.filter(owner__isnull=False).count() == 2


@pytest.mark.parametrize(("family", "rounds"), [(4, ROUNDS), (6, 5)])
def test_the_last_address_is_sold_once(world: World, family: int, rounds: int) -> None:
    IPPool.objects.filter(family=family).update(last_index=2)
    assert crowd(world, rounds) == {"sold": rounds, "resource_unavailable": rounds * (BUYERS - 1)}
    owners = IPAddress.objects.filter(family=family).values_list("owner", flat=True)
    assert list(owners) == [Server.objects.get().uuid]
    assert CapacityClaim.objects.count() == 1


def test_the_last_of_the_quota_is_sold_once(world: World) -> None:
    Account.objects.update(server_limit=1)
    assert crowd(world, 5) == {"sold": 5, "resource_limit_exceeded": 5 * (BUYERS - 1)}


def test_one_order_key_makes_one_server(world: World) -> None:
    orders: list[int] = []

    def order(_: int) -> None:
        orders.append(world.order("web", idempotency_key="one").server.pk)

    for _ in range(5):
        clear(world)
        orders.clear()
        outcomes = all_at_once(order)
        assert outcomes["sold"] + outcomes["conflict"] == BUYERS, outcomes
        assert len(set(orders)) == 1
        assert Server.objects.count() == 1


def test_freed_addresses_are_sold_once_too(world: World) -> None:
    clear(world)
    IPPool.objects.filter(family=4).update(last_index=1, next_index=2)
    pool = IPPool.objects.get(family=4)
    IPAddress.objects.create(pool=pool, family=4, address="10.80.0.99")
    outcomes = all_at_once(lambda number: world.order(f"web{number}"))
    assert outcomes == {"sold": 1, "resource_unavailable": BUYERS - 1}


def test_larger_plans_and_orders_share_what_is_left(world: World) -> None:
    """Ten servers want to grow and ten people order, and there is room for three more of either."""
    large = make_plan(world, "large", vcpus=1, memory_mib=256, disk_gib=1)
    servers = [world.running(f"old{number}") for number in range(10)]
    for server in servers:
        services.power_off(world.alice, server.pk)
    work()
    limit = 13 * world.plan.memory_mib
    Host.objects.update(memory_limit_mib=limit)

    def act(number: int) -> None:
        if number % 2:
            world.order(f"new{number}")
        else:
            pk = servers[number // 2].pk
            change_type(world.alice, pk, server_type=large, keep_disk=True)

    assert all_at_once(act) == {"sold": 3, "resource_unavailable": BUYERS - 3}
    assert Host.objects.get().memory_used_mib == limit
    assert sum(claim.memory_mib for claim in CapacityClaim.objects.all()) == limit
    work()
    assert Host.objects.get().memory_used_mib == limit


def test_two_larger_plans_at_once_take_the_room_once(world: World) -> None:
    large = make_plan(world, "large", vcpus=1, memory_mib=256, disk_gib=1)
    server = world.stopped()
    outcomes = all_at_once(
        lambda _: change_type(world.alice, server.pk, server_type=large, keep_disk=True)
    )
    assert outcomes["sold"] == 1, outcomes
    assert set(outcomes) <= {"sold", "locked", "conflict"}
    assert Host.objects.get().memory_used_mib == large.memory_mib
