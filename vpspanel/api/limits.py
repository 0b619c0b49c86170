"""Limits, and what is used of them."""

from __future__ import annotations

from dataclasses import asdict

from rest_framework.request import Request
from rest_framework.response import Response

from vpspanel.api.view import ApiView
from vpspanel.servers.limits import limits_of


class Limits(ApiView):
    """What the project may have."""

    def get(self, request: Request) -> Response:
        """All of them."""
        found = limits_of(self.actor, self.token.project_id)
        return Response({"limits": [asdict(limit) for limit in found]})
