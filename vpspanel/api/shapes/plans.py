"""Server types with their prices."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Literal, TypedDict

from django.db.models import QuerySet

from vpspanel.api.shapes.plain import GIB, Deprecation, Money, deprecation, money
from vpspanel.kept import kept
from vpspanel.servers.models import ServerType, ServerTypePrice


class TypePrice(TypedDict):
    """What a server type costs in a location."""

    location: str
    price_hourly: Money
    price_monthly: Money
    included_traffic: int
    price_per_tb_traffic: Money


class TypeLocation(TypedDict):
    """Where a server type is sold. Whether a host has room is known only when it is ordered."""

    id: int
    name: str
    available: bool
    recommended: bool
    deprecation: Deprecation | None


class ServerTypeShape(TypedDict):
    """A plan."""

    id: int
    name: str
    description: str
    category: str
    cores: int
    memory: float
    disk: int
    storage_type: Literal["local", "network"]
    cpu_type: Literal["shared", "dedicated"]
    architecture: str
    prices: list[TypePrice]
    deprecated: bool
    deprecation: Deprecation | None
    included_traffic: int
    locations: list[TypeLocation]


Prices = dict[int, list[ServerTypePrice]]


def prices_of(type_ids: Iterable[int]) -> Prices:
    """The prices of these server types, by type. One query."""
    wanted, found = set(type_ids), defaultdict[int, list[ServerTypePrice]](list)
    if len(wanted) == 1:
        prices = _prices_of_one(type_id=wanted.pop())
    else:
        prices = list(_placed(ServerTypePrice.objects.filter(server_type__in=wanted)))
    for price in prices:
        found[price.server_type_id].append(price)
    return found


@kept
def _prices_of_one(*, type_id: int) -> QuerySet[ServerTypePrice]:
    return _placed(ServerTypePrice.objects.filter(server_type_id=type_id))


def _placed(prices: QuerySet[ServerTypePrice]) -> QuerySet[ServerTypePrice]:
    """With their locations, by name."""
    return prices.select_related("location").order_by("location__name")


def type_shapes(types: Iterable[ServerType]) -> list[ServerTypeShape]:
    """Several plans. Two queries."""
    rows = list(types)
    prices = prices_of(row.pk for row in rows)
    return [type_shape(row, prices) for row in rows]


def type_shape(row: ServerType, prices: Prices) -> ServerTypeShape:
    """A plan."""
    traffic = row.traffic_gib * GIB
    mine = prices.get(row.pk, [])
    return ServerTypeShape(
        id=row.pk,
        name=row.name,
        description=row.description,
        category=row.category,
        cores=row.vcpus,
        memory=row.memory_mib / 1024,
        disk=row.disk_gib,
        storage_type="local",
        cpu_type="dedicated" if row.dedicated_cpu else "shared",
        architecture=row.architecture,
        prices=[_price(price, traffic) for price in mine],
        deprecated=row.deprecated is not None,
        deprecation=deprecation(row.deprecated),
        included_traffic=traffic,
        locations=[_location(row, price) for price in mine],
    )


def _price(price: ServerTypePrice, traffic: int) -> TypePrice:
    return TypePrice(
        location=price.location.name,
        price_hourly=money(price.hourly_micros),
        price_monthly=money(price.monthly_micros),
        included_traffic=traffic,
        price_per_tb_traffic=money(0),
    )


def _location(row: ServerType, price: ServerTypePrice) -> TypeLocation:
    return TypeLocation(
        id=price.location.pk,
        name=price.location.name,
        available=price.location.accepting and row.deprecated is None,
        recommended=False,
        deprecation=deprecation(row.deprecated),
    )
