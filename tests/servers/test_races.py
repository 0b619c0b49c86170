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
from tests.world import World
from vpspanel.accounts.models import Account
from vpspanel.actions.models import Action
from vpspanel.errors import Refused
from vpspanel.servers.models import PrimaryIP, Server

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
