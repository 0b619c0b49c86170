"""A real pool that is full: an order fails and leaves nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from hosts.models import CapacityClaim, IPAddress, StoragePool
from hosts.virt.registry import driver_for
from tests.audit import assert_clean
from tests.hosts.contract import wait_until
from tests.kvm import KvmHost, kvm_host
from tests.servers.real_world import POOL, real
from tests.world import World, due_now, work
from vpspanel.actions.models import Action
from vpspanel.servers import services
from vpspanel.servers.models import Lifecycle, Server

pytestmark = pytest.mark.qemu

__all__ = ["kvm_host", "real"]


@contextmanager
def small(host: KvmHost, path: str, size: str) -> Iterator[None]:
    """What is mounted at the path holds no more than that."""
    host.exec("mount", "-t", "tmpfs", "-o", f"size={size},mode=711", "small", path)
    try:
        yield
    finally:
        host.exec("umount", path)


def test_an_order_on_a_full_pool_fails_and_leaves_nothing(real: World, kvm_host: KvmHost) -> None:
    """CHECKS 36: the image still fits, the disk on it does not."""
    path = StoragePool.objects.get(host=real.host, name=POOL).path
    with small(kvm_host, path, "64k"):
        action, server = ended(real)
        assert (action.state, action.error_code) == ("error", "disk_full")
        assert "no disk space left" in action.error_message
        assert server.lifecycle == Lifecycle.DELETED
        left = [volume.name for volume in driver_for(real.host.uri).volumes(POOL)]
        assert left == [real.images[0].volume]
        assert not CapacityClaim.objects.exists()
        assert not IPAddress.objects.filter(owner__isnull=False).exists()
        assert_clean()
        kvm_host.exec("mount", "-o", "remount,size=32m", path)
        action, server = ended(real)
        assert (action.state, server.lifecycle) == ("success", Lifecycle.ACTIVE)
        services.delete(real.alice, server.pk)
        work()
        assert_clean()


def ended(world: World) -> tuple[Action, Server]:
    """An order, when a worker has done what it can."""
    ordered = world.order()

    def over() -> bool:
        work()
        due_now()
        ordered.action.refresh_from_db()
        return ordered.action.state not in ("queued", "running")

    wait_until(over, 60, "it ends")
    ordered.server.refresh_from_db()
    return ordered.action, ordered.server
