"""ISOs that servers can boot from."""

from __future__ import annotations

from rest_framework.request import Request
from rest_framework.response import Response

from vpspanel.api.auth import Whose
from vpspanel.api.describing import answers, lists
from vpspanel.api.images import ARCHITECTURES
from vpspanel.api.listing import choices, named, ordered, page_of
from vpspanel.api.shapes.isos import IsoShape, iso_shape
from vpspanel.api.view import ApiView
from vpspanel.errors import NotFound
from vpspanel.servers.images import visible_isos

COLUMNS = {"id": "id", "name": "name"}


class Isos(ApiView):
    """Those that all customers may attach."""

    whose = Whose.ANYBODY

    @lists(
        "List ISOs",
        "isos",
        IsoShape,
        sort=COLUMNS,
        filters={
            "name": (),
            "architecture": ARCHITECTURES,
            "include_architecture_wildcard": (),
        },
    )
    def get(self, request: Request) -> Response:
        """A page of them."""
        rows = named(request, visible_isos())
        if architectures := choices(request, "architecture", ARCHITECTURES):
            rows = rows.filter(architecture__in=architectures)
        rows = ordered(request, rows, COLUMNS)
        return page_of(request, "isos", rows, lambda page: [iso_shape(iso) for iso in page])


class OneIso(ApiView):
    """An ISO."""

    whose = Whose.ANYBODY

    @answers("Get an ISO", iso=IsoShape)
    def get(self, request: Request, pk: int) -> Response:
        """It."""
        iso = visible_isos().filter(pk=pk).first()
        if iso is None:
            raise NotFound("ISO")
        return Response({"iso": iso_shape(iso)})
