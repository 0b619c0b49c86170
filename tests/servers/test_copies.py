"""Copies of images that nothing needs leave their hosts, and no server ever misses its base."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from hosts.errors import StagingBusy
from hosts.models import Host, HostStatus, Image, ImageType, StagedImage
from hosts.staging import stage
from hosts.virt.errors import CallTimeout
from tests.audit import assert_clean
from tests.hosts.test_staging import big_image
from tests.hosts.test_unstaging import Gap, time_passes
from tests.servers.losing import share
from tests.world import World, make_host, make_image, work
from vpspanel.actions.models import Action, ActionState
from vpspanel.errors import Refused
from vpspanel.events.actor import SYSTEM
from vpspanel.events.models import Event
from vpspanel.servers import copies, copies_steps, services
from vpspanel.servers.audit_look import Look, look_at
from vpspanel.servers.drift import look_at_host
from vpspanel.servers.housekeeping import keep_house
from vpspanel.servers.isos import attach_iso
from vpspanel.servers.models import Server

pytestmark = pytest.mark.both_databases

LATER = copies.KEPT_UNUSED + timedelta(minutes=1)


def copy_of(image: Image, host: Host | None = None) -> StagedImage:
    rows = StagedImage.objects.select_related("pool__host").filter(sha256=image.sha256)
    return rows.get(pool__host=host) if host else rows.get()


def look(world: World) -> None:
    for host in world.hosts:
        assert look_at_host(host)


def volumes(world: World, host: Host | None = None) -> set[str]:
    return {volume.name for volume in world.driver(host).volumes("vpspanel")}


def withdraw(image: Image) -> Image:
    """It is no longer offered."""
    Image.objects.filter(pk=image.pk).update(deprecated=timezone.now())
    return image


def fetched_anew(image: Image) -> str:
    """Its maker has a newer one; the name of the old volume."""
    old, newer = image.volume, make_image(f"{image.name}-newer")
    Image.objects.filter(pk=newer.pk).delete()
    Image.objects.filter(pk=image.pk).update(
        sha256=newer.sha256, file=newer.file, size_bytes=newer.size_bytes
    )
    return old


def unused_for_long(world: World) -> None:
    """Nothing has needed what is unused now for more than an hour."""
    look(world)
    StagedImage.objects.filter(unused_since__isnull=False).update(
        unused_since=timezone.now() - LATER
    )


def last_removal() -> Action:
    return Action.objects.filter(command=copies.COMMAND).latest("pk")


def gone(world: World, server: Server) -> None:
    services.delete(world.alice, server.pk)
    work()


def test_an_old_version_goes_when_its_last_server_has_gone(world: World) -> None:
    """The records do not know what it stands on, since the image was fetched anew."""
    image = world.images[0]
    server = world.running()
    old = fetched_anew(image)
    unused_for_long(world)
    staged = StagedImage.objects.get(volume=old)
    assert (staged.users, staged.unused_since) == (1, None)
    assert staged.size_bytes > 0
    keep_house()
    assert not Action.objects.filter(command=copies.COMMAND).exists()
    gone(world, server)
    look(world)
    keep_house()
    assert not Action.objects.filter(command=copies.COMMAND).exists(), "it is kept for an hour"
    unused_for_long(world)
    keep_house()
    work()
    assert last_removal().state == ActionState.SUCCESS
    assert volumes(world) == set()
    assert not StagedImage.objects.exists()
    event = Event.objects.get(kind="host.image_removed")
    assert (event.resource_type, event.resource_id, event.public) == ("host", world.host.pk, False)
    assert old in event.message
    assert_clean()


def test_what_is_offered_stays(world: World) -> None:
    gone(world, world.running())
    unused_for_long(world)
    keep_house()
    assert copy_of(world.images[0]).unused_since is None
    assert not Action.objects.filter(command=copies.COMMAND).exists()
    with pytest.raises(Refused, match="is offered"):
        copies.remove_copy(SYSTEM, copy_of(world.images[0]))


def test_why_a_copy_stays(world: World, settings: Any) -> None:
    """Each reason by itself, from the records alone."""
    image = world.images[1]
    server = world.running(image=image)
    withdraw(image)

    def why() -> str:
        (one,) = copies.shown([copy_of(image)])
        return one.why

    assert why() == "1 servers here are made from it."
    Server.objects.filter(pk=server.pk).update(image=None)
    assert why() == "Its host has not been looked at yet since it was last needed."
    look(world)
    assert why() == "1 disks or guests on its host need it."
    gone(world, server)
    look(world)
    assert why() == ""
    settings.RESCUE_IMAGE = image.name
    assert why() == f"{image.description} is offered."
    settings.RESCUE_IMAGE = "another"
    world.order("next")
    assert why() == ""
    Action.objects.filter(state=ActionState.QUEUED).update(args={"image": image.pk})
    assert why() == "An action that has not ended may need it."


def test_an_iso_stays_while_it_is_in_a_drive_or_a_guest_runs_with_it(world: World) -> None:
    iso = big_image("install")
    Image.objects.filter(pk=iso.pk).update(type=ImageType.ISO, format="raw")
    iso.refresh_from_db()
    server = world.running()
    attach_iso(world.alice, server.pk, iso)
    work()
    (one,) = copies.shown([copy_of(iso)])
    assert one.why == "1 servers here have it in their CD-ROM."
    look(world)
    assert copy_of(iso).users == 1
    Server.objects.filter(pk=server.pk).update(iso=None)
    look(world)
    assert copy_of(iso).unused_since is None


def ready(world: World) -> StagedImage:
    """A copy that nothing needs, and whose removal is queued."""
    image = withdraw(big_image())
    stage(world.driver(), world.host.pools.get(), image)
    look(world)
    copies.remove_copy(SYSTEM, copy_of(image))
    return copy_of(image)


def test_an_order_in_between_keeps_it(world: World) -> None:
    """Its action is recorded before it looks whether the image is staged."""
    staged = ready(world)
    image = Image.objects.get(sha256=staged.sha256)
    Image.objects.filter(pk=image.pk).update(deprecated=None)
    server = world.order("web", image=image).server
    Image.objects.filter(pk=image.pk).update(deprecated=timezone.now())
    work()
    removal = last_removal()
    assert (removal.state, removal.error_code) == (ActionState.ERROR, "in_use")
    assert staged.volume in volumes(world)
    assert copy_of(image).unused_since is None
    server.refresh_from_db()
    assert server.lifecycle == "active"
    assert_clean()


@pytest.mark.parametrize("call", ["volume_users", "delete_volume"])
def test_an_order_in_the_gap_gets_its_base(
    world: World, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker begins to build while another is just removing the base."""
    staged = ready(world)
    image = Image.objects.get(sha256=staged.sha256)
    ordered: list[Server] = []

    def order() -> None:
        Image.objects.filter(pk=image.pk).update(deprecated=None)
        ordered.append(world.order("web", image=image).server)
        work()
        build = Action.objects.get(command="create")
        assert (build.state, build.step) == (ActionState.RUNNING, "stage_image")

    driver = Gap(world.driver(), call, order)
    monkeypatch.setattr(copies_steps, "driver_for", lambda uri: driver)
    work()
    assert last_removal().state == ActionState.SUCCESS
    Action.objects.filter(state=ActionState.RUNNING).update(run_after=timezone.now())
    work()
    server = Server.objects.get(pk=ordered[0].pk)
    assert server.lifecycle == "active"
    assert {staged.volume, *server.volumes} <= volumes(world)
    assert_clean()


