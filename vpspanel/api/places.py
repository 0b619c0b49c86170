"""Locations, and the stub data centres."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from rest_framework.request import Request
from rest_framework.response import Response

from hosts.models import Location
from vpspanel.api.auth import Whose
from vpspanel.api.describing import answers, lists
from vpspanel.api.listing import named, ordered, page_of, whole
from vpspanel.api.shapes.places import (
    DatacenterShape,
    LocationShape,
    datacenter_name,
    datacenter_shape,
    location_shape,
)
from vpspanel.api.view import ApiView
from vpspanel.errors import NotFound
from vpspanel.servers.models import ServerTypePrice

COLUMNS = {"id": "id", "name": "name"}


class Locations(ApiView):
    """All places."""

    whose = Whose.ANYBODY

    @lists("List locations", "locations", LocationShape, sort=COLUMNS, filters={"name": ()})
    def get(self, request: Request) -> Response:
        """A page of them."""
        rows = ordered(request, named(request, Location.objects.all()), COLUMNS)
        return page_of(request, "locations", rows, lambda page: [location_shape(r) for r in page])


class OneLocation(ApiView):
    """A place."""

    whose = Whose.ANYBODY

    @answers("Get a location", location=LocationShape)
    def get(self, request: Request, pk: int) -> Response:
        """It."""
        location = Location.objects.filter(pk=pk).first()
        if location is None:
            raise NotFound("location")
        return Response({"location": location_shape(location)})


class Datacenters(ApiView):
    """One for each location: older clients look there for what is sold where."""

    whose = Whose.ANYBODY

    @lists(
        "List data centres",
        "datacenters",
        DatacenterShape,
        filters={"name": ()},
        paged=False,
        recommendation=int | None,
    )
    def get(self, request: Request) -> Response:
        """All of them."""
        name = request.query_params.get("name", "")
        rows = [row for row in Location.objects.all() if name in ("", datacenter_name(row))]
        shown = _datacenters(rows)
        recommended = shown[0]["id"] if shown else None
        return Response({**whole("datacenters", shown), "recommendation": recommended})


class OneDatacenter(ApiView):
    """The one of a location."""

    whose = Whose.ANYBODY

    @answers("Get a data centre", datacenter=DatacenterShape)
    def get(self, request: Request, pk: int) -> Response:
        """It."""
        location = Location.objects.filter(pk=pk).first()
        if location is None:
            raise NotFound("datacenter")
        return Response({"datacenter": _datacenters([location])[0]})


def _datacenters(locations: Sequence[Location]) -> list[DatacenterShape]:
    sold: dict[int, list[int]] = defaultdict(list)
    prices = ServerTypePrice.objects.filter(server_type__deprecated__isnull=True)
    for place, plan in prices.order_by("pk").values_list("location_id", "server_type_id"):
        sold[place].append(plan)
    return [datacenter_shape(location, sold[location.pk]) for location in locations]
