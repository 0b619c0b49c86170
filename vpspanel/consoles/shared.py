"""A visitor's way to a console by a link: no account, to watch, until the link ends.

The link's secret stands behind the `#` of its address, which browsers send to
nobody. The page there posts it once; the session then remembers the link.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from vpspanel.consoles.links import enter_link
from vpspanel.consoles.models import Kind, ShareLink
from vpspanel.consoles.rights import LINK_IN_SESSION, valid_links
from vpspanel.consoles.services import TICKET_LIFE, issue_link_ticket
from vpspanel.consoles.views import Mode, error, refused, show_console
from vpspanel.errors import NotFound, Refused

View = Callable[[HttpRequest], HttpResponse]

OVER = "This link is not valid any more."


def tells_nobody(view: View) -> View:
    """Its page says to no other site where somebody came from."""

    @wraps(view)
    def quiet(request: HttpRequest) -> HttpResponse:
        answer = view(request)
        answer["Referrer-Policy"] = "no-referrer"
        return answer

    return quiet


@never_cache
@require_safe
@tells_nobody
def entrance(request: HttpRequest) -> HttpResponse:
    """The page of every link; its script posts the secret."""
    return render(request, "console/shared.html")


@never_cache
@require_POST
@tells_nobody
def enter(request: HttpRequest) -> HttpResponse:
    """Exchange the `secret` of the form for a session: `{"url"}`, or 404, 422, 429."""
    secret = request.POST.get("secret", "")
    if not secret:
        return error(422, "invalid_input", "This link is not complete.")
    try:
        link = enter_link(secret, request.META.get("REMOTE_ADDR", ""))
    except NotFound:
        return error(404, "not_found", OVER)
    except Refused as refusal:
        return refused(refusal)
    request.session[LINK_IN_SESSION] = link.pk
    if not request.user.is_authenticated:
        request.session.cycle_key()
    return JsonResponse({"url": reverse("consoles:shared_console")})


@never_cache
@require_safe
@tells_nobody
def page(request: HttpRequest) -> HttpResponse:
    """The console alone, without anything else about the server. 404 once the link has ended."""
    link = _link_of(request)
    if link is None:
        return render(request, "console/shared.html", {"over": OVER}, status=404)
    kinds = (link.kind,)
    ticket_url = reverse("consoles:shared_ticket")
    return show_console(request, link.server, Mode.GUEST, ticket_url=ticket_url, kinds=kinds)


@never_cache
@require_POST
@tells_nobody
def ticket(request: HttpRequest) -> HttpResponse:
    """A ticket to watch, as `views.ticket` gives them to members."""
    link = _link_of(request)
    if link is None or request.POST.get("kind", Kind.SERIAL.value) != link.kind:
        return error(404, "not_found", OVER)
    try:
        secret = issue_link_ticket(link, request.session.session_key or "")
    except Refused as refusal:
        return refused(refusal)
    return JsonResponse({"ticket": secret, "expires_in": int(TICKET_LIFE.total_seconds())})


def _link_of(request: HttpRequest) -> ShareLink | None:
    """The link by which this session came, if it is valid now."""
    link_id = request.session.get(LINK_IN_SESSION)
    if not isinstance(link_id, int) or link_id not in valid_links({link_id}):
        return None
    return ShareLink.objects.select_related("server__host").get(pk=link_id)
