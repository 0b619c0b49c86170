"""The last slot, the last address, the last of an account's quota: sold once, whatever the crowd.

Twenty buyers stand at a barrier and order at the same moment, twenty times.
Nineteen get a clear refusal, none an error. Each buyer has an account of its own:
buyers of one account would take turns at its row and never meet at the host's.
"""

from __future__ import annotations

import re
import threading
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse

from hosts import services as room
from hosts.models import CapacityClaim, Host, IPAddress, IPPool, StoragePool
from hosts.placement import Candidate, Need
from tests.world import World, make_plan, make_user, work
from vpspanel.accounts.models import Account, Project, SSHKey
from vpspanel.accounts.services import open_account
from vpspanel.actions.models import Action
from vpspanel.errors import Refused
from vpspanel.events.actor import SYSTEM, Actor
from vpspanel.events.models import Event
from vpspanel.servers import services
from vpspanel.servers.audit_records import check_account_counters
from vpspanel.servers.models import PrimaryIP, Server, ServerTypePrice
from vpspanel.servers.resizing import change_type

pytestmark = pytest.mark.both_databases

BUYERS = 20
ROUNDS = 20
MEETING = 4  # buyers that wait for each other inside their transactions: each holds a connection
MEET_WITHIN = 60.0


@dataclass(frozen=True)
class Buyer:
    """Somebody with an account of its own, and a key: no password has to be hashed."""

    actor: Actor
    project: Project
    key: SSHKey

    def order(self, world: World) -> object:
        """One more server."""
        return world.order(actor=self.actor, project=self.project, ssh_keys=[self.key])

    def browser(self) -> Client:
        """Signed in."""
        assert self.actor.user is not None
        client = Client()
        client.force_login(self.actor.user)
        return client


@pytest.fixture
def buyers(world: World) -> list[Buyer]:
    """Twenty of them."""
    return [_buyer(number) for number in range(BUYERS)]


def _buyer(number: int) -> Buyer:
    user = make_user(f"buyer{number}@example.com")
    project = open_account(user=user, name=f"Buyer {number}", actor=SYSTEM)
    key = SSHKey.objects.create(
        project=project, name="key", public_key="ssh-ed25519 AAAA", fingerprint="aa:bb"
    )
    return Buyer(Actor(user, "page"), project, key)


def all_at_once(act: Callable[[int], object], people: int = BUYERS) -> Counter[str]:
    """Everybody acts at the same moment; how often each outcome came.

    An act that returns text has said its outcome itself.
    """
    outcomes: Counter[str] = Counter()
    barrier = threading.Barrier(people)
    guard = threading.Lock()

    def one(number: int) -> None:
        barrier.wait()
        try:
            done = act(number)
            outcome = done if isinstance(done, str) else "sold"
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


def clear() -> None:
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


def leave_one(world: World, last: str) -> None:
    """Of what is sold, `last` is there for one buyer only."""
    if last == "slot":
        Host.objects.update(memory_limit_mib=world.plan.memory_mib)
    else:
        IPPool.objects.filter(family=last[-1]).update(last_index=2)


def assert_sold_once() -> None:
    """One server, and it holds everything that is held."""
    server = Server.objects.get()
    assert CapacityClaim.objects.get().owner == server.uuid
    assert Host.objects.get().memory_used_mib == server.memory_mib
    owners = IPAddress.objects.exclude(owner=None).values_list("family", "owner")
    assert sorted(owners) == [(4, server.uuid), (6, server.uuid)]
    used = Account.objects.filter(servers_used__gt=0).values_list("pk", "servers_used")
    assert list(used) == [(server.project.account_id, 1)]


@pytest.mark.slow
@pytest.mark.parametrize("last", ["slot", "IPv4", "IPv6"])
def test_the_last_one_is_sold_once(world: World, buyers: list[Buyer], last: str) -> None:
    leave_one(world, last)
    for _ in range(ROUNDS):
        clear()
        outcomes = all_at_once(lambda number: buyers[number].order(world))
        assert outcomes == {"sold": 1, "resource_unavailable": BUYERS - 1}
        assert_sold_once()


def test_the_last_server_of_a_reseller_is_sold_once(world: World, buyers: list[Buyer]) -> None:
    shop = Account.objects.create(name="Shop", is_reseller=True, server_limit=1)
    Account.objects.update(servers_used=0)
    Account.objects.exclude(pk=shop.pk).update(parent=shop)
    outcomes = all_at_once(lambda number: buyers[number].order(world))
    assert outcomes == {"sold": 1, "resource_limit_exceeded": BUYERS - 1}
    assert Server.objects.count() == 1
    assert list(check_account_counters()) == []


