"""Public addresses as things of their own."""

from __future__ import annotations

from typing import Literal, TypedDict

from hosts.models import Family
from vpspanel.api.shapes.places import (
    DatacenterShape,
    LocationShape,
    datacenter_shape,
    location_shape,
)
from vpspanel.api.shapes.plain import Labels, moment
from vpspanel.servers.models import PrimaryIP


class AddressProtection(TypedDict):
    """What is not to be done to it."""

    delete: bool


class PrimaryIPShape(TypedDict):
    """An address of the project, and the server that has it."""

    id: int
    name: str
    type: Literal["ipv4", "ipv6"]
    ip: str
    assignee_id: int | None
    assignee_type: str
    auto_delete: bool
    blocked: bool
    dns_ptr: list[dict[str, str]]
    location: LocationShape
    datacenter: DatacenterShape
    protection: AddressProtection
    labels: Labels
    created: str


def primary_ip_shape(row: PrimaryIP) -> PrimaryIPShape:
    """An address; its pool's location should be loaded."""
    return PrimaryIPShape(
        id=row.pk,
        name=row.name,
        type="ipv4" if row.address.family == Family.V4 else "ipv6",
        ip=row.address.address,
        assignee_id=row.server_id,
        assignee_type="unassigned" if row.server_id is None else "server",
        auto_delete=row.auto_delete,
        blocked=False,
        dns_ptr=[],
        location=location_shape(row.address.pool.location),
        datacenter=datacenter_shape(row.address.pool.location, []),
        protection=AddressProtection(delete=row.protect_delete),
        labels=row.labels,
        created=moment(row.created),
    )
