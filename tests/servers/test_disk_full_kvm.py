"""A real pool that is full: an order fails and leaves nothing, a guest that writes is paused."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from hosts.models import CapacityClaim, IPAddress, StoragePool
from hosts.virt.errors import DiskFull
from hosts.virt.registry import driver_for
from tests.audit import assert_clean
from tests.hosts.contract import MIB, wait_until
from tests.hosts.real_guests import Guests, guests
from tests.kvm import KvmHost, kvm_host
from tests.servers.real_world import POOL, real
from tests.servers.test_observe_kvm import Panel, boot_sector, panel, power, until
from tests.world import World, due_now, work
from vpspanel.actions.models import Action
from vpspanel.events.models import Event
from vpspanel.servers import services
from vpspanel.servers.models import Lifecycle, Server

pytestmark = pytest.mark.qemu

__all__ = ["guests", "kvm_host", "panel", "real"]

# xor ax,ax; mov ds,ax; mov es,ax; mov ss,ax; mov sp,7c00h; mov di,8000h; mov cx,4000h;
# mov ax,ffffh; rep stosw; more: mov si,packet; mov ax,4300h; mov dl,80h; int 13h;
# add word [packet+8],64; adc word [packet+10],0; jmp more
# packet: 64 sectors from 0:8000h to sector 1000h and on, and none of them is zero
FILLS_ITS_DISK = boot_sector(
    "31c08ed88ec08ed0bc007cbf0080b90040b8fffff3abbe2c7cb80043b280cd138306347c408316367c00ebea"
    "10004000008000000010000000000000"
)


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
    with small(kvm_host, path, "320k"):
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


def test_an_upload_that_did_not_fit_is_not_taken_for_whole(guests: Guests) -> None:
    """libvirt 9.0 says in one of three that it was written."""
    data = b"x" * MIB
    with small(guests.host, str(guests.pool_path), "64k"):
        for _ in range(20):
            with pytest.raises(DiskFull):
                guests.driver.upload_volume(
                    guests.prefix,
                    "image",
                    io.BytesIO(data),
                    length=len(data),
                    format="qcow2",
                    capacity_bytes=len(data),
                )


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


def test_a_guest_that_finds_its_pool_full_is_shown_paused(panel: Panel) -> None:
    """CHECKS 36: with the reason; when there is room again, it goes on where it was."""
    host, path = panel.guests.host, str(panel.guests.pool_path)
    with small(host, path, "8m"):
        server = panel.server(FILLS_ITS_DISK, disk_bytes=64 * MIB)
        try:
            until(lambda: power(server) == ("paused", "on"), 30)
            about = Event.objects.filter(resource_type="server", resource_id=server.pk, public=True)
            told = dict(about.values_list("kind", "message"))
            assert "is full" in told["server.paused"]
            assert "server.io_error" in told
            host.exec("mount", "-o", "remount,size=128m", path)
            panel.virsh(server.uuid).resume()
            until(lambda: power(server) == ("running", "on"), 15)
        finally:
            panel.virsh(server.uuid).destroy()
