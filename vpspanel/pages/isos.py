"""The dialogs of a server's CD-ROM: put an ISO in, take it out."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods

from vpspanel.pages.actor import SignedInRequest
from vpspanel.pages.changes import METHODS, show_dialog, tried
from vpspanel.pages.customer import customer_page
from vpspanel.pages.forms import IsoForm
from vpspanel.pages.power import ask
from vpspanel.servers.access import get_server
from vpspanel.servers.isos import attach_iso, detach_iso
from vpspanel.servers.states import Verb


@customer_page
@require_http_methods(METHODS)
def attach(request: SignedInRequest, server_id: int) -> HttpResponse:
    """Let its next start boot from an ISO."""
    server = get_server(request.actor, server_id, Verb.ATTACH_ISO)
    form = IsoForm(request.POST or None, initial={"iso": server.iso_id})

    def deed() -> None:
        attach_iso(request.actor, server_id, form.cleaned_data["iso"])

    if request.method == "POST" and tried(form, deed):
        iso = form.cleaned_data["iso"]
        messages.success(request, f"{iso.description} is being attached to {server.name}.")
        return redirect("servers:show", server_id=server_id)
    return show_dialog(request, Verb.ATTACH_ISO, server, form)


@customer_page
@require_http_methods(METHODS)
def detach(request: SignedInRequest, server_id: int) -> HttpResponse:
    """Let its next start boot from its own disk."""
    said = "The next start of {name} boots from its own disk."
    return ask(request, server_id, Verb.DETACH_ISO, detach_iso, said)
