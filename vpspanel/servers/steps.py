"""The named steps of the commands. Each is safe to run twice; `commands.py` puts them in order.

A step looks before it acts wherever a repetition could do harm, and changes
rows only through `Outcome.commit`, inside the fenced transaction that records it.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

from django.utils import timezone

from hosts.errors import StagingBusy
from hosts.images.errors import ImageError
from hosts.models import GIB, Image, StagedImage
from hosts.staging import create_overlay, stage
from hosts.virt.errors import AgentUnavailable, ForeignObject, NotFound
from hosts.virt.seed import build_seed
from vpspanel.actions.command import Context, Outcome
from vpspanel.actions.errors import Fail, Retry, Wait
from vpspanel.events.services import record_event
from vpspanel.sealing import unseal
from vpspanel.servers.blueprint import SEED_BYTES, Secrets
from vpspanel.servers.booting import define_wanted
from vpspanel.servers.site import PATIENCE, Site, host_answers, planned_site_of, site_of

# --- disks ------------------------------------------------------------------


def stage_image(context: Context) -> Outcome:
    """The image lies on the pool of the server."""
    _stage(site_of(context))
    return Outcome()


def stage_new_image(context: Context) -> Outcome:
    """The image of the rebuild lies on the pool of the server."""
    _stage(planned_site_of(context))
    return Outcome()


def _stage(site: Site) -> None:
    stage_on_pool(site, site.image())


def stage_on_pool(site: Site, image: Image) -> None:
    """The image lies on the pool of the server."""
    pool = site.pool()

    def say(sent: int) -> None:
        site.context.progress(sent * 100 // max(1, image.size_bytes), "Copying the image")

    try:
        with host_answers():
            stage(site.driver, pool, image, progress=say)
    except StagingBusy:
        raise Wait(1.0, "The image is being copied to its host") from None
    except ImageError as error:
        sentence = "This image cannot be used at the moment. Please choose another."
        raise Fail("image_unusable", sentence, detail=str(error)) from error


def create_disk(context: Context) -> Outcome:
    """A fresh overlay on the image."""
    lay_disk(site_of(context))
    return Outcome()


def create_new_disk(context: Context) -> Outcome:
    """The disk of the rebuild, beside the old one."""
    lay_disk(planned_site_of(context))
    return Outcome()


def lay_disk(site: Site) -> None:
    """A fresh overlay on its image, as large as its plan says."""
    server, image = site.server, site.image()
    capacity = max(server.disk_gib * GIB, image.virtual_size_bytes)
    create_disk_on_image(site, image, server.disk_volume(), capacity_bytes=capacity)


def create_disk_on_image(site: Site, image: Image, name: str, *, capacity_bytes: int) -> None:
    """An overlay on the image in the pool of the server; staged again if it is gone from there."""
    pool = site.pool()
    with host_answers():
        try:
            create_overlay(site.driver, pool, image, name, capacity_bytes=capacity_bytes)
        except NotFound:
            # The records say that the image lies there, and it does not: stage it again.
            StagedImage.objects.filter(pool=pool, sha256=image.sha256).delete()
            _stage_again(site, image)


def _stage_again(site: Site, image: Image) -> None:
    stage_on_pool(site, image)
    raise Retry("image_not_staged", "The image is copied to the host again.")


def need_staged(site: Site, image: Image) -> None:
    """Called after its volume was named to the host: one that was taken away comes back first."""
    if not StagedImage.objects.filter(pool=site.pool(), sha256=image.sha256).exists():
        _stage_again(site, image)


def delete_disk(context: Context) -> None:
    """Undo of `create_disk`."""
    site = site_of(context)
    with host_answers():
        site.driver.delete_volume(site.server.pool, site.server.disk_volume())


def delete_new_disk(context: Context) -> None:
    """Undo of `create_new_disk`: the disk in use stays, whatever happened."""
    site, generation = site_of(context), context.action.args["generation"]
    if generation <= site.server.disk_generation:
        return
    with host_answers():
        site.driver.delete_volume(site.server.pool, site.server.disk_volume(generation))


def delete_all_disks(context: Context) -> Outcome:
    """Nothing of the server is left in its pool."""
    site = site_of(context)
    _delete_volumes(site, keep=())
    return Outcome()


def delete_old_disks(context: Context) -> Outcome:
    """Of all disks of the server only the one in use, its seed and a rescue to come are left."""
    site = site_of(context)
    rescue = site.server.rescue_volumes if site.server.rescue_enabled else ()
    _delete_volumes(site, keep=(*site.server.volumes, *rescue))
    if site.server.has_adopted_disk:
        return Outcome()
    # Gone: whatever gets its name from now on is somebody else's.
    return Outcome(commit=lambda: site.change(adopted_disk=""))


def _delete_volumes(site: Site, *, keep: tuple[str, ...]) -> None:
    with host_answers():
        for volume in site.driver.volumes(site.server.pool):
            if site.server.owns_volume(volume.name) and volume.name not in keep:
                site.driver.delete_volume(site.server.pool, volume.name)


# --- seeds ------------------------------------------------------------------


def create_seed(context: Context) -> Outcome:
    """The cloud-init disk of the first boot."""
    site = site_of(context)
    write_seed(site, site.first_boot_secrets())
    return Outcome(commit=lambda: site.change(seed_secret_since=timezone.now()))


def create_new_seed(context: Context) -> Outcome:
    """The cloud-init disk of the first boot after a rebuild: with keys there is no password."""
    site = planned_site_of(context)
    # Empty with keys: then there is no password.
    secrets = replace(site.first_boot_secrets(), root_password_hash=site.server.next_password_hash)
    write_seed(site, secrets)
    return Outcome(commit=lambda: site.change(seed_secret_since=timezone.now()))


def delete_seed(context: Context) -> None:
    """Undo of `create_seed`."""
    site = site_of(context)
    with host_answers():
        site.driver.delete_volume(site.server.pool, site.server.seed_volume)


def restore_seed(context: Context) -> None:
    """Undo of `create_new_seed`: what the old disk may still have to read in its first boot."""
    site = site_of(context)
    if site.server.has_adopted_disk:
        delete_seed(context)
        return
    has_booted = context.action.args["has_booted"]
    write_seed(site, Secrets() if has_booted else site.first_boot_secrets())


def scrub_seed(context: Context) -> Outcome:
    """The seed holds no secret any more, but the same instance id: cloud-init has nothing to do.

    Nobody asked for it, so it does not wait for a silent host with the server locked.
    """
    site = site_of(context)
    write_seed(site, Secrets(), patience=None)
    return Outcome(commit=lambda: site.change(seed_secret_since=None, root_password_hash=""))


def write_seed(
    site: Site, secrets: Secrets, *, boot_hash: str = "", patience: float | None = PATIENCE
) -> None:
    """Its cloud-init disk, with these secrets."""
    files = site.blueprint().seed_files(secrets, boot_hash=boot_hash)
    write_seed_files(site, files, patience=patience)


def write_seed_files(
    site: Site, files: dict[str, bytes], *, patience: float | None = PATIENCE
) -> None:
    """The cloud-init disk holds these files and nothing else."""
    with host_answers(patience=patience):
        site.driver.write_volume(
            site.server.pool,
            site.server.seed_volume,
            build_seed(files),
            capacity_bytes=SEED_BYTES,
        )


def set_root_password(context: Context) -> Outcome:
    """Root has the new password: at once through the guest agent, else from the next boot on."""
    site = site_of(context)
    sealed = bytes(site.server.next_password_sealed)
    if not sealed:
        raise Fail("password_gone", "The new password is no longer there. Please ask for another.")
    try:
        with host_answers():
            site.driver.set_password(site.server.uuid, "root", unseal(sealed))
    except Fail as failure:
        if failure.code != AgentUnavailable.code:
            raise
        if site.server.has_adopted_disk:
            sentence = "Its guest agent does not answer. Set the password from its rescue system."
            raise Fail(failure.code, sentence, detail=failure.detail) from failure
        return _set_at_boot(site)
    # A first boot that may still be going on needs the hash, until its seed is scrubbed.
    kept = site.server.next_password_hash if site.server.seed_secret_since else ""
    return _password_set(site, "The new root password is set", root_password_hash=kept)


def _set_at_boot(site: Site) -> Outcome:
    fresh = site.server.next_password_hash
    secrets = Secrets()
    if site.server.seed_secret_since:
        secrets = replace(site.first_boot_secrets(), root_password_hash=fresh)
    write_seed(site, secrets, boot_hash=fresh)
    how = "The new root password takes effect at the next boot"
    return _password_set(site, how, root_password_hash=fresh, seed_secret_since=timezone.now())


def _password_set(site: Site, how: str, **changes: Any) -> Outcome:
    """It is the one in use from now on."""

    def commit() -> None:
        site.change(
            root_password_sealed=site.server.next_password_sealed,
            next_password_sealed=b"",
            next_password_hash="",
            **changes,
        )
        record_event(
            "server.password_set",
            how,
            resource=("server", site.server.pk),
            project_id=site.server.project_id,
            action_id=site.action.pk,
        )

    return Outcome(commit=commit)


def forget_boot_password(context: Context) -> None:
    """Undo of `set_root_password`: no boot sets a password that nobody will be shown."""
    site = site_of(context)
    if site.server.has_adopted_disk:
        return
    write_seed(site, site.first_boot_secrets() if site.server.seed_secret_since else Secrets())


# --- filter and domain ------------------------------------------------------


def define_network_filter(context: Context) -> Outcome:
    """The filter that pins the guest to its own addresses."""
    site = site_of(context)
    with host_answers():
        site.driver.ensure_filter(site.blueprint().filter())
    return Outcome()


def delete_network_filter(context: Context) -> None:
    """Undo of `define_network_filter`."""
    site = site_of(context)
    with host_answers():
        site.driver.delete_filter(site.server.filter_name)


def remove_network_filter(context: Context) -> Outcome:
    """The same, as a step."""
    delete_network_filter(context)
    return Outcome()


def define_domain(context: Context) -> Outcome:
    """The guest is defined as the records say, with the system that its next start boots."""
    site = site_of(context)
    with host_answers():
        define_wanted(site)
    return Outcome()


def define_new_domain(context: Context) -> Outcome:
    """The guest is defined with the disk of the rebuild."""
    site = planned_site_of(context)
    with host_answers():
        site.driver.define(site.blueprint().domain())
    return Outcome()


def restore_domain(context: Context) -> None:
    """Undo of `define_new_domain`: the definition with the old disk and what ran on it."""
    site = site_of(context)
    with host_answers():
        site.driver.define(site.blueprint().domain(rescue=site.server.in_rescue))


def undefine_domain(context: Context) -> None:
    """Undo of `define_domain`. What is not ours is left alone."""
    site = site_of(context)
    with host_answers(), suppress(ForeignObject):
        site.driver.destroy(site.server.uuid)
        site.driver.undefine(site.server.uuid)


def remove_domain(context: Context) -> Outcome:
    """The host no longer knows the guest. Raises `Fail` if something foreign has its UUID."""
    site = site_of(context)
    with host_answers():
        site.driver.undefine(site.server.uuid)
        if site.driver.domain(site.server.uuid) is not None:
            raise Retry("still_there", "Its host has not let go of it yet.")
    return Outcome()
