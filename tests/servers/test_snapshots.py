"""Snapshots: of what, by whom, where they end up, and that only their project has them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from django.conf import settings

from hosts.images.errors import ImageError, ImageErrorCode
from hosts.library import image_path, is_usable
from hosts.models import Image, ImageStatus, ImageType
from hosts.virt.errors import VirtError
from tests.audit import clean_audit
from tests.world import GIB, World, due_now, make_host, make_plan, work
from vpspanel.accounts.models import Member, Project, Role
from vpspanel.actions.models import ActionState
from vpspanel.errors import NotFound, Refused
from vpspanel.events.models import Event
from vpspanel.servers import services, snapshots
from vpspanel.servers.images import image_owner, usable_images, visible_images
from vpspanel.servers.models import Server
from vpspanel.servers.snapshots import (
    change_image,
    change_image_protection,
    create_image,
    delete_image,
)

__all__ = ["clean_audit"]

pytestmark = [pytest.mark.both_databases, pytest.mark.usefixtures("clean_audit")]


def snapshot(world: World, server: Server) -> Image:
    """One that is done."""
    made = create_image(world.alice, server.pk, description="before the upgrade")
    work()
    made.action.refresh_from_db()
    assert made.action.state == ActionState.SUCCESS, made.action.error_detail
    made.image.refresh_from_db()
    return made.image


def copies(world: World) -> list[str]:
    """What is left of copying on the host."""
    return [v.name for v in world.driver().volumes("vpspanel") if v.name.endswith("-copy.qcow2")]


def fail(world: World) -> None:
    for _ in range(6):
        due_now()
        work()


def test_a_snapshot_is_an_image_of_the_project(world: World) -> None:
    server = world.stopped()
    made = create_image(world.alice, server.pk, description=" before  it ", labels={"env": "x"})
    assert (made.image.status, made.image.type) == (ImageStatus.CREATING, ImageType.SNAPSHOT)
    work()
    image = Image.objects.get(pk=made.image.pk)
    assert (image.status, image.description, image.labels) == (
        ImageStatus.AVAILABLE,
        "before it",
        {"env": "x"},
    )
    assert (image.owner, image.created_from_id, image.created_from_name) == (
        image_owner(world.project.pk),
        server.pk,
        "web",
    )
    assert (image.min_disk_gib, image.virtual_size_bytes) == (server.disk_gib, GIB)
    assert is_usable(image)
    assert hashlib.sha256(image_path(image).read_bytes()).hexdigest() == image.sha256
    assert image_path(image).stat().st_mode & 0o077 == 0
    assert copies(world) == []
    assert list((Path(settings.IMAGE_DIR) / "drafts").glob(f"{Path(image.file).stem}*")) == []
    event = Event.objects.get(kind="server.create_image")
    assert event.message == "Snapshot requested: before it"


def test_servers_are_made_of_it_on_every_host(world: World) -> None:
    image = snapshot(world, world.stopped())
    other = make_host(world.location)
    world.hosts.append(other)
    type(other).objects.filter(pk=world.host.pk).update(accepting=False)
    twin = world.running("twin", image=image)
    assert (twin.host, twin.image) == (other, image)
    assert image.volume in {v.name for v in world.driver(other).volumes("vpspanel")}
    type(other).objects.update(accepting=True)


def test_its_server_is_rebuilt_with_it(world: World) -> None:
    server = world.stopped()
    image = snapshot(world, server)
    services.rebuild(world.alice, server.pk, image=image)
    work()
    server.refresh_from_db()
    assert (server.image, server.disk_generation) == (image, 2)


def test_a_plan_that_is_too_small_is_refused(world: World) -> None:
    large = make_plan(world, "large", vcpus=2, memory_mib=256, disk_gib=3)
    image = snapshot(world, world.stopped(server_type=large))
    with pytest.raises(Refused, match="3 GiB of disk"):
        world.order("small", image=image)


def test_only_while_it_is_off(world: World) -> None:
    server = world.running()
    with pytest.raises(Refused, match="Shut it down first") as refused:
        create_image(world.alice, server.pk)
    assert refused.value.code == "server_not_stopped"
    assert not Image.objects.filter(type=ImageType.SNAPSHOT).exists()


def test_started_behind_our_back(world: World) -> None:
    server = world.stopped()
    made = create_image(world.alice, server.pk)
    world.driver().outside_start(server.uuid)
    work()
    made.action.refresh_from_db()
    assert made.action.error_code == "server_not_stopped"
    assert not Image.objects.filter(pk=made.image.pk).exists()


def test_to_another_project_it_does_not_exist(world: World) -> None:
    image = snapshot(world, world.stopped())
    theirs = Project.objects.get(members__user=world.charlie.user)
    for act in (
        lambda: world.order("x", actor=world.charlie, project=theirs, image=image),
        lambda: delete_image(world.charlie, image.pk),
        lambda: change_image(world.charlie, image.pk, description="mine"),
        lambda: change_image_protection(world.charlie, image.pk, delete=True),
        lambda: delete_image(world.alice, world.images[0].pk),  # of the catalogue
        lambda: delete_image(world.alice, 10**6),
    ):
        with pytest.raises(NotFound):
            act()
    assert image in usable_images(world.project.pk)
    assert image not in usable_images(theirs.pk)
    assert image in visible_images(world.bob)
    assert image not in visible_images(world.charlie)


def test_not_even_to_the_same_people(world: World) -> None:
    """Whoever is in both projects can use it in its own only."""
    image = snapshot(world, world.stopped())
    second = Project.objects.create(account=world.project.account, name="Second")
    assert world.alice.user is not None
    Member.objects.create(project=second, user=world.alice.user, role=Role.OWNER)
    with pytest.raises(NotFound):
        world.order("x", project=second, image=image)


def test_roles(world: World) -> None:
    server = world.stopped()
    image = snapshot(world, server)
    for act in (
        lambda: create_image(world.olga, server.pk),
        lambda: delete_image(world.olga, image.pk),
        lambda: change_image(world.bob, image.pk, description="x"),
    ):
        with pytest.raises(Refused) as refused:
            act()
        assert refused.value.code == "forbidden"


def test_protected_and_deleted(world: World) -> None:
    server = world.stopped()
    image = snapshot(world, server)
    twin = world.running("twin", image=image)
    file = image_path(image)
    change_image_protection(world.alice, image.pk, delete=True)
    with pytest.raises(Refused) as refused:
        delete_image(world.alice, image.pk)
    assert refused.value.code == "protected"
    change_image_protection(world.alice, image.pk, delete=False)
    delete_image(world.alice, image.pk)
    assert not file.exists()
    assert not Image.objects.filter(pk=image.pk).exists()
    twin.refresh_from_db()
    assert twin.image is None
    services.reset(world.alice, twin.pk)
    work()
    assert Event.objects.filter(kind="image.deleted", resource_id=image.pk).exists()


def test_not_deleted_while_it_is_made(world: World) -> None:
    made = create_image(world.alice, world.stopped().pk)
    with pytest.raises(Refused, match="still being made"):
        delete_image(world.alice, made.image.pk)
    with pytest.raises(Refused, match="not available yet"):
        world.order("early", image=made.image)
    work()


def test_described_anew(world: World) -> None:
    image = snapshot(world, world.stopped())
    changed = change_image(world.alice, image.pk, description="other", labels={"a": "b"})
    assert (changed.description, changed.labels) == ("other", {"a": "b"})
    for wrong in ("", "x" * 201, "a\x00b"):
        with pytest.raises(Refused) as refused:
            change_image(world.alice, image.pk, description=wrong)
        assert refused.value.field == "description"
    with pytest.raises(Refused):
        change_image(world.alice, image.pk, labels={"-": "b"})


def test_a_project_has_its_limit(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "PER_PROJECT", 1)
    server = world.stopped()
    image = snapshot(world, server)
    with pytest.raises(Refused) as refused:
        create_image(world.alice, server.pk)
    assert refused.value.code == "resource_limit_exceeded"
    delete_image(world.alice, image.pk)
    snapshot(world, server)


@pytest.mark.parametrize("call", ["flatten_volume", "download_volume"])
def test_a_failure_leaves_nothing(world: World, call: str) -> None:
    server = world.stopped()
    world.driver().inject(call, VirtError("broken"), times=5)
    made = create_image(world.alice, server.pk)
    fail(world)
    made.action.refresh_from_db()
    assert made.action.state == ActionState.ERROR
    assert not Image.objects.filter(pk=made.image.pk).exists()
    assert copies(world) == []
    assert not (Path(settings.IMAGE_DIR) / made.action.args["file"]).exists()


def test_cancelled_before_it_began(world: World) -> None:
    made = create_image(world.alice, world.stopped().pk)
    services.cancel_action(world.alice, made.action.pk)
    assert not Image.objects.filter(pk=made.image.pk).exists()


def test_no_room_in_the_library(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hosts.private_images.SPARE_BYTES", 2**62)
    made = create_image(world.alice, world.stopped().pk)
    work()
    made.action.refresh_from_db()
    assert made.action.error_code == "library_full"
    assert copies(world) == []


def test_no_room_on_its_host(world: World) -> None:
    server = world.stopped()
    free = world.driver().pool("vpspanel").available_bytes
    world.driver().add_foreign_volume("vpspanel", "filler", free - GIB)
    made = create_image(world.alice, server.pk)
    work()
    made.action.refresh_from_db()
    assert (made.action.state, made.action.error_code) == (ActionState.ERROR, "disk_full")
    world.driver().delete_volume("vpspanel", "filler")


def test_a_copy_that_is_no_image_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is taken on trust, not even from a host of ours."""

    def refuse(*_: object, **__: object) -> None:
        raise ImageError(ImageErrorCode.BACKING_FILE, "it names /etc/passwd")

    monkeypatch.setattr("hosts.private_images.inspect_image", refuse)
    made = create_image(world.alice, world.stopped().pk)
    work()
    made.action.refresh_from_db()
    assert made.action.error_code == "image_unusable"
    assert "/etc/passwd" not in made.action.error_message
    assert not Image.objects.filter(pk=made.image.pk).exists()


def test_a_copy_that_is_still_being_written_is_waited_for(world: World) -> None:
    server = world.stopped()
    busy = VirtError("still being allocated", code="resource_busy", retryable=True)
    world.driver().inject("delete_volume", busy, times=1)
    made = create_image(world.alice, server.pk)
    work()
    made.action.refresh_from_db()
    assert (made.action.state, made.action.detail) == (
        ActionState.RUNNING,
        "An earlier copy is being ended",
    )
    due_now()
    work()
    made.action.refresh_from_db()
    assert made.action.state == ActionState.SUCCESS
