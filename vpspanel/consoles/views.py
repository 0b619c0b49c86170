"""The console's page, which the browser opens in a tab of its own."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import get_script_prefix
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from vpspanel.accounts.models import User
from vpspanel.actions.services import open_action
from vpspanel.consoles.door import TICKET_COOKIE
from vpspanel.consoles.models import Kind
from vpspanel.consoles.rights import TYPE_ROLE
from vpspanel.consoles.services import TICKET_LIFE, issue_ticket
from vpspanel.errors import NotFound, Refused
from vpspanel.events.actor import Actor
from vpspanel.servers.access import get_server, includes, role_of
from vpspanel.servers.models import Server
from vpspanel.servers.services import facts_of
from vpspanel.servers.states import Status, Verb, shown_status

STATUS_OF = {"not_found": 404, "forbidden": 403, "rate_limit_exceeded": 429}


@login_required
@never_cache
@require_safe
def page(request: HttpRequest, server_id: int) -> HttpResponse:
    """The terminal. 404 for strangers."""
    actor = actor_of(request)
    server = _server(actor, server_id)
    return render(
        request,
        "console/page.html",
        {
            "server": server,
            "status": _status(server),
            "types": _types(actor, server),
            "sockets": settings.CONSOLE_URL or f"{get_script_prefix()}ws/console/",
            "simulated": server.host is not None and server.host.uri.startswith("fake:"),
        },
    )


@never_cache
@require_POST
def ticket(request: HttpRequest, server_id: int) -> JsonResponse:
    """A fresh ticket as JSON, asked for by the page right before it connects.

    The form says for which `kind`: "serial" (also if it says nothing) or "vnc".
    An error is `{"error": {"code", "message"}}`: 400, 401 signed out, 403, 404, 429.
    """
    if not request.user.is_authenticated:
        return error(401, "unauthorized", "You are signed out.")
    wanted = request.POST.get("kind", Kind.SERIAL.value)
    if wanted not in Kind.values:
        return error(400, "invalid_input", "There is no such console.")
    key = request.session.session_key or ""
    try:
        secret = issue_ticket(actor_of(request), server_id, Kind(wanted), key)
    except Refused as refusal:
        return refused(refusal)
    answer = {"ticket": secret, "expires_in": int(TICKET_LIFE.total_seconds())}
    if wanted == Kind.VNC and settings.CONSOLE_PROXY_URL:
        return _proxied(request, server_id, answer)
    return JsonResponse(answer)


def _proxied(request: HttpRequest, server_id: int, answer: dict[str, Any]) -> JsonResponse:
    """The same, where screens come through `consoleproxy`.

    `proxy` is its address for this screen, where the browser shows the ticket
    as a cookie. Such a socket carries nothing but the screen, so `types` says
    here whether the user may type.
    """
    address = f"{settings.CONSOLE_PROXY_URL}{server_id}/"
    actor = actor_of(request)
    types = _types(actor, get_server(actor, server_id))
    response = JsonResponse({**answer, "proxy": address, "types": types})
    response.set_cookie(
        TICKET_COOKIE,
        answer["ticket"],
        max_age=TICKET_LIFE,
        path=urlsplit(address).path,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Strict",
    )
    return response


@login_required
@never_cache
@require_safe
def status(request: HttpRequest, server_id: int) -> HttpResponse:
    """The power badge alone, as the page fetches it after a poke."""
    server = _server(actor_of(request), server_id)
    return render(request, "console/status.html", {"status": _status(server)})


def actor_of(request: HttpRequest) -> Actor:
    """Who asks."""
    user = request.user if isinstance(request.user, User) else None
    return Actor(user, "page", request.META.get("REMOTE_ADDR"))


def _server(actor: Actor, server_id: int) -> Server:
    try:
        return get_server(actor, server_id, Verb.CONSOLE)
    except NotFound as missing:
        raise Http404(missing.message) from missing


def _types(actor: Actor, server: Server) -> bool:
    role = role_of(actor, server.project_id)
    return role is not None and includes(role, TYPE_ROLE)


def _status(server: Server) -> Status:
    return shown_status(facts_of(server, open_action("server", server.pk)))


def refused(refusal: Refused) -> JsonResponse:
    """A refusal as JSON."""
    return error(STATUS_OF.get(refusal.code, 409), refusal.code, refusal.message)


def error(http: int, code: str, message: str) -> JsonResponse:
    """An error as JSON, with its HTTP status."""
    return JsonResponse({"error": {"code": code, "message": message}}, status=http)