def test_a_build_whose_image_was_taken_away_stages_it_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had found the image staged, and makes its disk when the record has just gone."""
    image = world.images[0]
    stage(world.driver(), world.host.pools.get(), image)
    make = type(world.driver()).create_overlay

    def make_late(self: Any, *args: Any, **options: Any) -> None:
        make(self, *args, **options)
        if len(self.call_log("create_overlay")) == 1:
            StagedImage.objects.all().delete()

    monkeypatch.setattr(type(world.driver()), "create_overlay", make_late)
    server = world.order("web").server
    work()
    Action.objects.update(run_after=timezone.now())
    work()
    server.refresh_from_db()
    assert server.lifecycle == "active"
    assert copy_of(image).volume in volumes(world)
    assert_clean()


def test_a_silent_host_is_left_alone_and_asked_again_later(world: World) -> None:
    staged = ready(world)
    world.driver().set_reachable(False)
    for _ in range(10):
        work()
        Action.objects.filter(state=ActionState.RUNNING).update(run_after=timezone.now())
    assert last_removal().state == ActionState.ERROR
    assert StagedImage.objects.filter(sha256=staged.sha256).exists()
    world.driver().set_reachable(True)
    unused_for_long(world)
    keep_house()
    assert Action.objects.filter(command=copies.COMMAND).count() == 1, "not at once"
    Action.objects.update(finished=timezone.now() - copies.AGAIN_AFTER)
    Host.objects.update(status=HostStatus.UNREACHABLE)
    keep_house()
    assert Action.objects.filter(command=copies.COMMAND).count() == 1, "not while it is silent"
    Host.objects.update(status=HostStatus.REACHABLE)
    keep_house()
    work()
    assert last_removal().state == ActionState.SUCCESS
    assert volumes(world) == set()


def test_a_removal_of_unknown_outcome_is_found_by_the_next_look(world: World) -> None:
    staged = ready(world)
    world.driver().inject("delete_volume", CallTimeout)
    work()
    removal = last_removal()
    Action.objects.filter(pk=removal.pk).update(state=ActionState.ERROR, finished=timezone.now())
    look(world)
    assert not StagedImage.objects.exists(), "it may still be carried out"
    image = Image.objects.get(sha256=staged.sha256)
    with pytest.raises(StagingBusy):
        stage(world.driver(), world.host.pools.get(), image)
    time_passes(700)
    look(world)
    assert StagedImage.objects.filter(sha256=staged.sha256).exists()
    unused_for_long(world)
    keep_house()
    work()
    assert volumes(world) == set()
    assert not StagedImage.objects.exists()


def test_storage_of_several_hosts_is_one_place(world: World) -> None:
    """A server of the second host needs the copy that the first host's row speaks of."""
    world.hosts.append(make_host(world.location))
    share()
    image = world.images[1]
    server = world.running(image=image)
    withdraw(image)
    other = next(host for host in world.hosts if host != server.host)
    stage(world.driver(other), other.pools.get(), image)
    look(world)
    rows = list(StagedImage.objects.select_related("pool__host"))
    assert len(rows) == 2
    assert {one.why for one in copies.shown(rows)} == {"1 servers here are made from it."}


def test_noting_and_listing_take_as_many_queries_however_much_there_is(world: World) -> None:
    def queries(deed: Callable[[], object]) -> int:
        with CaptureQueriesContext(connection) as seen:
            deed()
        return len(seen)

    def count() -> tuple[int, int]:
        rows = list(StagedImage.objects.select_related("pool__host"))
        looked = look_at(world.host, timezone.now())
        assert isinstance(looked, Look)
        return queries(lambda: copies.shown(rows)), queries(lambda: copies.note_copies(looked))

    world.running("first")
    before = count()
    for number in range(3):
        image = make_image(f"more-{number}")
        world.running(f"server-{number}", image=image)
        withdraw(image)
    assert StagedImage.objects.count() == 4
    assert count() == before


# --- what staff see and do --------------------------------------------------------
