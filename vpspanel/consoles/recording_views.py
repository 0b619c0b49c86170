"""The list of a server's recordings, and each of them."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from vpspanel.consoles.recordings import delete_recording, read_recording, recordings_of
from vpspanel.consoles.rights import TYPE_ROLE
from vpspanel.consoles.views import actor_of, error, refused
from vpspanel.errors import NotFound, Refused
from vpspanel.servers.access import get_server, includes, role_of

MOST = 100  # that a page shows; a server keeps fewer


@login_required
@never_cache
@require_safe
def recordings(request: HttpRequest, server_id: int) -> HttpResponse:
    """The list as HTML, for the dialog of the console's page."""
    actor = actor_of(request)
    try:
        found = recordings_of(actor, server_id)[:MOST]
        role = role_of(actor, get_server(actor, server_id).project_id)
    except NotFound as missing:
        raise Http404(missing.message) from missing
    deletes = role is not None and includes(role, TYPE_ROLE)
    context = {"recordings": found, "server_id": server_id, "deletes": deletes}
    return render(request, "console/recordings.html", context)


@login_required
@never_cache
@require_safe
def recording(request: HttpRequest, server_id: int, recording_id: int) -> HttpResponse:
    """One as an asciicast file."""
    try:
        text = read_recording(actor_of(request), server_id, recording_id)
    except NotFound as missing:
        raise Http404(missing.message) from missing
    name = f"server-{server_id}-{recording_id}.cast"
    answer = HttpResponse(text, content_type="application/x-asciicast")
    answer["Content-Disposition"] = f'attachment; filename="{name}"'
    return answer


@never_cache
@require_POST
def delete(request: HttpRequest, server_id: int, recording_id: int) -> HttpResponse:
    """Take one away: 200, or an error as JSON (401, 403, 404)."""
    if not request.user.is_authenticated:
        return error(401, "unauthorized", "You are signed out.")
    try:
        delete_recording(actor_of(request), server_id, recording_id)
    except Refused as refusal:
        return refused(refusal)
    return HttpResponse(b"{}", content_type="application/json")
