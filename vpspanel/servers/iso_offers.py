"""ISOs that staff offer to all customers: fetched by a worker, and withdrawn."""

from __future__ import annotations

from django.db import transaction

from hosts.images.errors import ImageError
from hosts.library import iso_row
from hosts.models import Image, ImageStatus, ImageType
from vpspanel.actions import services as actions
from vpspanel.actions.models import Action
from vpspanel.errors import Refused
from vpspanel.events.actor import Actor
from vpspanel.events.services import record_event

COMMAND = "fetch_iso"
GROUP = "fetch-iso"  # one download at a time


def offer_iso(actor: Actor, *, name: str, url: str, sha256: str, description: str = "") -> Action:
    """Queue its download; customers can attach it when the action has succeeded.

    One of that name that is offered already stays so until the new one is there. Raises `Refused`.
    """
    args = {"name": name, "url": url, "sha256": sha256, "description": description}
    with transaction.atomic():
        try:
            image = iso_row(name, url, sha256, description=description)
        except ImageError as error:
            raise Refused("invalid_input", error.message) from error
        action = actions.submit(
            COMMAND,
            resource=("image", image.pk),
            actor=actor,
            args=args,
            group=GROUP,
            group_limit=1,
        )
        waiting = Image.objects.filter(pk=image.pk)
        waiting.update(progress=0, progress_step="Waiting for a worker", error="")
        _say(actor, image, "offered", f"The ISO {name} is to be fetched from {url}", action.pk)
    return action


def withdraw_iso(actor: Actor, image: Image) -> None:
    """Customers can attach it no more; who has it in a drive keeps it. A download is called off.

    Raises `Refused`.
    """
    if image.type != ImageType.ISO:
        raise Refused("conflict", "It is no ISO.")
    fetching = actions.open_action("image", image.pk)
    with transaction.atomic():
        if fetching is not None:
            actions.call_off(fetching, actor=actor)
        offered = Image.objects.filter(pk=image.pk, status=ImageStatus.AVAILABLE)
        gone = offered.update(status=ImageStatus.UNAVAILABLE, error="Withdrawn.")
        if not gone and fetching is None:
            raise Refused("conflict", "It is not offered.")
        _say(actor, image, "withdrawn", f"The ISO {image.name} was withdrawn")


def _say(actor: Actor, image: Image, kind: str, said: str, action_id: int | None = None) -> None:
    record_event(
        f"iso.{kind}",
        said,
        resource=("image", image.pk),
        actor=actor,
        action_id=action_id,
        public=False,
    )
