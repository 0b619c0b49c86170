"""Rescue, plan and snapshot with a real guest: what it sees, and that its disk is what it was."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from django.conf import settings

from hosts.images.build.tiny import build_tiny
from hosts.images.inspect import inspect_image
from hosts.library import image_path
from hosts.models import Family, Image
from hosts.virt.registry import driver_for
from tests.audit import assert_clean
from tests.kvm import KvmHost, kvm_host
from tests.servers.real_world import real
from tests.servers.test_isos import iso_file, make_iso
from tests.shell import ANSWERS_WITHIN, Shell
from tests.world import World, due_now, make_plan, work
from vpspanel.accounts.models import SSHKey
from vpspanel.accounts.services import add_ssh_key
from vpspanel.actions.models import Action
from vpspanel.events.actor import SYSTEM
from vpspanel.servers import services
from vpspanel.servers.addresses import buy_primary_ip, unassign_primary_ip
from vpspanel.servers.isos import attach_iso, detach_iso
from vpspanel.servers.models import Server
from vpspanel.servers.rescue import enable_rescue
from vpspanel.servers.resizing import change_type
from vpspanel.servers.restarts import start_due
from vpspanel.servers.snapshots import create_image
from vpspanel.servers.suspending import suspend_server, unsuspend_server

__all__ = ["kvm_host", "real"]

pytestmark = pytest.mark.qemu


def shell_of(host: KvmHost, key: Path, server: Server) -> Shell:
    """Root's shell in the guest of one server."""
    return Shell(host, key, server.primary_ips.get(address__family=4).address.address)


@pytest.fixture
def tiny(real: World) -> Image:
    """The tiny system in the place of the world's first image."""
    cache = Path(os.environ.get("VPSPANEL_IMAGES", settings.BASE_DIR / "var" / "images"))
    built = build_tiny(cache)
    name = f"{built.sha256}.qcow2"
    shutil.copy(built.path, Path(settings.IMAGE_DIR) / name)
    image = real.images[0]
    image.sha256, image.file = built.sha256, name
    image.size_bytes = built.path.stat().st_size
    image.virtual_size_bytes = inspect_image(built.path).virtual_size_bytes
    image.save()
    return image


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path


@pytest.fixture
def key(real: World, key_file: Path) -> SSHKey:
    public = key_file.with_suffix(".pub").read_text()
    return add_ssh_key(real.alice, project=real.project, name="test", public_key=public)


def finish(action: Action, seconds: float = 120) -> None:
    """Work until it has succeeded."""
    until = time.monotonic() + seconds
    while True:
        due_now()
        work()
        action.refresh_from_db()
        if not action.is_open:
            break
        assert time.monotonic() < until, action.detail
        time.sleep(0.5)
    assert action.state == "success", action.error_detail


@pytest.fixture
def do(real: World) -> Callable[[Callable[..., Action], Server], None]:
    """Does a verb to a server, as Alice."""
    return lambda verb, server: finish(verb(real.alice, server.pk))


def test_rescue_a_larger_plan_and_a_snapshot(
    real: World,
    tiny: Image,
    key: SSHKey,
    key_file: Path,
    kvm_host: KvmHost,
    do: Callable[[Callable[..., Action], Server], None],
) -> None:
    server = real.running("web", ssh_keys=[key])
    shell = shell_of(kvm_host, key_file, server)
    shell.wait_for("web")
    shell.run("echo kept > /root/marker && sync")

    finish(enable_rescue(real.alice, server.pk, ssh_keys=[key]).action)
    assert shell.run("hostname") == "web"
    do(services.reset, server)
    shell.wait_for("rescue")
    assert {"vda", "vdb", "vdb1"} <= set(shell.run("cat /proc/partitions").split())
    assert "/dev/vdb" not in shell.run("cat /proc/mounts")
    assert shell.run("mount /dev/vdb1 /mnt && cat /mnt/root/marker; umount /mnt") == "kept"
    assert_clean()

    do(services.reboot, server)
    shell.wait_for("web")
    assert shell.run("cat /root/marker") == "kept"
    assert_clean()

    assert has_private_screen(kvm_host, server)
    do(services.power_off, server)
    large = make_plan(real, "large", vcpus=2, memory_mib=256, disk_gib=3)
    finish(change_type(real.alice, server.pk, server_type=large, keep_disk=False))
    do(services.power_on, server)
    shell.wait_for("web")
    assert shell.run("nproc") == "2"
    assert int(shell.run("cat /sys/block/vda/size")) * 512 == 3 * 1024**3
    assert int(shell.run("awk '/MemTotal/ { print $2 }' /proc/meminfo")) > 200_000
    assert shell.run("cat /root/marker") == "kept"
    assert has_private_screen(kvm_host, server)
    assert_clean()

    do(services.power_off, server)
    made = create_image(real.alice, server.pk)
    finish(made.action)
    image = Image.objects.get(pk=made.image.pk)
    assert inspect_image(image_path(image)).virtual_size_bytes == 3 * 1024**3
    assert image.size_bytes < 200 * 1024**2
    do(services.delete, server)
    twin = real.running("twin", image=image, server_type=large, ssh_keys=[key])
    shell = shell_of(kvm_host, key_file, twin)
    shell.wait_for("twin")
    assert shell.run("cat /root/marker") == "kept"
    do(services.delete, twin)
    assert_clean()


