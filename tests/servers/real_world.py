"""The world on a real host: its simulated one is replaced by the private KVM host."""

from __future__ import annotations

from collections.abc import Iterator

import libvirt
import pytest

from hosts.models import Host, HostStatus, StoragePool
from hosts.virt.registry import close_all, driver_for
from hosts.virt.spec import NetworkSpec
from tests.kvm import KvmHost
from tests.world import World

POOL = "audited"


@pytest.fixture
def real(world: World, kvm_host: KvmHost) -> Iterator[World]:
    """The world, moved from its simulated host to a real one."""
    Host.objects.all().delete()
    host = Host.objects.create(
        name="real",
        location=world.location,
        uri=kvm_host.uri,
        status=HostStatus.REACHABLE,
        network="audited",
        vcpus_limit=8,
        memory_limit_mib=4096,
    )
    path = kvm_host.new_pool()
    StoragePool.objects.create(host=host, name=POOL, path=str(path), limit_gib=50)
    driver = driver_for(host.uri)
    driver.ensure_pool(POOL, str(path))
    driver.ensure_network(NetworkSpec("audited", "audited0", "10.80.0.1/24", "fd80::1/48"))
    world.hosts = [host]
    yield world
    for volume in driver.volumes(POOL):
        driver.delete_volume(POOL, volume.name)
    connection = libvirt.open(host.uri)
    connection.storagePoolLookupByName(POOL).destroy()
    connection.storagePoolLookupByName(POOL).undefine()
    connection.networkLookupByName("audited").destroy()
    connection.networkLookupByName("audited").undefine()
    connection.close()
    close_all()
