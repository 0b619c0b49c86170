"""The step that fetches an ISO which staff offer."""

from __future__ import annotations

from hosts.images.errors import ImageError
from hosts.library import MIB, fetch_iso
from hosts.models import Image, ImageStatus
from vpspanel.actions.command import Command, Context, Step, registry
from vpspanel.actions.errors import Fail
from vpspanel.actions.models import Action
from vpspanel.servers.iso_offers import COMMAND


def fetch(context: Context) -> None:
    """It is in the library. A part that a worker left who died is gone on with."""
    args = context.action.args

    def watch(done: int, total: int | None) -> None:
        context.check_not_called_off()
        percent = done * 100 // total if total else 0
        context.progress(percent, f"{done // MIB} MiB are here")

    try:
        fetch_iso(
            args["name"],
            args["url"],
            args["sha256"],
            description=args["description"],
            watch=watch,
        )
    except ImageError as error:
        raise Fail(error.code, error.message) from error
    if _is_called_off(context):
        raise Fail("cancelled", "It was cancelled.")


def _is_called_off(context: Context) -> bool:
    return context.claim.rows().filter(cancel_wanted=True).exists()


def take_back(context: Context) -> None:
    """Undo of `fetch`: one that was withdrawn in the moment in which it was there stays so."""
    args = context.action.args
    if _is_called_off(context):
        fetched = Image.objects.filter(
            pk=context.action.resource_id, sha256=args["sha256"].strip().lower()
        )
        fetched.update(status=ImageStatus.UNAVAILABLE)


def _not_fetched(action: Action) -> None:
    """The row says why, whoever ended it. One that was offered before still is."""
    row = Image.objects.filter(pk=action.resource_id)
    row.filter(status=ImageStatus.CREATING).update(status=ImageStatus.UNAVAILABLE, progress=0)
    row.update(progress_step="", error=action.error_message or "It was cancelled.")


registry.add(
    Command(
        COMMAND,
        title="Fetch ISO",
        done="The ISO is offered to customers",
        failed="The ISO could not be fetched",
        deadline=5 * 3600,
        steps=(Step("fetch", "Downloading", fetch, take_back),),
        on_error=_not_fetched,
        can_be_called_off=True,
    )
)
