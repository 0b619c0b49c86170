"""Choosing the best host and taking room on it, in one call of PostgreSQL.

Orders that come in the same instant do not wait for each other here: each takes
the best host with a pool that no other transaction holds. A function of the
database (migration 0011, replaced by a later one when it has to change) saves
five round trips, nearly all of Django's query building, and the planning of the
statement, which would take as long as carrying it out. It undoes by itself what
came to nothing, so its caller needs no savepoint. It looks at the best hosts
only: where it finds none, `claim_capacity` looks at all.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db import connection

from hosts.models import CapacityClaim, Image, Location
from hosts.placement import DISK_POINTS, IMAGE_POINTS, Need

_COLUMNS = [field.attname for field in CapacityClaim._meta.concrete_fields]
STATEMENT = (
    f"SELECT {', '.join(_COLUMNS)} FROM "  # noqa: S608 - no foreign text
    "hosts_take_best(%s, %s, %s, %s, %s, %s::text[], %s, %s, %s, %s)"
)


def take_best(
    owner: UUID, need: Need, location: Location, image: Image | None, spread: UUID | None
) -> CapacityClaim | None:
    """The claim on the best host that nobody else is just taking room on.

    None, and nothing is held, if all that fit are busy, if the host had no room
    after all, or if somebody of the same spread took it meanwhile. Run it in the
    transaction of the order.
    """
    with connection.cursor() as cursor:
        cursor.execute(STATEMENT, values_for(owner, need, location, image, spread))
        row = cursor.fetchone()
    if row is None:
        return None
    return CapacityClaim.from_db(connection.alias, _COLUMNS, row)


def values_for(
    owner: UUID, need: Need, location: Location, image: Image | None, spread: UUID | None
) -> list[Any]:
    """What the statement is told of this order."""
    return [
        owner,
        location.pk,
        need.vcpus,
        need.memory_mib,
        need.disk_gib,
        [f" {tag} " for tag in sorted(need.tags)],  # as `tag_column` writes them
        image.sha256 if image is not None and image.sha256 else None,
        spread,
        IMAGE_POINTS,
        DISK_POINTS,
    ]
