"""What every customer's page has in common: signed in, never cached, refusals shown."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec, cast

from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import cache_control

from vpspanel.errors import NotFound, Refused
from vpspanel.pages.actor import SignedInRequest, actor_from
from vpspanel.pages.dialogs import unfollowed

P = ParamSpec("P")
View = Callable[Concatenate[SignedInRequest, P], HttpResponse]
Page = Callable[Concatenate[HttpRequest, P], HttpResponseBase]


def customer_page(view: View[P]) -> Page[P]:
    """The view for those who are signed in; this is the only place that shows a `Refused`.

    What does not exist (for this user) is a 404 and a missing right a 403. Any
    other refusal answers a write: its sentence is shown on the server's page,
    or on the list if the address names no server. Whoever has to sign in first
    comes there as well after a write, for what it was sent to is often no page.
    """

    @functools.wraps(view)
    def guarded(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        server_id = kwargs.get("server_id")
        if not request.user.is_authenticated:
            is_write = request.method not in ("GET", "HEAD")
            return redirect_to_login(_back(server_id) if is_write else request.get_full_path())
        signed_in = cast(SignedInRequest, request)
        signed_in.actor = actor_from(request)
        try:
            return unfollowed(request, view(signed_in, *args, **kwargs))
        except NotFound as refusal:
            raise Http404(refusal.message) from refusal
        except Refused as refusal:
            return unfollowed(request, _refused(request, refusal, server_id))

    return cast(Page[P], cache_control(private=True, no_cache=True)(guarded))


def _back(server_id: object) -> str:
    """The server's page, or the list where none was named."""
    if server_id is None:
        return reverse("servers:list")
    return reverse("servers:show", kwargs={"server_id": server_id})


def _refused(request: HttpRequest, refusal: Refused, server_id: object) -> HttpResponse:
    if refusal.code == "forbidden" or request.method != "POST":
        return render(request, "403.html", {"reason": refusal.message}, status=403)
    messages.error(request, refusal.message)
    return redirect(_back(server_id))
