"""Images: the catalogue, and the project's own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from hosts.models import Image, ImageStatus, ImageType
from vpspanel.actions.services import record_done
from vpspanel.api.auth import Whose
from vpspanel.api.bodies import Body, Labels, Strict, Text, body_of
from vpspanel.api.describing import answers, lists
from vpspanel.api.listing import choices, flag, named, ordered, page_of
from vpspanel.api.selecting import selected
from vpspanel.api.shapes.actions import ActionShape, action_shape
from vpspanel.api.shapes.images import ImageShape, image_shape
from vpspanel.api.view import ApiView, PostView
from vpspanel.errors import NotFound
from vpspanel.events.actor import Actor
from vpspanel.servers.images import visible_images
from vpspanel.servers.snapshots import change_image, change_image_protection, delete_image

COLUMNS = {"id": "id", "name": "name", "created": "created"}
TYPES = ("system", "snapshot", "backup", "app")
ARCHITECTURES = ("x86", "arm")


class ChangedImage(Body):
    """What is to change. A snapshot cannot become anything else."""

    description = Text(required=False, max_length=1000)
    type = serializers.ChoiceField(["snapshot"], required=False)
    labels = Labels(required=False)


class ImageProtection(Body):
    """What is left out stays as it is."""

    delete = Strict(required=False)


def shown_images(actor: Actor) -> QuerySet[Image]:
    """What is ready in the catalogue, and all images of the actor's project."""
    catalogue = Q(type=ImageType.SYSTEM, owner__isnull=True, status=ImageStatus.AVAILABLE)
    return Image.objects.filter(catalogue | Q(pk__in=visible_images(actor).values("pk")))


class Images(ApiView):
    """The images that the project may see; for a reseller in none, the catalogue."""

    whose = Whose.ANYBODY

    @lists(
        "List images",
        "images",
        ImageShape,
        sort=COLUMNS,
        filters={
            "name": (),
            "label_selector": (),
            "type": TYPES,
            "status": ImageStatus.values,
            "architecture": ARCHITECTURES,
            "include_deprecated": (),
            "bound_to": (),
        },
    )
    def get(self, request: Request) -> Response:
        """A page of them."""
        rows = ordered(request, _filtered(request, shown_images(self.actor)), COLUMNS)
        return page_of(request, "images", rows, _shapes)


class OneImage(ApiView):
    """An image."""

    @answers("Get an image", image=ImageShape)
    def get(self, request: Request, pk: int) -> Response:
        """It."""
        return Response({"image": image_shape(_existing(self.actor, pk))})

    @answers("Describe or label an image", body=ChangedImage, image=ImageShape)
    def put(self, request: Request, pk: int) -> Response:
        """Describe or label one of the project's own otherwise."""
        changes = body_of(request, ChangedImage)
        changes.pop("type", None)
        return Response({"image": image_shape(change_image(self.actor, pk, **changes))})

    @answers("Delete an image")
    def delete(self, request: Request, pk: int) -> Response:
        """Delete one of the project's own."""
        delete_image(self.actor, pk)
        return Response(status=204)


class ProtectImage(PostView):
    """The one verb that images have."""

    @answers("Protect an image", status=201, body=ImageProtection, action=ActionShape)
    def create(self, request: Request, **ids: Any) -> Response:
        """Protect one of the project's own from being deleted, or no longer."""
        asked = body_of(request, ImageProtection)
        image = _existing(self.actor, ids["pk"])
        with transaction.atomic():
            delete = asked.get("delete", image.protect_delete)
            change_image_protection(self.actor, image.pk, delete=delete)
            action = record_done(
                "change_protection",
                resource=("image", image.pk),
                actor=self.actor,
                project_id=self.project.pk,
            )
        return Response({"action": action_shape(action)}, 201)


def _existing(actor: Actor, image_id: int) -> Image:
    image = shown_images(actor).filter(pk=image_id).first()
    if image is None:
        raise NotFound("image")
    return image


def _filtered(request: Request, rows: QuerySet[Image]) -> QuerySet[Image]:
    rows = selected(request, named(request, rows))
    if types := choices(request, "type", TYPES):
        rows = rows.filter(type__in=types)
    if states := choices(request, "status", ImageStatus.values):
        rows = rows.filter(status__in=states)
    if architectures := choices(request, "architecture", ARCHITECTURES):
        rows = rows.filter(architecture__in=architectures)
    if not flag(request, "include_deprecated"):
        rows = rows.filter(deprecated__isnull=True)
    # An image that is bound to a server is a backup, and there are none.
    return rows.none() if request.query_params.get("bound_to") else rows


def _shapes(page: Iterable[Image]) -> list[ImageShape]:
    return [image_shape(image) for image in page]
