"""Images."""

from __future__ import annotations

from typing import TypedDict

from hosts.models import Image, ImageType
from vpspanel.api.shapes.plain import GIB, Deprecation, Labels, deprecation, moment, moment_or_none


class CreatedFrom(TypedDict):
    """The server that an image was made of."""

    id: int
    name: str


class ImageProtection(TypedDict):
    """What is not to be done to it."""

    delete: bool


class ImageShape(TypedDict):
    """What a disk can be made from."""

    id: int
    type: str
    status: str
    name: str | None
    description: str
    image_size: float | None
    disk_size: float
    created: str
    created_from: CreatedFrom | None
    bound_to: int | None
    os_flavor: str
    os_version: str | None
    architecture: str
    rapid_deploy: bool
    protection: ImageProtection
    deprecated: str | None
    deprecation: Deprecation | None
    deleted: str | None
    labels: Labels


def image_shape(image: Image) -> ImageShape:
    """An image."""
    is_system = image.type == ImageType.SYSTEM
    needed = -(-image.virtual_size_bytes // GIB)
    return ImageShape(
        id=image.pk,
        type=image.type,
        status=image.status,
        name=image.name,
        description=image.description,
        image_size=None if is_system else round(image.size_bytes / GIB, 3),
        disk_size=float(max(image.min_disk_gib, needed)),
        created=moment(image.created),
        created_from=None,
        bound_to=None,
        os_flavor=image.os_flavor,
        os_version=image.os_version or None,
        architecture=image.architecture,
        rapid_deploy=False,
        protection=ImageProtection(delete=is_system),
        deprecated=moment_or_none(image.deprecated),
        deprecation=deprecation(image.deprecated),
        deleted=None,
        labels={},
    )
