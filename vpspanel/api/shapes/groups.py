"""Placement groups."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import TypedDict

from vpspanel.api.shapes.plain import Labels, moment
from vpspanel.servers.models import Lifecycle, PlacementGroup, Server


class GroupShape(TypedDict):
    """Servers that do not share a host."""

    id: int
    name: str
    type: str
    labels: Labels
    servers: list[int]
    created: str


def group_shapes(groups: Iterable[PlacementGroup]) -> list[GroupShape]:
    """Several groups. One query."""
    rows = list(groups)
    members: dict[int, list[int]] = defaultdict(list)
    if rows:
        servers = Server.objects.filter(placement_group__in=rows)
        servers = servers.exclude(lifecycle=Lifecycle.DELETED).order_by("pk")
        for group_id, server_id in servers.values_list("placement_group_id", "pk"):
            members[group_id or 0].append(server_id)
    return [_shape(row, members[row.pk]) for row in rows]


def group_shape(group: PlacementGroup) -> GroupShape:
    """A group."""
    return group_shapes([group])[0]


def _shape(group: PlacementGroup, servers: list[int]) -> GroupShape:
    return GroupShape(
        id=group.pk,
        name=group.name,
        type=group.type,
        labels=group.labels,
        servers=servers,
        created=moment(group.created),
    )
