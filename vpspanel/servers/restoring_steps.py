"""The steps of a restart from a copy: on the new host a disk of its own, then as an evacuation.

The guest is the same to the network, and to cloud-init on the copy, which finds
nothing new to do. A rescue system and an ISO do not come along.
"""

from __future__ import annotations

from uuid import UUID

from hosts.moving import take_over
from hosts.services import release_capacity
from vpspanel.actions.command import Context, Outcome
from vpspanel.actions.errors import Fail
from vpspanel.actions.models import Action
from vpspanel.events.services import record_event
from vpspanel.servers.blueprint import Secrets
from vpspanel.servers.evacuation_steps import new_site_of, where_it_is
from vpspanel.servers.moving_site import delete_volumes, found_of_it
from vpspanel.servers.restoring import copied_at
from vpspanel.servers.site import Site, host_answers
from vpspanel.servers.steps import lay_disk, stage_on_pool, write_seed


def check_there(context: Context) -> Outcome:
    """Nothing of it lies on the new host: from here on, what does was put there by this action."""
    site = new_site_of(context)
    with host_answers():
        found = found_of_it(site)
    if found:
        raise Fail(
            "already_there",
            "Something of it lies on the other host already.",
            detail=f"On {site.host} lie {', '.join(found)}. Clean up there, then evacuate again",
        )
    return Outcome()


def stage_there(context: Context) -> Outcome:
    """The copy lies on the new host."""
    site = new_site_of(context)
    stage_on_pool(site, site.image())
    return Outcome()


def create_disk_there(context: Context) -> Outcome:
    """A disk on the copy."""
    lay_disk(new_site_of(context))
    return Outcome()


def delete_volumes_there(context: Context) -> None:
    """Undo of `create_disk_there` and of `create_seed_there`."""
    site = new_site_of(context)
    with host_answers():
        delete_volumes(site)


def create_seed_there(context: Context) -> Outcome:
    """The first-boot data; with secrets only if the copy is of a system that has not read them."""
    site = new_site_of(context)
    write_seed(site, site.first_boot_secrets() if _is_unread(site) else Secrets())
    return Outcome()


def _is_unread(site: Site) -> bool:
    """The system is the one of the lost disk, and had not had the time for its first boot."""
    recorded = site.rows().values_list("restored_instance", "disk_generation").get()
    same = site.server.restored_instance == (recorded[0] or recorded[1])
    return same and site.server.seed_secret_since is not None


def settle_restored(context: Context) -> Outcome:
    """From here on it lives on the new host and on the new disk, and holds its room there only."""
    site, args = new_site_of(context), context.action.args
    there, server, copy = where_it_is(site), site.server, site.image()

    def commit() -> None:
        site.change(
            **there,
            image=copy,
            disk_generation=server.disk_generation,
            restored_instance=server.restored_instance,
            adopted_disk="",
            iso=None,
            iso_changed=False,
            rescue_enabled=False,
            in_rescue=False,
            rescue_password_sealed=b"",
            rescue_password_hash="",
        )
        take_over(server.uuid, UUID(args["held_by"]))
        record_event(
            "server.restored",
            f"It runs on from {copied_at(copy)}. What was written since then is not on it",
            resource=("server", server.pk),
            project_id=server.project_id,
            action_id=site.action.pk,
        )

    return Outcome(commit=commit)


def let_go(action: Action) -> None:
    """The end of a restart that did not happen: the room on the other host is free again."""
    release_capacity(UUID(action.args["held_by"]))
