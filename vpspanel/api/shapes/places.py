"""Locations, and the one data centre of each that older clients expect."""

from __future__ import annotations

from typing import TypedDict

from hosts.models import Location


class LocationShape(TypedDict):
    """A place."""

    id: int
    name: str
    description: str
    country: str
    city: str
    latitude: float
    longitude: float
    network_zone: str


class DatacenterTypes(TypedDict):
    """Ids of server types."""

    supported: list[int]
    available: list[int]
    available_for_migration: list[int]


class DatacenterShape(TypedDict):
    """A stub: every location has exactly one."""

    id: int
    name: str
    description: str
    location: LocationShape
    server_types: DatacenterTypes


def location_shape(location: Location) -> LocationShape:
    """A place."""
    return LocationShape(
        id=location.pk,
        name=location.name,
        description=location.description or location.city or location.name,
        country=location.country,
        city=location.city,
        latitude=location.latitude,
        longitude=location.longitude,
        network_zone=location.network_zone,
    )


def datacenter_name(location: Location) -> str:
    """What the stub is called."""
    return f"{location.name}-dc1"


def datacenter_shape(location: Location, sold: list[int]) -> DatacenterShape:
    """The stub of a location in which the types with the ids `sold` are sold."""
    return DatacenterShape(
        id=location.pk,
        name=datacenter_name(location),
        description=f"{location.name} 1",
        location=location_shape(location),
        server_types=DatacenterTypes(
            supported=sold,
            available=sold if location.accepting else [],
            available_for_migration=[],
        ),
    )
