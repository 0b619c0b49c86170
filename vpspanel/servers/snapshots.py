"""Snapshots: a server's disk as an image of its project, and what may be done to such images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import F

from hosts.models import Image, ImageStatus, ImageType
from hosts.private_images import forget_file, new_file
from vpspanel.accounts.models import Project, Role
from vpspanel.actions.models import Action
from vpspanel.errors import Refused
from vpspanel.events.actor import Actor
from vpspanel.events.services import record_event
from vpspanel.labels import check_labels
from vpspanel.servers.access import get_server
from vpspanel.servers.images import get_image, image_owner
from vpspanel.servers.models import Server
from vpspanel.servers.services import act_on
from vpspanel.servers.states import Verb

PER_PROJECT = 20
DESCRIPTION_LENGTH = 200


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What asking for one answers: the image, which is not there yet, and its action."""

    image: Image
    action: Action


def create_image(
    actor: Actor, server_id: int, *, description: str = "", labels: object = None
) -> Snapshot:
    """Copy the disk of a server that is off into an image of its project.

    The image can be used when the action has succeeded, and is gone if it failed.
    """
    server = get_server(actor, server_id, Verb.CREATE_IMAGE)
    labels = check_labels(labels or {})
    description = _description(description) or f"Snapshot of {server.name}"
    with transaction.atomic():
        _need_room(server.project_id)
        image = _new_image(server, description, labels)
        said = f": {description}"
        args = {"image": image.pk, "file": new_file()}
        action = act_on(actor, server, Verb.CREATE_IMAGE, args=args, said=said)
    return Snapshot(image, action)


def change_image(
    actor: Actor, image_id: int, *, description: str | None = None, labels: object = None
) -> Image:
    """Give it another description or other labels; what is None stays."""
    image = get_image(actor, image_id, Role.ADMIN)
    changes: dict[str, Any] = {}
    if description is not None:
        changes["description"] = _description(description)
        if not changes["description"]:
            raise Refused("invalid_input", "Describe it in a few words.", field="description")
    if labels is not None:
        changes["labels"] = check_labels(labels)
    return _change(actor, image, changes, "image.changed", "changed")


def change_image_protection(actor: Actor, image_id: int, *, delete: bool) -> Image:
    """Protect it from being deleted, or no longer."""
    image = get_image(actor, image_id, Role.ADMIN)
    said = "protected" if delete else "no longer protected"
    return _change(actor, image, {"protect_delete": delete}, "image.protection", said)


def delete_image(actor: Actor, image_id: int) -> None:
    """Delete it with its file. Servers that were made from it go on."""
    image = get_image(actor, image_id, Role.ADMIN)
    if image.status == ImageStatus.CREATING:
        raise Refused("locked", "It is still being made. Please wait a moment.")
    if image.protect_delete:
        raise Refused("protected", "It is protected. Remove the protection first.")
    with transaction.atomic():
        as_checked = Image.objects.filter(pk=image.pk, protect_delete=False, status=image.status)
        if not as_checked.delete()[0]:
            raise Refused("conflict", "It changed at the same moment. Please try again.")
        _say(actor, image, "image.deleted", "deleted")
        transaction.on_commit(lambda: forget_file(image.file))


def _need_room(project_id: int) -> None:
    """Raises `Refused` at the project's limit; those who count at the same time take turns."""
    Project.objects.filter(pk=project_id).update(name=F("name"))
    if Image.objects.filter(owner=image_owner(project_id)).count() >= PER_PROJECT:
        raise Refused(
            "resource_limit_exceeded",
            f"A project may have {PER_PROJECT} snapshots. Delete one first.",
        )


def _new_image(server: Server, description: str, labels: dict[str, str]) -> Image:
    """Its row. What runs on the disk is what the server was built with, as far as is known."""
    image = Image(
        type=ImageType.SNAPSHOT,
        status=ImageStatus.CREATING,
        description=description,
        owner=image_owner(server.project_id),
        created_from_id=server.pk,
        created_from_name=server.name,
        created_from_instance=None if server.has_adopted_disk else server.instance,
        labels=labels,
        min_disk_gib=server.disk_gib,
        architecture=server.server_type.architecture,
    )
    if server.image is not None:
        for name in ("os_flavor", "os_version", "min_memory_mib", "default_user", "has_agent"):
            setattr(image, name, getattr(server.image, name))
    image.save()
    return image


def _description(text: str) -> str:
    clean = " ".join(text.split())
    if len(clean) > DESCRIPTION_LENGTH or not clean.isprintable():
        raise Refused(
            "invalid_input",
            f"A description has up to {DESCRIPTION_LENGTH} characters in one line.",
            field="description",
        )
    return clean


def _change(actor: Actor, image: Image, changes: dict[str, Any], kind: str, said: str) -> Image:
    if changes:
        with transaction.atomic():
            Image.objects.filter(pk=image.pk).update(**changes)
            _say(actor, image, kind, said)
        image.refresh_from_db()
    return image


def _say(actor: Actor, image: Image, kind: str, said: str) -> None:
    record_event(
        kind,
        f"Snapshot {image.description} was {said}",
        resource=("image", image.pk),
        project_id=image.owner.int if image.owner else None,
        actor=actor,
    )
