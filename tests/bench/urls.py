"""The panel's addresses and one more: a view that does nothing, behind the same middleware."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.urls import include, path

EMPTY = "/bench-empty/"


def empty(request: HttpRequest) -> HttpResponse:
    """As little as a view can do, and the one thing that every page does: know who asks."""
    return HttpResponse("yes" if request.user.is_authenticated else "no")


urlpatterns = [
    path(EMPTY.strip("/") + "/", empty),
    path("", include("vpspanel.urls")),
]
