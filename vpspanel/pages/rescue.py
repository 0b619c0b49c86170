"""The dialogs of the rescue system: enable it, disable it, show its password once."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from vpspanel.pages.actor import SignedInRequest
from vpspanel.pages.changes import METHODS, show_dialog, tried
from vpspanel.pages.customer import customer_page
from vpspanel.pages.dialogs import render_dialog
from vpspanel.pages.forms import RescueForm
from vpspanel.pages.power import ask
from vpspanel.servers import rescue
from vpspanel.servers.access import get_server
from vpspanel.servers.states import Verb


@customer_page
@require_http_methods(METHODS)
def enable(request: SignedInRequest, server_id: int) -> HttpResponse:
    """Let its next start boot the rescue system."""
    server = get_server(request.actor, server_id, Verb.ENABLE_RESCUE)
    keys = list(server.project.ssh_keys.all()[:2])
    initial = {"ssh_keys": [key.pk for key in keys] if len(keys) == 1 else []}
    sent = request.POST if request.method == "POST" else None
    form = RescueForm(sent, project=server.project, initial=initial)

    def deed() -> None:
        chosen = list(form.cleaned_data["ssh_keys"])
        rescue.enable_rescue(request.actor, server_id, ssh_keys=chosen)

    if request.method == "POST" and tried(form, deed):
        messages.success(request, f"The rescue system of {server.name} is being prepared.")
        return redirect("servers:show", server_id=server_id)
    return show_dialog(request, Verb.ENABLE_RESCUE, server, form)


@customer_page
@require_http_methods(METHODS)
def disable(request: SignedInRequest, server_id: int) -> HttpResponse:
    """Let its next start boot its own system."""
    said = "The next start of {name} boots its own system."
    return ask(request, server_id, Verb.DISABLE_RESCUE, rescue.disable_rescue, said)


@customer_page
@never_cache
@require_POST
def reveal_password(request: SignedInRequest, server_id: int) -> HttpResponse:
    """The password of the rescue system, once. It is in this answer and nowhere else."""
    server = get_server(request.actor, server_id, Verb.ENABLE_RESCUE)
    password = rescue.reveal_rescue_password(request.actor, server_id)
    if password is None:
        messages.warning(request, "There is no password to show: it was shown before.")
        return redirect("servers:show", server_id=server_id)
    context = {"server": server, "password": password, "of_rescue": True}
    return render_dialog(request, "servers/password.html", context)
