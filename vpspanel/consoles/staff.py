"""The staff's way to a customer's serial console: to watch, seen by everybody there, recorded."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from vpspanel.accounts.models import User
from vpspanel.consoles.rights import may_watch_as_staff
from vpspanel.consoles.services import TICKET_LIFE, issue_staff_ticket
from vpspanel.consoles.views import Mode, error, refused, show_console
from vpspanel.errors import Refused
from vpspanel.events.actor import Actor
from vpspanel.servers.models import Server


@login_required
@never_cache
@require_safe
def page(request: HttpRequest, server_id: int) -> HttpResponse:
    """The terminal alone. 404 for everybody without the permission."""
    pair = (request.user.pk or 0, server_id)
    if pair not in may_watch_as_staff({pair}):
        raise Http404("This server was not found.")
    server = Server.objects.select_related("host").get(pk=server_id)
    ticket_url = reverse("consoles:staff_ticket", args=[server_id])
    return show_console(request, server, Mode.STAFF, ticket_url=ticket_url, kinds=("serial",))


@never_cache
@require_POST
def ticket(request: HttpRequest, server_id: int) -> JsonResponse:
    """A ticket to watch, as `views.ticket` gives them to members."""
    if not isinstance(request.user, User):
        return error(401, "unauthorized", "You are signed out.")
    actor = Actor(request.user, "staff", request.META.get("REMOTE_ADDR"))
    try:
        secret = issue_staff_ticket(actor, server_id, request.session.session_key or "")
    except Refused as refusal:
        return refused(refusal)
    return JsonResponse({"ticket": secret, "expires_in": int(TICKET_LIFE.total_seconds())})
