"""A base image leaves a storage only if nothing needs it, whatever comes in between."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from hosts.errors import StagingBusy
from hosts.models import Host, Image, StagedImage, StagingTurn
from hosts.staging import create_overlay, stage
from hosts.turns import REMOVAL_SECONDS, TURN_SECONDS
from hosts.unstaging import adopt_leftovers, unstage
from hosts.virt.errors import CallTimeout, HostUnreachable, NotFound
from hosts.virt.fake import FakeDriver, Fault
from tests.hosts.test_staging import big_image, pool_of, volumes
from tests.servers.losing import share
from tests.world import GIB, World, make_host, make_world

pytestmark = pytest.mark.both_databases


@pytest.fixture
def world(transactional_db: None) -> World:
    return make_world()


@pytest.fixture
def image(world: World) -> Image:
    """It lies on the first host."""
    image = big_image()
    stage(world.driver(), pool_of(world), image)
    return image


class Gap:
    """A host at which somebody does something just before a call."""

    def __init__(self, driver: FakeDriver, call: str, deed: Callable[[], object]) -> None:
        self._driver, self._call, self._deed = driver, call, deed

    def __getattr__(self, name: str) -> Any:
        if name == self._call:
            self._call = ""
            self._deed()
        return getattr(self._driver, name)


def remove(
    world: World,
    image: Image,
    *,
    gap: str = "",
    deed: Callable[[], object] = bool,
    needed: Callable[[], str] = str,
) -> str:
    def driver_of(host: Host) -> Any:
        return Gap(world.driver(host), gap, deed)

    return unstage(driver_of, pool_of(world), image.sha256, image.volume, needed=needed)


def build(world: World, image: Image) -> None:
    """What a build does once it has found the image staged."""
    create_overlay(world.driver(), pool_of(world), image, "disk", capacity_bytes=GIB)


def is_recorded(image: Image) -> bool:
    return StagedImage.objects.filter(sha256=image.sha256).exists()


def time_passes(seconds: float) -> None:
    for turn in StagingTurn.objects.all():
        turn.until -= timedelta(seconds=seconds)
        turn.save()


def test_what_nothing_needs_is_gone(world: World, image: Image) -> None:
    world.driver().add_foreign_volume("vpspanel", "somebody's.iso", GIB)
    assert remove(world, image) == ""
    assert volumes(world) == ["somebody's.iso"]
    assert not is_recorded(image)
    assert not StagingTurn.objects.exists()
    assert remove(world, image) == "", "the second time there is nothing to do"
    stage(world.driver(), pool_of(world), image)
    assert image.volume in volumes(world)


def test_what_a_disk_stands_on_stays(world: World, image: Image) -> None:
    build(world, image)
    assert remove(world, image) == f"disk on {world.host} need it."
    assert volumes(world) == ["disk", image.volume]
    assert is_recorded(image)
    assert not StagingTurn.objects.exists()


def test_what_the_records_need_stays_without_asking_the_host(world: World, image: Image) -> None:
    assert remove(world, image, needed=lambda: "It is offered.") == "It is offered."
    assert is_recorded(image)
    assert world.driver().call_log("volume_users") == []
    assert world.driver().call_log("delete_volume") == []


def test_the_records_are_asked_when_nobody_can_build_on_it_any_more(
    world: World, image: Image
) -> None:
    """Whoever found it staged had recorded itself before."""
    seen: list[bool] = []
    remove(world, image, needed=lambda: seen.append(is_recorded(image)) or "")  # type: ignore[func-returns-value]
    assert seen == [False]


@pytest.mark.parametrize("gap", ["volume_users", "delete_volume"])
def test_a_build_in_the_gap_waits_and_stages_anew(world: World, image: Image, gap: str) -> None:
    """It had found the image staged before, or looks only now."""
    met: list[type] = []

    def come_in_between() -> None:
        for deed in (build, lambda *_: stage(world.driver(), pool_of(world), image)):
            try:
                deed(world, image)
            except (NotFound, StagingBusy) as error:
                met.append(type(error))

    assert remove(world, image, gap=gap, deed=come_in_between) == ""
    assert met == [NotFound, StagingBusy]
    assert volumes(world) == [], "no disk without its base"
    stage(world.driver(), pool_of(world), image)
    build(world, image)
    assert volumes(world) == ["disk", image.volume]


def test_a_disk_made_just_before_the_host_is_asked_keeps_it(world: World, image: Image) -> None:
    """The build has made its disk, and has not yet looked whether the image is still recorded."""

    def lay() -> None:
        driver = world.driver()
        driver.create_overlay("vpspanel", "disk", base=image.volume, capacity_bytes=GIB)

    assert remove(world, image, gap="volume_users", deed=lay).startswith("disk")
    build(world, image)
    assert volumes(world) == ["disk", image.volume]


def test_a_silent_host_keeps_it(world: World, image: Image) -> None:
    world.driver().inject("volume_users", HostUnreachable)
    with pytest.raises(HostUnreachable):
        remove(world, image)
    assert is_recorded(image)
    assert not StagingTurn.objects.exists()


def test_whose_turn_was_lost_removes_nothing(world: World, image: Image) -> None:
    """Somebody took over while this one was stopped: what is recorded is up to him."""

    def lose_it() -> None:
        StagingTurn.objects.update(until=timezone.now() + timedelta(seconds=50))

    with pytest.raises(StagingBusy):
        remove(world, image, gap="volume_users", deed=lose_it)
    assert volumes(world) == [image.volume]
    assert world.driver().call_log("delete_volume") == []
    assert StagingTurn.objects.count() == 1


@pytest.mark.parametrize("fault", [Fault.LOST, CallTimeout], ids=["done", "not done"])
def test_nobody_brings_it_back_while_a_removal_may_still_be_carried_out(
    world: World, image: Image, fault: Any
) -> None:
    pool = pool_of(world)
    world.driver().inject("delete_volume", fault)
    with pytest.raises(CallTimeout):
        remove(world, image)
    assert not is_recorded(image)
    for passed in (TURN_SECONDS * 2, REMOVAL_SECONDS - TURN_SECONDS * 3):
        time_passes(passed)
        assert adopt_leftovers(pool, volumes(world), timezone.now()) == 0
        with pytest.raises(StagingBusy):
            stage(world.driver(), pool, image)
    time_passes(TURN_SECONDS * 2)
    stage(world.driver(), pool, image)
    build(world, image)
    assert set(volumes(world)) == {"disk", image.volume}
    assert not StagingTurn.objects.exists()


@pytest.mark.parametrize("fault", [Fault.LOST, CallTimeout], ids=["done", "not done"])
def test_what_a_removal_left_is_recorded_again(world: World, image: Image, fault: Any) -> None:
    pool, before = pool_of(world), timezone.now() - timedelta(seconds=1)
    world.driver().inject("delete_volume", fault)
    with pytest.raises(CallTimeout):
        remove(world, image)
    time_passes(REMOVAL_SECONDS)
    assert adopt_leftovers(pool, volumes(world), before) == 0, "that look was before its end"
    left = adopt_leftovers(pool, volumes(world), timezone.now())
    assert left == (fault is CallTimeout)
    assert is_recorded(image) == (image.volume in volumes(world))
    assert not StagingTurn.objects.exists()


@pytest.fixture
def other(world: World, image: Image) -> Host:
    """Another host that sees the same storage."""
    other = make_host(world.location)
    stage(world.driver(other), other.pools.get(), image)
    share()
    return other


def test_storage_of_several_hosts_is_cleared_for_all(
    world: World, image: Image, other: Host
) -> None:
    assert StagedImage.objects.count() == 2
    assert remove(world, image) == ""
    assert not is_recorded(image)


def test_a_disk_that_another_host_shows_keeps_it_for_all(
    world: World, image: Image, other: Host
) -> None:
    world.driver(other).create_overlay("vpspanel", "disk", base=image.volume, capacity_bytes=GIB)
    assert remove(world, image) == f"disk on {other} need it."
    assert StagedImage.objects.count() == 2
    world.driver(other).set_reachable(False)
    with pytest.raises(HostUnreachable):
        remove(world, image)
    assert StagedImage.objects.count() == 2
    assert image.volume in volumes(world)


def test_hosts_that_share_storage_take_turns(world: World, image: Image, other: Host) -> None:
    """One brings the image there while another does: the files would be the same one."""
    StagedImage.objects.all().delete()
    for host in (world.host, other):
        world.driver(host).delete_volume("vpspanel", image.volume)
    refused: list[StagingBusy] = []

    def from_the_other(sent: int) -> None:
        try:
            stage(world.driver(other), other.pools.get(), image)
        except StagingBusy as error:
            refused.append(error)

    stage(world.driver(), pool_of(world), image, progress=from_the_other)
    assert refused
    assert StagedImage.objects.count() == 1
    assert not StagingTurn.objects.exists()
