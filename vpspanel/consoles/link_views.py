"""The links of a server's consoles, for those who make and revoke them."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from vpspanel.consoles.links import create_link, links_of, revoke_link
from vpspanel.consoles.views import actor_of, error, refused
from vpspanel.errors import NotFound, Refused


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def links(request: HttpRequest, server_id: int) -> HttpResponse:
    """The list as HTML on GET. On POST a new one for the `kind` and `life` of the form, as
    `{"secret"}`, or an error as JSON (401, 403, 404, 409, 422).
    """
    if not request.user.is_authenticated:
        return error(401, "unauthorized", "You are signed out.")
    actor = actor_of(request)
    try:
        if request.method != "POST":
            context = {"links": links_of(actor, server_id), "server_id": server_id}
            return render(request, "console/links.html", context)
        kind, life = request.POST.get("kind", ""), request.POST.get("life", "")
        return JsonResponse({"secret": create_link(actor, server_id, kind, life)})
    except NotFound as missing:
        raise Http404(missing.message) from missing
    except Refused as refusal:
        return refused(refusal)


@never_cache
@require_POST
def revoke(request: HttpRequest, server_id: int, link_id: int) -> HttpResponse:
    """Revoke one: 200, or an error as JSON (401, 403, 404)."""
    if not request.user.is_authenticated:
        return error(401, "unauthorized", "You are signed out.")
    try:
        revoke_link(actor_of(request), server_id, link_id)
    except Refused as refusal:
        return refused(refusal)
    return HttpResponse(b"{}", content_type="application/json")
