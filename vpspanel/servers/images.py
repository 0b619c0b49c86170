"""The one door to images: those of the catalogue are everybody's, private ones their project's."""

from __future__ import annotations

from uuid import UUID

from django.db.models import Q, QuerySet

from hosts.models import Image, ImageStatus, ImageType
from vpspanel.accounts.models import Role
from vpspanel.accounts.scopes import Scope
from vpspanel.errors import NotFound, Refused
from vpspanel.events.actor import Actor
from vpspanel.servers.access import get_project, visible_projects


def image_owner(project_id: int) -> UUID:
    """How the machine room knows a project: as the owner of its private images."""
    return UUID(int=project_id)


def visible_images(actor: Actor) -> QuerySet[Image]:
    """The private images of the projects that the actor is a member of.

    None for a token that is for some servers only: an image holds the disk of any.
    """
    if actor.token is not None and actor.token.server_ids:
        return Image.objects.none()
    projects = visible_projects(actor).values_list("pk", flat=True)
    return Image.objects.filter(owner__in=[image_owner(pk) for pk in projects])


def get_image(actor: Actor, image_id: int, role: Role = Role.READER) -> Image:
    """The private image. Raises `NotFound` to strangers, `Refused("forbidden")` to a smaller role.

    Images of the catalogue are nobody's: they are not found here.
    """
    image = visible_images(actor).filter(pk=image_id).first()
    if image is None or image.owner is None:
        raise NotFound("image")
    get_project(actor, image.owner.int, role, Scope.IMAGES)
    return image


def usable_images(project_id: int) -> QuerySet[Image]:
    """What servers of the project can be made from: the catalogue and its own images."""
    catalogue = Q(type=ImageType.SYSTEM, owner__isnull=True, deprecated__isnull=True)
    own = Q(owner=image_owner(project_id))
    return Image.objects.filter(catalogue | own, status=ImageStatus.AVAILABLE)


def visible_isos() -> QuerySet[Image]:
    """The ISOs that every customer may attach."""
    return Image.objects.filter(
        type=ImageType.ISO, owner__isnull=True, status=ImageStatus.AVAILABLE
    )


def check_image_is_usable(image: Image, project_id: int) -> None:
    """Raises `NotFound` for the image of another project, `Refused` for one that is not ready."""
    if image.owner not in (None, image_owner(project_id)):
        raise NotFound("image")
    if image.type == ImageType.ISO:
        raise Refused("invalid_input", "No disk can be made of an ISO.", field="image")
    if image.status != ImageStatus.AVAILABLE:
        raise Refused("invalid_input", f"{image.description} is not available yet.", field="image")
