"""Choosing the project whose things are shown."""

from __future__ import annotations

from django.http import HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_POST

from vpspanel.errors import NotFound
from vpspanel.pages.actor import SignedInRequest
from vpspanel.pages.customer import customer_page
from vpspanel.pages.shell import choose_project
from vpspanel.servers.access import get_project

_LISTS = ("servers:list", "servers:order", "keys:list")


@customer_page
@require_POST
def choose(request: SignedInRequest) -> HttpResponse:
    """Show only this project from now on, or all of them."""
    wanted = request.POST.get("project", "")
    if wanted and not (wanted.isdecimal() and len(wanted) < 20):
        raise NotFound("project")
    choose_project(request, get_project(request.actor, int(wanted)) if wanted else None)
    back = request.POST.get("next", "")
    return redirect(back if back in map(reverse, _LISTS) else "servers:list")
