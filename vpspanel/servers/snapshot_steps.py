"""The steps of a snapshot: a flat copy beside the disk, into the library, the copy gone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from hosts.errors import LibraryFull
from hosts.images.errors import ImageError
from hosts.models import GIB, Image, ImageStatus
from hosts.private_images import forget_file, keep_volume
from hosts.virt.errors import VirtError
from vpspanel.actions.command import Context, Outcome
from vpspanel.actions.errors import Fail, Wait
from vpspanel.actions.models import Action
from vpspanel.servers.site import Site, host_answers, need_off, site_of

SPARE_BYTES = GIB  # what a copy leaves free on the pool for the disks of others
BUSY = "resource_busy"
LOOK_AGAIN = 5.0  # seconds


def copy_disk(context: Context) -> Outcome:
    """A flat copy of the disk of a guest that is off lies beside it."""
    site = site_of(context)
    server = site.server
    with host_answers(), _unless_being_written():
        need_off(site)
        site.driver.delete_volume(server.pool, server.copy_volume)
        size = _size_of_copy(site)

        def say(written: int) -> None:
            context.progress(written * 50 // max(1, size), "Copying the disk")

        site.driver.flatten_volume(
            server.pool, server.copy_volume, source=server.disk_volume(), progress=say
        )
    return Outcome()


def _size_of_copy(site: Site) -> int:
    """At most what the disk and its base take. Raises `Fail` if the pool has no room for it."""
    server = site.server
    volumes = {volume.name: volume for volume in site.driver.volumes(server.pool)}
    disk = volumes.get(server.disk_volume())
    if disk is None:
        raise Fail("disk_missing", "Its disk is missing. Our staff has to look at it.")
    base = volumes.get(server.image.volume) if server.image is not None else None
    taken = disk.allocation_bytes + (base.allocation_bytes if base is not None else 0)
    size = min(taken, disk.capacity_bytes)
    if site.driver.pool(server.pool).available_bytes - size < SPARE_BYTES:
        raise Fail("disk_full", "Its host has no room for a copy at the moment.")
    return size


def fetch_copy(context: Context) -> Outcome:
    """The library holds the copy: from here on the image can be used."""
    site, args = site_of(context), context.action.args
    server = site.server
    with host_answers():
        copies = [v for v in site.driver.volumes(server.pool) if v.name == server.copy_volume]
        size = copies[0].allocation_bytes if copies else 0

        def say(received: int) -> None:
            context.progress(50 + received * 50 // max(1, size), "Fetching the copy")

        try:
            facts = keep_volume(
                site.driver,
                server.pool,
                server.copy_volume,
                args["file"],
                size_bytes=size,
                progress=say,
            )
        except LibraryFull as error:
            sentence = "There is no room for another image at the moment."
            raise Fail(error.code, sentence, detail=str(error)) from error
        except ImageError as error:
            sentence = "The copy of its disk cannot be used as an image."
            raise Fail("image_unusable", sentence, detail=str(error)) from error

    def commit() -> None:
        Image.objects.filter(pk=args["image"]).update(**facts)

    return Outcome(commit=commit)


def delete_copy(context: Context) -> Outcome:
    """The copy beside the disk is gone."""
    drop_copy(context)
    return Outcome()


def drop_copy(context: Context) -> None:
    """Undo of `copy_disk`."""
    site = site_of(context)
    with host_answers(), _unless_being_written():
        site.driver.delete_volume(site.server.pool, site.server.copy_volume)


def drop_file(context: Context) -> None:
    """Undo of `fetch_copy`: the library has nothing of it."""
    forget_file(context.action.args["file"])


def forget_image(action: Action) -> None:
    """The snapshot failed: its image was never there."""
    Image.objects.filter(pk=action.args["image"], status=ImageStatus.CREATING).delete()


@contextlib.contextmanager
def _unless_being_written() -> Iterator[None]:
    """Wait for a host that still writes what a worker asked for that is gone by now."""
    try:
        yield
    except VirtError as error:
        if error.code != BUSY:
            raise
        raise Wait(LOOK_AGAIN, "An earlier copy is being ended") from None
