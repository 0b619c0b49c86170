"""The machine room's pages: counters cannot be written, ranges cannot be wrong."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from hosts.models import Host, IPPool, StoragePool
from tests.world import World, make_world
from vpspanel.accounts.models import User


@pytest.fixture
def world(db: None) -> World:
    return make_world()


@pytest.fixture
def root(world: World, client: Client) -> Client:
    client.force_login(User.objects.create_superuser("root@example.com", "secret"))
    return client


def host_form(**changes: Any) -> dict[str, Any]:
    form = {
        "accepting": "on",
        "cpu_overcommit": 4.0,
        "memory_overcommit": 1.0,
        "vcpus_limit": 64,
        "memory_limit_mib": 65536,
        "action_limit": 8,
        "network": "vpspanel",
        "bridge": "",
    }
    return {**form, **changes}


def pool_form(**changes: Any) -> dict[str, Any]:
    form = {
        "name": "second",
        "family": 4,
        "network": "198.51.100.0/24",
        "gateway": "198.51.100.1",
        "first_index": 2,
        "last_index": 254,
        "dns_servers": "[]",
        "quarantine": "01:00:00",
        "accepting": "on",
    }
    return {**form, **changes}


def test_what_only_services_write_stays_although_it_is_posted(root: Client, world: World) -> None:
    engine = {
        "vcpus_used": 9,
        "memory_used_mib": 9,
        "status": "unreachable",
        "host_uuid": "00000000-0000-0000-0000-000000000000",
        "uri": "qemu:///system",
        "name": "evil",
        "cpus": 99,
        "virt_type": "kvm",
    }
    before = Host.objects.values(*engine).get(pk=world.host.pk)
    page = reverse("admin:hosts_host_change", args=[world.host.pk])
    answer = root.post(page, host_form(action_limit=3, **engine))
    assert answer.status_code == 302
    assert Host.objects.values(*engine).get(pk=world.host.pk) == before
    assert Host.objects.get(pk=world.host.pk).action_limit == 3


def test_a_sale_between_opening_and_saving_is_not_undone(root: Client, world: World) -> None:
    pool = world.host.pools.get()
    page = reverse("admin:hosts_storagepool_change", args=[pool.pk])
    original = StoragePool.save

    def sell_first(self: StoragePool, *args: Any, **kwargs: Any) -> None:
        StoragePool.objects.filter(pk=pool.pk).update(used_gib=7)
        original(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StoragePool, "save", sell_first)
        root.post(page, {"limit_gib": 500, "overcommit": 1.0, "accepting": "on"})
    pool.refresh_from_db()
    assert (pool.used_gib, pool.limit_gib) == (7, 500)


def test_overcommit_and_reserve_say_what_may_be_sold(root: Client, world: World) -> None:
    Host.objects.filter(pk=world.host.pk).update(cpus=8, memory_mib=16000)
    page = reverse("admin:hosts_host_change", args=[world.host.pk])
    form = host_form(cpu_overcommit=2.5, memory_reserve_mib=1000, memory_overcommit=1.5)
    assert root.post(page, form).status_code == 302
    world.host.refresh_from_db()
    assert (world.host.vcpus_limit, world.host.memory_limit_mib) == (20, 22500)
    form = host_form(
        cpu_overcommit=3, memory_reserve_mib=1000, memory_overcommit=1.5,
        vcpus_limit=7, memory_limit_mib=22500, tags="NVMe, dedicated",
    )  # fmt: skip
    root.post(page, form)
    world.host.refresh_from_db()
    assert (world.host.vcpus_limit, world.host.memory_limit_mib) == (7, 22500)
    assert world.host.tags == " dedicated nvme "


def test_the_same_for_the_disks_of_a_pool(root: Client, world: World) -> None:
    pool = world.host.pools.get()
    StoragePool.objects.filter(pk=pool.pk).update(capacity_gib=100)
    page = reverse("admin:hosts_storagepool_change", args=[pool.pk])
    form = {"limit_gib": 1000, "reserve_gib": 20, "overcommit": 2, "accepting": "on"}
    assert root.post(page, form).status_code == 302
    pool.refresh_from_db()
    assert pool.limit_gib == 160


def test_a_host_has_a_network_or_a_bridge(root: Client, world: World) -> None:
    page = reverse("admin:hosts_host_change", args=[world.host.pk])
    answer = root.post(page, host_form(bridge="br0"))
    assert "either a libvirt network or a bridge" in answer.content.decode()


def test_hosts_can_be_taken_off_sale_and_put_back(root: Client, world: World) -> None:
    for action, accepting in (("stop_selling", False), ("sell_again", True)):
        form = {"action": action, "_selected_action": [world.host.pk]}
        assert root.post(reverse("admin:hosts_host_changelist"), form).status_code == 302
        world.host.refresh_from_db()
        assert world.host.accepting is accepting


def test_a_new_pool_sells_from_its_first_address(root: Client, world: World) -> None:
    form = pool_form(location=world.location.pk, network="198.51.100.0/24 ")
    assert root.post(reverse("admin:hosts_ippool_add"), form).status_code == 302
    pool = IPPool.objects.get(name="second")
    assert (pool.next_index, pool.network) == (2, "198.51.100.0/24")


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"network": "198.51.100.1/24"}, "has host bits set"),
        ({"network": "fd00::/48"}, "is not IPv4"),
        (
            {"network": "10.80.0.128/25", "gateway": "10.80.0.129", "last_index": 100},
            "overlaps with the pool",
        ),
        ({"gateway": "198.51.100.7"}, "would be sold"),
        ({"gateway": "fe80::1"}, "is not IPv4"),
        ({"last_index": 256}, "ends at 255"),
        ({"first_index": 9, "last_index": 8}, "before the first"),
        ({"family": 6, "network": "fd99::/65", "gateway": "fe80::1"}, "must hold at least one"),
    ],
)
def test_a_pool_that_cannot_be_sold_is_refused(
    root: Client, world: World, changes: dict[str, Any], error: str
) -> None:
    form = pool_form(location=world.location.pk, **changes)
    answer = root.post(reverse("admin:hosts_ippool_add"), form)
    assert error in answer.content.decode()
    assert not IPPool.objects.filter(name="second").exists()


def test_what_is_sold_of_a_pool_stays_in_it(root: Client, world: World) -> None:
    pool = IPPool.objects.get(family=4)
    IPPool.objects.filter(pk=pool.pk).update(next_index=40)
    page = reverse("admin:hosts_ippool_change", args=[pool.pk])
    form = pool_form(name=pool.name, gateway=pool.gateway, network="192.0.2.0/24")
    assert "Up to 39 is sold" in root.post(page, {**form, "last_index": 38}).content.decode()
    assert root.post(page, {**form, "last_index": 39}).status_code == 302
    pool.refresh_from_db()
    assert (pool.last_index, pool.next_index, pool.network) == (39, 40, "10.80.0.0/24")
