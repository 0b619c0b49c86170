"""ISOs."""

from __future__ import annotations

from typing import Literal, TypedDict

from hosts.models import Image
from vpspanel.api.shapes.plain import Deprecation, deprecation, moment_or_none


class IsoShape(TypedDict):
    """What a server can have in its CD-ROM."""

    id: int
    name: str | None
    description: str
    type: Literal["public"]
    architecture: str | None
    deprecated: str | None
    deprecation: Deprecation | None


def iso_shape(iso: Image) -> IsoShape:
    """An ISO."""
    return IsoShape(
        id=iso.pk,
        name=iso.name,
        description=iso.description,
        type="public",
        architecture=iso.architecture,
        deprecated=moment_or_none(iso.deprecated),
        deprecation=deprecation(iso.deprecated),
    )
