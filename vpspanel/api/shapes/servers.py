"""Servers with everything that they carry along."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from hosts.models import Family
from vpspanel.api.shapes.groups import GroupShape, group_shapes
from vpspanel.api.shapes.images import ImageShape, image_shape
from vpspanel.api.shapes.places import (
    DatacenterShape,
    LocationShape,
    datacenter_shape,
    location_shape,
)
from vpspanel.api.shapes.plain import GIB, Labels, moment
from vpspanel.api.shapes.plans import Prices, ServerTypeShape, prices_of, type_shape
from vpspanel.servers.models import PrimaryIP
from vpspanel.servers.reading import ServerRow


class IPv4Shape(TypedDict):
    """A public IPv4 address; `id` is that of its primary IP."""

    id: int
    ip: str
    blocked: bool
    dns_ptr: str


class PointerShape(TypedDict):
    """The name of one address."""

    ip: str
    dns_ptr: str


class IPv6Shape(TypedDict):
    """A public IPv6 network, with its length."""

    id: int
    ip: str
    blocked: bool
    dns_ptr: list[PointerShape]


class PublicNet(TypedDict):
    """How it is reached."""

    ipv4: IPv4Shape | None
    ipv6: IPv6Shape | None
    floating_ips: list[int]
    firewalls: list[dict[str, object]]


class ServerProtection(TypedDict):
    """What is not to be done to it."""

    delete: bool
    rebuild: bool


class ServerShape(TypedDict):
    """A server. `suspended` and `suspended_reason` are the panel's own."""

    id: int
    name: str
    status: str
    created: str
    public_net: PublicNet
    private_net: list[dict[str, object]]
    server_type: ServerTypeShape
    location: LocationShape
    datacenter: DatacenterShape
    image: ImageShape | None
    iso: None
    rescue_enabled: bool
    locked: bool
    backup_window: str | None
    outgoing_traffic: int | None
    ingoing_traffic: int | None
    included_traffic: int
    protection: ServerProtection
    labels: Labels
    volumes: list[int]
    load_balancers: list[int]
    primary_disk_size: int
    placement_group: GroupShape | None
    suspended: bool
    suspended_reason: str | None


def server_shapes(rows: Sequence[ServerRow], *, limited: bool = False) -> list[ServerShape]:
    """Several servers. One query more than their rows took, and one if any is in a group.

    `limited`: for a token of some servers only, which learns nothing of who else is in a group.
    """
    prices = prices_of(row.server.server_type_id for row in rows)
    groups = {row.server.placement_group for row in rows if row.server.placement_group}
    shapes = {} if limited else {shape["id"]: shape for shape in group_shapes(groups)}
    return [_shape(row, prices, shapes) for row in rows]


def server_shape(row: ServerRow, *, limited: bool = False) -> ServerShape:
    """A server."""
    return server_shapes([row], limited=limited)[0]


def _shape(row: ServerRow, prices: Prices, groups: dict[int, GroupShape]) -> ServerShape:
    server = row.server
    return ServerShape(
        id=server.pk,
        name=server.name,
        status=row.status.api,
        created=moment(server.created),
        public_net=_public_net(row.addresses),
        private_net=[],
        server_type=type_shape(server.server_type, prices),
        location=location_shape(server.location),
        datacenter=datacenter_shape(server.location, []),
        image=None if server.image is None else image_shape(server.image),
        iso=None,
        rescue_enabled=server.rescue_enabled,
        locked=row.open_action is not None,
        backup_window=None,
        outgoing_traffic=None,
        ingoing_traffic=None,
        included_traffic=server.server_type.traffic_gib * GIB,
        protection=ServerProtection(delete=server.protect_delete, rebuild=server.protect_rebuild),
        labels=server.labels,
        volumes=[],
        load_balancers=[],
        primary_disk_size=server.disk_gib,
        placement_group=groups.get(server.placement_group_id or 0),
        suspended=server.is_suspended,
        suspended_reason=server.suspension_reason or None,
    )


def _public_net(addresses: Sequence[PrimaryIP]) -> PublicNet:
    """The first address of each family."""
    by_family = {ip.address.family: ip for ip in reversed(addresses)}
    v4, v6 = by_family.get(Family.V4), by_family.get(Family.V6)
    return PublicNet(
        ipv4=None
        if v4 is None
        else IPv4Shape(id=v4.pk, ip=v4.address.address, blocked=False, dns_ptr=""),
        ipv6=None
        if v6 is None
        else IPv6Shape(id=v6.pk, ip=v6.address.address, blocked=False, dns_ptr=[]),
        floating_ips=[],
        firewalls=[],
    )