def test_a_guest_gets_another_address_and_keeps_the_rest(
    real: World,
    tiny: Image,
    key: SSHKey,
    key_file: Path,
    kvm_host: KvmHost,
    do: Callable[[Callable[..., Action], Server], None],
) -> None:
    server = real.running("web", ssh_keys=[key])
    first = shell_of(kvm_host, key_file, server)
    first.wait_for("web")
    first.run("echo kept > /root/marker && sync")
    do(services.power_off, server)
    old = server.primary_ips.get(address__family=4)
    finish(unassign_primary_ip(real.alice, old.pk))
    bought = buy_primary_ip(
        real.alice, project=real.project, name="new", family=Family.V4, server_id=server.pk
    )
    assert bought.action is not None
    finish(bought.action)
    do(services.power_on, server)
    second = shell_of(kvm_host, key_file, server)
    second.wait_for("web")
    addresses = second.run("ip -o addr show dev eth0")
    assert f"{bought.ip}/24" in addresses
    assert f"{old}/" not in addresses
    assert second.run("cat /root/marker") == "kept"
    # Not even by its own root does it speak with the address that it has lost.
    second.run(f"ip addr add {old}/24 dev eth0")
    assert first.says() == ""
    assert second.says() == "web"
    do(services.delete, server)
    assert_clean()


# Writes what follows it to the first serial port, and halts.
SAYS = bytes.fromhex("e800005e83c6132eac84c07406baf803eeebf4f4ebfd")


def test_a_guest_boots_from_an_iso_and_then_from_its_disk(
    real: World,
    tiny: Image,
    key: SSHKey,
    key_file: Path,
    kvm_host: KvmHost,
    do: Callable[[Callable[..., Action], Server], None],
) -> None:
    server = real.running("web", ssh_keys=[key], start=False)
    iso = make_iso(content=iso_file(SAYS + b"Booted from the ISO.\0"))
    finish(attach_iso(real.alice, server.pk, iso))
    do(services.power_on, server)
    driver, until = driver_for(kvm_host.uri), time.monotonic() + ANSWERS_WITHIN
    while b"Booted from the ISO." not in driver.serial_log(server.uuid, 100_000):
        assert time.monotonic() < until, driver.serial_log(server.uuid, 100_000)
        time.sleep(0.5)
    assert_clean()
    do(detach_iso, server)
    do(services.reset, server)
    shell = shell_of(kvm_host, key_file, server)
    shell.wait_for("web")
    assert "sr0" not in shell.run("cat /proc/partitions")
    assert "cdrom" not in kvm_host.exec("virsh", "dumpxml", str(server.uuid))
    do(services.delete, server)
    assert_clean()


def has_private_screen(host: KvmHost, server: Server) -> bool:
    """Whether the guest's screen is a UNIX socket, which somebody else cannot reach."""
    described = host.exec("virsh", "dumpxml", str(server.uuid))
    return "<listen type='socket'" in described


def test_a_suspended_guest_is_shut_down_and_starts_with_what_it_had(
    real: World, kvm_host: KvmHost, tiny: Image, key: SSHKey, key_file: Path
) -> None:
    server = real.running("kept", ssh_keys=[key])
    shell = shell_of(kvm_host, key_file, server)
    shell.wait_for("kept")
    shell.run("echo mine > /root/file && sync")
    suspend_server(SYSTEM, server.pk, reason="An invoice is overdue.")
    finish(Action.objects.get(command="suspend"))
    server.refresh_from_db()
    assert (server.power_seen, server.power_wanted) == ("off", "on")
    unsuspend_server(SYSTEM, server.pk)
    assert start_due() == 1
    finish(Action.objects.get(command="power_on"))
    shell.wait_for("kept")
    assert shell.run("cat /root/file") == "mine"
    assert_clean()
