"""An image gets to a pool whole or not at all, and once."""

from __future__ import annotations

import hashlib
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection
from django.utils import timezone

from hosts.errors import StagingBusy
from hosts.images.errors import ImageError, ImageErrorCode
from hosts.library import image_path
from hosts.models import Image, StagedImage, StagingTurn, StoragePool
from hosts.staging import stage
from hosts.virt.errors import CallTimeout, DiskFull
from hosts.virt.fake import Fault
from tests.world import World, due_now, make_host, make_image, make_world, work
from vpspanel.actions.models import Action

SIZE = 3 * 1024 * 1024 + 17


@pytest.fixture
def world(transactional_db: None) -> World:
    return make_world()


def big_image(name: str = "big") -> Image:
    """An image of several chunks."""
    image = make_image(name)
    content = b"vpspanel" * (SIZE // 8) + b"x" * (SIZE % 8)
    image.sha256 = hashlib.sha256(content).hexdigest()
    image.file = f"{image.sha256}.qcow2"
    image.size_bytes = len(content)
    image.save()
    (Path(settings.IMAGE_DIR) / image.file).write_bytes(content)
    return image


def pool_of(world: World) -> StoragePool:
    return world.host.pools.get()


def volumes(world: World) -> list[str]:
    return [volume.name for volume in world.driver().volumes("vpspanel")]


def test_the_volume_has_the_bytes_of_the_file(world: World) -> None:
    image = big_image()
    sent: list[int] = []
    stage(world.driver(), pool_of(world), image, progress=sent.append)
    record = world.driver().volume_record("vpspanel", image.volume)
    assert record is not None
    assert (record.sha256, record.length) == (image.sha256, image.size_bytes)
    assert sent[-1] == image.size_bytes
    assert volumes(world) == [image.volume]


def test_the_second_time_nothing_is_sent(world: World) -> None:
    image = big_image()
    first = stage(world.driver(), pool_of(world), image)
    image_path(image).unlink()
    assert stage(world.driver(), pool_of(world), image) == first
    assert len(world.driver().call_log("upload_volume")) == 1


def test_each_pool_gets_a_copy(world: World) -> None:
    image, other = big_image(), make_host(world.location)
    for host in (world.host, other):
        stage(world.driver(host), host.pools.get(), image)
    assert StagedImage.objects.filter(sha256=image.sha256).count() == 2


@pytest.mark.parametrize("place", [0, SIZE // 2, SIZE - 1])
def test_a_damaged_file_stages_nothing(world: World, place: int) -> None:
    image = big_image()
    path = image_path(image)
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(ImageError, match="is damaged: its SHA-256 is") as caught:
        stage(world.driver(), pool_of(world), image)
    assert caught.value.code is ImageErrorCode.CHECKSUM_MISMATCH
    assert volumes(world) == []
    assert not StagedImage.objects.exists()


def test_a_cut_file_stages_nothing(world: World) -> None:
    image = big_image()
    path = image_path(image)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ImageError, match="ends 1 bytes early"):
        stage(world.driver(), pool_of(world), image)
    assert volumes(world) == []


@pytest.mark.parametrize("file", ["", "../secret_key", "/etc/passwd", "missing.qcow2"])
def test_only_files_of_the_image_directory_are_read(world: World, file: str) -> None:
    image = big_image()
    image.file = file
    with pytest.raises(ImageError, match="not in the image directory"):
        stage(world.driver(), pool_of(world), image)


def test_a_full_disk_stages_nothing_and_works_later(world: World) -> None:
    image = big_image()
    world.driver().inject("upload_volume", DiskFull)
    with pytest.raises(DiskFull):
        stage(world.driver(), pool_of(world), image)
    assert not StagedImage.objects.exists()
    stage(world.driver(), pool_of(world), image)
    assert volumes(world) == [image.volume]


def test_a_disk_that_fills_up_on_the_way_keeps_nothing(world: World) -> None:
    image = big_image()
    free = world.driver().pool("vpspanel").available_bytes
    world.driver().add_foreign_volume("vpspanel", "somebody's.iso", free - SIZE // 2)
    with pytest.raises(DiskFull):
        stage(world.driver(), pool_of(world), image)
    assert volumes(world) == ["somebody's.iso"]


def test_a_lost_answer_is_no_second_copy(world: World) -> None:
    image = big_image()
    world.driver().inject("upload_volume", Fault.LOST)
    with pytest.raises(CallTimeout):
        stage(world.driver(), pool_of(world), image)
    assert not StagedImage.objects.exists()
    stage(world.driver(), pool_of(world), image)
    assert volumes(world) == [image.volume]
    assert StagedImage.objects.count() == 1


def test_eight_at_once_leave_one_volume_and_one_row(world: World) -> None:
    image, pool = big_image(), pool_of(world)
    barrier, errors = threading.Barrier(8), []

    def one() -> None:
        try:
            barrier.wait()
            stage(world.driver(), pool, image)
        except StagingBusy as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # One copies; whoever comes meanwhile is told to look again.
    assert len(errors) < 8
    assert len(world.driver().call_log("upload_volume")) == 1
    assert not StagingTurn.objects.exists()
    assert volumes(world) == [image.volume]
    assert StagedImage.objects.count() == 1


def test_the_turn_of_the_dead_passes_on(world: World) -> None:
    image, pool = big_image(), pool_of(world)
    now = timezone.now()
    StagingTurn.objects.create(pool=pool, sha256=image.sha256, until=now + timedelta(seconds=9))
    with pytest.raises(StagingBusy):
        stage(world.driver(), pool, image)
    StagingTurn.objects.update(until=now - timedelta(seconds=1))
    stage(world.driver(), pool, image)
    assert volumes(world) == [image.volume]
    assert not StagingTurn.objects.exists()


def test_hosts_that_see_the_same_storage_copy_one_after_the_other(world: World) -> None:
    """Both would write to the same file."""
    image, first = big_image(), pool_of(world)
    other = make_host(world.location)
    second = other.pools.get()
    StoragePool.objects.update(shared_id="nfs1")
    for pool in (first, second):
        pool.refresh_from_db()
    refused = []

    def meanwhile(sent: int) -> None:
        with pytest.raises(StagingBusy):
            stage(world.driver(other), second, image)
        refused.append(sent)

    stage(world.driver(), first, image, progress=meanwhile)
    assert refused
    stage(world.driver(other), second, image)
    assert not StagingTurn.objects.exists()


def test_two_orders_at_once_copy_the_image_once(world: World) -> None:
    first, second = world.order("one"), world.order("two")
    StagingTurn.objects.create(
        pool=pool_of(world),
        sha256=world.images[0].sha256,
        until=timezone.now() + timedelta(seconds=50),
    )
    work()
    waiting = Action.objects.filter(pk__in=(first.action.pk, second.action.pk), state="running")
    assert {action.detail for action in waiting} == {"The image is being copied to its host"}
    StagingTurn.objects.all().delete()
    due_now()
    work()
    assert not waiting.all().exists()
    assert len(world.driver().call_log("upload_volume")) == 1