@pytest.mark.parametrize("last", ["slot", "IPv4", "IPv6"])
def test_the_last_one_is_sold_once_on_the_page(
    world: World, buyers: list[Buyer], last: str
) -> None:
    leave_one(world, last)
    browsers = [buyer.browser() for buyer in buyers]
    plan = ServerTypePrice.objects.get().pk

    def order(number: int) -> str:
        form: dict[str, Any] = {
            "token": str(uuid.uuid4()),
            "plan": plan,
            "image": world.images[0].pk,
            "name": "web",
            "ssh_keys": [buyers[number].key.pk],
        }
        response = browsers[number].post(reverse("servers:order"), form)
        if response.status_code == 302:
            return "sold"
        said = re.search("is sold out in|has no free address", response.content.decode())
        return f"{response.status_code}, {'clear' if said else 'unclear'}"

    assert all_at_once(order) == {"sold": 1, "422, clear": BUYERS - 1}
    assert_sold_once()


@pytest.mark.postgres
@pytest.mark.parametrize("careful", [True, False], ids=["as it is", "read, then save"])
def test_buyers_do_meet_at_the_host(
    world: World, buyers: list[Buyer], monkeypatch: pytest.MonkeyPatch, careful: bool
) -> None:
    """Were the claim not one conditional UPDATE, the same crowd would be sold one slot each.

    All go the way of those who wait, as if somebody were just taking room on the host.
    """
    leave_one(world, "slot")
    monkeypatch.setattr(room, "take_best", lambda *_: None)
    meeting = threading.Barrier(MEETING)
    claim = room._take_room

    def as_it_is(candidate: Candidate, need: Need) -> None:
        meeting.wait(MEET_WITHIN)
        claim(candidate, need)

    def read_then_save(candidate: Candidate, need: Need) -> None:
        host = Host.objects.get(pk=candidate.host_id)
        meeting.wait(MEET_WITHIN)
        if host.memory_used_mib + need.memory_mib > host.memory_limit_mib:
            raise room._NoRoom
        host.memory_used_mib += need.memory_mib
        host.save(update_fields=["memory_used_mib"])

    monkeypatch.setattr(room, "_take_room", as_it_is if careful else read_then_save)
    outcomes = all_at_once(lambda number: buyers[number].order(world), MEETING)
    if careful:
        assert outcomes == {"sold": 1, "resource_unavailable": MEETING - 1}
        assert_sold_once()
    else:
        assert outcomes == {"sold": MEETING}


def test_a_long_reader_locks_nobody_out(world: World, buyers: list[Buyer]) -> None:
    """Somebody reads row by row all the while; twenty orders go through, and it sees none."""
    there = Event.objects.count()
    reader = Event.objects.order_by("pk").iterator(chunk_size=1)
    seen = [next(reader)]
    assert all_at_once(lambda number: buyers[number].order(world)) == {"sold": BUYERS}
    seen += reader
    assert len(seen) == there
    assert Event.objects.count() == there + BUYERS


def test_the_last_of_the_quota_is_sold_once(world: World) -> None:
    Account.objects.update(server_limit=1)
    for _ in range(5):
        clear()
        outcomes = all_at_once(lambda number: world.order(f"web{number}"))
        assert outcomes == {"sold": 1, "resource_limit_exceeded": BUYERS - 1}


def test_one_order_key_makes_one_server(world: World) -> None:
    orders: list[int] = []

    def order(_: int) -> None:
        orders.append(world.order("web", idempotency_key="one").server.pk)

    for _ in range(5):
        clear()
        orders.clear()
        outcomes = all_at_once(order)
        assert outcomes["sold"] + outcomes["conflict"] == BUYERS, outcomes
        assert len(set(orders)) == 1
        assert Server.objects.count() == 1


def test_freed_addresses_are_sold_once_too(world: World, buyers: list[Buyer]) -> None:
    clear()
    IPPool.objects.filter(family=4).update(last_index=1, next_index=2)
    pool = IPPool.objects.get(family=4)
    IPAddress.objects.create(pool=pool, family=4, address="10.80.0.99")
    outcomes = all_at_once(lambda number: buyers[number].order(world))
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
