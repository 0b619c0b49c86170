"""Limits, and what is used of them."""

from __future__ import annotations

from typing import TypedDict

from rest_framework.request import Request
from rest_framework.response import Response

from vpspanel.api.auth import Whose
from vpspanel.api.describing import answers
from vpspanel.api.view import ApiView
from vpspanel.servers.limits import Limit, limits_of, limits_of_reseller


class LimitShape(TypedDict):
    """One of them. `shared_by` is what counts together: project, account, or reseller with all."""

    name: str
    shared_by: str
    limit: int
    used: int


class Limits(ApiView):
    """What the project may have, or the reseller whose token acts in none."""

    whose = Whose.ANYBODY

    @answers("Get limits and what is used of them", limits=list[LimitShape])
    def get(self, request: Request) -> Response:
        """All of them."""
        if self.token.project_id is None:
            found = limits_of_reseller(self.reseller)
        else:
            found = limits_of(self.actor, self.token.project_id)
        return Response({"limits": [limit_shape(limit) for limit in found]})


def limit_shape(limit: Limit) -> LimitShape:
    """A limit."""
    return LimitShape(
        name=limit.name, shared_by=limit.shared_by, limit=limit.limit, used=limit.used
    )
