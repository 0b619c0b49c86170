"""The list of servers, and the page of one."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from vpspanel.pages.actor import SignedInRequest
from vpspanel.pages.customer import customer_page
from vpspanel.pages.dialogs import render_dialog
from vpspanel.pages.fragments import Fragment, make_fragment, send_fragment
from vpspanel.pages.shell import chosen_project
from vpspanel.pages.shown import Address, shown_addresses
from vpspanel.servers.models import Lifecycle, ServerTypePrice
from vpspanel.servers.reading import ServerDetail, find_servers, list_servers, server_detail
from vpspanel.servers.rescue import expires_at
from vpspanel.servers.services import reveal_root_password
from vpspanel.servers.states import Verb

PER_PAGE = 50


@customer_page
@require_safe
def home(request: SignedInRequest) -> HttpResponse:
    """The list of servers is the first page."""
    return redirect("servers:list")


@customer_page
@require_safe
def list_page(request: SignedInRequest) -> HttpResponse:
    """All servers of the chosen project, in pages."""
    context = _list_context(request)
    context["fragment"] = _rows(request, context)
    return render(request, "servers/list.html", context)


@customer_page
@require_safe
def list_fragment(request: SignedInRequest) -> HttpResponse:
    """The rows of one page of the list."""
    return send_fragment(request, _rows(request, _list_context(request)))


def _list_context(request: SignedInRequest) -> dict[str, Any]:
    words = request.GET.get("q", "").strip()[:100]
    found = find_servers(request.actor, project=chosen_project(request), words=words)
    page = Paginator(found, PER_PAGE).get_page(request.GET.get("page"))
    rows = [
        {"row": row, "addresses": shown_addresses(row.addresses)}
        for row in list_servers(request.actor, page.object_list)  # type: ignore[arg-type]
    ]
    query = urlencode({"q": words, "page": page.number})
    return {"rows": rows, "page": page, "words": words, "query": query}


def _rows(request: SignedInRequest, context: dict[str, Any]) -> Fragment:
    return make_fragment(request, "servers/rows.html", {**context, "Verb": Verb})


@customer_page
@require_safe
def show(request: SignedInRequest, server_id: int) -> HttpResponse:
    """The page of a server."""
    detail = server_detail(request.actor, server_id)
    context = {"detail": detail, "server": detail.server}
    context["fragment"] = _live(request, detail)
    return render(request, "servers/show.html", context)


@customer_page
@require_safe
def fragment(request: SignedInRequest, server_id: int) -> HttpResponse:
    """What of that page changes by itself."""
    return send_fragment(request, _live(request, server_detail(request.actor, server_id)))


def _live(request: SignedInRequest, detail: ServerDetail) -> Fragment:
    server = detail.server
    price = ServerTypePrice.objects.filter(
        server_type=server.server_type_id, location=server.location_id
    ).first()
    context = {
        "detail": detail,
        "server": server,
        "addresses": shown_addresses(detail.addresses),
        "login": _login(detail),
        "price": price,
        "can": {verb.value: not why for verb, why in detail.allowed.items()},
        "why": {verb.value: why for verb, why in detail.allowed.items()},
        "rescue_until": expires_at(server),
        "usable": server.lifecycle == Lifecycle.ACTIVE and not server.is_suspended,
    }
    return make_fragment(request, "servers/live.html", context)


def _login(detail: ServerDetail) -> str:
    """The command to sign in with, once there is an address."""
    addresses: list[Address] = shown_addresses(detail.addresses)
    return f"ssh root@{addresses[0].first}" if addresses else ""


@customer_page
@never_cache
@require_POST
def reveal_password(request: SignedInRequest, server_id: int) -> HttpResponse:
    """The root password, once. It is in this answer and nowhere else."""
    detail = server_detail(request.actor, server_id)
    password = reveal_root_password(request.actor, server_id)
    if password is None:
        messages.warning(
            request, "There is no password to show: it was shown before. You can set a new one."
        )
        return redirect("servers:show", server_id=server_id)
    context = {"server": detail.server, "password": password}
    return render_dialog(request, "servers/password.html", context)
