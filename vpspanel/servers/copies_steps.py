"""The step that removes a copy of an image from a host, if nothing needs it."""

from __future__ import annotations

from django.template.defaultfilters import filesizeformat

from hosts.errors import StagingBusy
from hosts.models import Host, StoragePool
from hosts.unstaging import unstage
from hosts.virt.driver import Driver
from hosts.virt.registry import driver_for
from vpspanel.actions.command import Command, Context, Outcome, Step, registry
from vpspanel.actions.errors import Fail, Wait
from vpspanel.events.services import record_event
from vpspanel.servers.copies import COMMAND, Needs
from vpspanel.servers.site import host_answers


def remove_copy(context: Context) -> Outcome:
    """The base volume is gone; or it stays, and the action fails and says why."""
    args = context.action.args
    pool = StoragePool.objects.select_related("host").filter(pk=args["pool"]).first()
    if pool is None:
        raise Fail("gone", "Its pool is gone.")

    def driver_of(host: Host) -> Driver:
        context.ensure_mine()
        return driver_for(host.uri)

    def needed() -> str:
        return Needs([pool]).why(pool, args["sha256"])

    try:
        with host_answers(patience=None):
            why = unstage(driver_of, pool, args["sha256"], args["volume"], needed=needed)
    except StagingBusy:
        raise Wait(5.0, "Somebody else is at this image") from None
    if why:
        raise Fail("in_use", why)

    def commit() -> None:
        size = filesizeformat(args["size_bytes"])
        record_event(
            "host.image_removed",
            f"{args['volume']} ({size}) was removed from {pool.name}: nothing needed it",
            resource=("host", pool.host_id),
            action_id=context.action.pk,
            public=False,
            size_bytes=args["size_bytes"],
        )

    return Outcome(commit=commit)


REMOVE = registry.add(
    Command(
        COMMAND,
        title="Remove an unused copy of an image",
        done="The copy was removed",
        failed="The copy was not removed",
        deadline=300,
        steps=(Step("remove_copy", "Making sure that nothing needs it", remove_copy),),
        quiet=True,
    )
)
