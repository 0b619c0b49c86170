"""The steps that get a rescue system ready beside a server, and take it away again."""

from __future__ import annotations

from collections.abc import Sequence

from django.utils import timezone

from hosts.models import Image
from hosts.virt.seed import build_seed
from vpspanel.actions.command import Context, Outcome
from vpspanel.actions.errors import Fail
from vpspanel.actions.models import Action
from vpspanel.servers.blueprint import SEED_BYTES
from vpspanel.servers.booting import delete_rescue_volumes
from vpspanel.servers.models import Server
from vpspanel.servers.site import PATIENCE, Site, host_answers, site_of
from vpspanel.servers.steps import create_disk_on_image, stage_on_pool


def stage_rescue_image(context: Context) -> Outcome:
    """The rescue system lies on the pool of the server."""
    site = site_of(context)
    stage_on_pool(site, _image(context))
    return Outcome()


def create_rescue_disk(context: Context) -> Outcome:
    """A fresh overlay on the rescue system: what an earlier rescue left is not used again."""
    site, image = site_of(context), _image(context)
    disk, _ = site.server.rescue_volumes
    with host_answers():
        site.driver.delete_volume(site.server.pool, disk)
    create_disk_on_image(site, image, disk, capacity_bytes=image.virtual_size_bytes)
    return Outcome()


def create_rescue_seed(context: Context) -> Outcome:
    """The seed of the rescue system: from here on the next start boots it."""
    site = site_of(context)
    keys = context.action.args["authorized_keys"]
    _write_seed(site, keys, site.server.rescue_password_hash)
    now = timezone.now()
    return Outcome(commit=lambda: site.change(rescue_enabled=True, rescue_enabled_at=now))


def scrub_rescue_seed(context: Context) -> Outcome:
    """The seed of a rescue system that has booted holds no password any more.

    Nobody asked for it, so it does not wait for a silent host with the server locked.
    """
    site = site_of(context)
    _write_seed(site, [], "", patience=None)
    return Outcome(commit=lambda: site.change(rescue_password_hash=""))


def delete_rescue(context: Context) -> None:
    """Undo of `create_rescue_disk` and `create_rescue_seed`."""
    site = site_of(context)
    with host_answers():
        delete_rescue_volumes(site)


def remove_rescue(context: Context) -> Outcome:
    """The next start boots its own system, and nothing is left of the rescue system."""
    site = site_of(context)
    with host_answers():
        delete_rescue_volumes(site)

    def commit() -> None:
        site.change(rescue_enabled=False, rescue_password_sealed=b"", rescue_password_hash="")

    return Outcome(commit=commit)


def forget_rescue_password(action: Action) -> None:
    """The rescue system was not got ready: its password never came into use."""
    Server.objects.filter(pk=action.resource_id).update(
        rescue_password_sealed=b"", rescue_password_hash=""
    )


def _write_seed(
    site: Site, keys: Sequence[str], password_hash: str, *, patience: float | None = PATIENCE
) -> None:
    files = site.blueprint().rescue_seed_files(keys, password_hash)
    with host_answers(patience=patience):
        site.driver.write_volume(
            site.server.pool,
            site.server.rescue_volumes[1],
            build_seed(files),
            capacity_bytes=SEED_BYTES,
        )


def _image(context: Context) -> Image:
    image = Image.objects.filter(pk=context.action.args["image"]).first()
    if image is None:
        raise Fail("image_gone", "The rescue system is no longer available.")
    return image
