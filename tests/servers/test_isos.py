"""ISOs: in the CD-ROM of the next start, and out of it again."""

from __future__ import annotations

import hashlib
from io import BytesIO
from pathlib import Path

import pycdlib
import pytest
from django.conf import settings

from hosts.models import Image, ImageStatus, ImageType, StagedImage
from hosts.virt.errors import AlreadyExists
from hosts.virt.spec import DiskSpec, Power
from tests.audit import clean_audit
from tests.world import World, due_now, make_host, work
from vpspanel.actions.models import Action, ActionState
from vpspanel.errors import Refused
from vpspanel.servers import services
from vpspanel.servers.isos import attach_iso, detach_iso
from vpspanel.servers.models import Server
from vpspanel.servers.moving import moving_obstacles
from vpspanel.servers.rescue import enable_rescue

__all__ = ["clean_audit"]

pytestmark = [pytest.mark.both_databases, pytest.mark.usefixtures("clean_audit")]


def iso_file(boot_sector: bytes = b"", label: str = "TEST") -> bytes:
    """An ISO 9660 image; bootable (El Torito, no emulation) with a boot sector."""
    iso, out = pycdlib.PyCdlib(), BytesIO()
    iso.new(vol_ident=label)
    if boot_sector:
        iso.add_fp(BytesIO(boot_sector), len(boot_sector), "/BOOT.;1")
        iso.add_eltorito("/BOOT.;1", bootcatfile="/BOOT.CAT;1", boot_load_size=4)
    iso.write_fp(out)
    iso.close()
    return out.getvalue()


def make_iso(name: str = "installer", content: bytes | None = None) -> Image:
    """One that is available, with its file."""
    content = content or iso_file(label=name.upper())
    sha256 = hashlib.sha256(content).hexdigest()
    directory = Path(settings.IMAGE_DIR)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{sha256}.raw").write_bytes(content)
    return Image.objects.create(
        name=name,
        type=ImageType.ISO,
        description=name.title(),
        status=ImageStatus.AVAILABLE,
        sha256=sha256,
        format="raw",
        file=f"{sha256}.raw",
        size_bytes=len(content),
        virtual_size_bytes=len(content),
    )


def attached(world: World, server: Server, iso: Image) -> Action:
    return worked_on(attach_iso(world.alice, server.pk, iso))


def worked_on(action: Action) -> Action:
    work()
    action.refresh_from_db()
    return action


def cdroms(world: World, server: Server, *, live: bool = False) -> list[DiskSpec]:
    """Those of its definition, or of the guest that runs."""
    record = world.driver().guest_record(server.uuid)
    spec = record.live_spec if live else record.spec
    return [disk for disk in spec.disks if disk.cdrom]


def fresh(server: Server) -> Server:
    return Server.objects.get(pk=server.pk)


def test_the_next_start_has_it(world: World) -> None:
    server, iso = world.stopped(), make_iso()
    assert attached(world, server, iso).state == ActionState.SUCCESS
    assert fresh(server).iso == iso
    assert StagedImage.objects.filter(sha256=iso.sha256).exists()
    services.power_on(world.alice, server.pk)
    work()
    (cdrom,) = cdroms(world, server, live=True)
    assert (cdrom.volume, cdrom.boot_order, cdrom.readonly) == (iso.volume, 1, True)


@pytest.mark.parametrize("how", ["reset", "reboot"])
def test_a_running_one_gets_it_with_a_restart_by_the_panel(world: World, how: str) -> None:
    server, iso = world.running(), make_iso()
    attached(world, server, iso)
    assert cdroms(world, server)
    assert not cdroms(world, server, live=True)
    restart(world, server, how)
    assert cdroms(world, server, live=True)
    assert not fresh(server).iso_changed
    assert worked_on(detach_iso(world.alice, server.pk)).state == ActionState.SUCCESS
    assert cdroms(world, server, live=True)
    restart(world, server, how)
    assert not cdroms(world, server, live=True)
    assert fresh(server).iso is None


def restart(world: World, server: Server, how: str) -> None:
    action = worked_on(getattr(services, how)(world.alice, server.pk))
    if action.is_open:
        world.driver().guest_poweroff(server.uuid)
    for _ in range(3):
        due_now()
        work()
    action.refresh_from_db()
    assert action.state == ActionState.SUCCESS
    seen = world.driver().domain(server.uuid)
    assert seen is not None
    assert seen.power is Power.RUNNING


def test_another_takes_its_place(world: World) -> None:
    server, first, second = world.stopped(), make_iso("first"), make_iso("second")
    attached(world, server, first)
    attached(world, server, second)
    assert [disk.volume for disk in cdroms(world, server)] == [second.volume]


def test_what_fails_leaves_it_as_it_was(world: World) -> None:
    server, iso = world.stopped(), make_iso()
    world.driver().inject("define", AlreadyExists("taken"))
    action = attached(world, server, iso)
    assert (action.state, fresh(server).iso) == (ActionState.ERROR, None)
    assert not cdroms(world, server)


def test_the_rescue_system_comes_first(world: World) -> None:
    server, iso = world.stopped(), make_iso()
    attached(world, server, iso)
    enable_rescue(world.alice, server.pk)
    work()
    services.power_on(world.alice, server.pk)
    work()
    assert not cdroms(world, server, live=True)
    restart(world, server, "reset")
    assert cdroms(world, server, live=True)


def test_what_is_refused(world: World) -> None:
    server, iso = world.stopped(), make_iso()
    for actor, act, code in (
        (world.olga, lambda actor: attach_iso(actor, server.pk, iso), "forbidden"),
        (world.charlie, lambda actor: attach_iso(actor, server.pk, iso), "not_found"),
        (world.alice, lambda actor: attach_iso(actor, server.pk, world.images[0]), "invalid_input"),
        (world.alice, lambda actor: detach_iso(actor, server.pk), "conflict"),
        (world.alice, lambda actor: world.order("x", image=iso), "invalid_input"),
    ):
        with pytest.raises(Refused) as refused:
            act(actor)
        assert refused.value.code == code
    attached(world, server, iso)
    with pytest.raises(Refused, match="Detach that first"):
        services.rebuild(world.alice, server.pk, image=world.images[0])
    other = make_host(world.location)
    assert "iso" in {one.code for one in moving_obstacles(fresh(server), other)}


def test_a_deleted_server_holds_none(world: World) -> None:
    server, iso = world.stopped(), make_iso()
    attached(world, server, iso)
    services.delete(world.alice, server.pk)
    work()
    assert fresh(server).iso is None
