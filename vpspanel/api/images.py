"""Images that can be ordered."""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import QuerySet
from rest_framework.request import Request
from rest_framework.response import Response

from hosts.models import Image, ImageStatus, ImageType
from vpspanel.api.listing import choices, named, ordered, page_of
from vpspanel.api.shapes.images import ImageShape, image_shape
from vpspanel.api.view import ApiView
from vpspanel.errors import NotFound

COLUMNS = {"id": "id", "name": "name", "created": "created"}
TYPES = ("system", "snapshot", "backup", "app")


def visible_images() -> QuerySet[Image]:
    """The images of the catalogue that are ready."""
    return Image.objects.filter(
        owner__isnull=True, type=ImageType.SYSTEM, status=ImageStatus.AVAILABLE
    )


class Images(ApiView):
    """The catalogue."""

    def get(self, request: Request) -> Response:
        """A page of it."""
        rows = ordered(request, _filtered(request, visible_images()), COLUMNS)
        return page_of(request, "images", rows, _shapes)


class OneImage(ApiView):
    """An image."""

    def get(self, request: Request, pk: int) -> Response:
        """It."""
        image = visible_images().filter(pk=pk).first()
        if image is None:
            raise NotFound("image")
        return Response({"image": image_shape(image)})


def _filtered(request: Request, rows: QuerySet[Image]) -> QuerySet[Image]:
    rows = named(request, rows)
    if types := choices(request, "type", TYPES):
        rows = rows.filter(type__in=types)
    if states := choices(request, "status", ImageStatus.values):
        rows = rows.filter(status__in=states)
    if architectures := choices(request, "architecture", ("x86", "arm")):
        rows = rows.filter(architecture__in=architectures)
    if request.query_params.get("include_deprecated", "").lower() not in ("true", "1"):
        rows = rows.filter(deprecated__isnull=True)
    # Nothing is bound to a server yet, and nothing of the catalogue has labels.
    bound, labelled = (request.query_params.get(name) for name in ("bound_to", "label_selector"))
    return rows.none() if bound or labelled else rows


def _shapes(page: Iterable[Image]) -> list[ImageShape]:
    return [image_shape(image) for image in page]
