"""Announcements of the staff: every page shows them, until somebody puts them away."""

from __future__ import annotations

from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

from vpspanel.pages.actor import SignedInRequest
from vpspanel.pages.customer import customer_page
from vpspanel.servers.announcements import dismiss as put_away


@customer_page
@require_POST
def dismiss(request: SignedInRequest, announcement_id: int) -> HttpResponse:
    """Put one away, and go back to the page on which it stood."""
    put_away(request.actor, announcement_id)
    back = request.POST.get("next", "")
    is_ours = back.startswith("/") and url_has_allowed_host_and_scheme(back, allowed_hosts=None)
    return redirect(back if is_ours else "servers:list")
