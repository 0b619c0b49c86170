"""Power: each verb one POST; the hard ones ask first. And what waits can be cancelled."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods, require_POST

from vpspanel.actions.models import Action
from vpspanel.events.actor import Actor
from vpspanel.pages.actor import SignedInRequest
from vpspanel.pages.customer import customer_page
from vpspanel.pages.dialogs import render_dialog
from vpspanel.servers import services
from vpspanel.servers.access import get_server
from vpspanel.servers.states import Verb

Service = Callable[[Actor, int], Action]


def _do(request: SignedInRequest, server_id: int, service: Service, said: str) -> HttpResponse:
    """Ask the service, and go back to where the button was."""
    service(request.actor, server_id)
    messages.success(request, said.format(name=get_server(request.actor, server_id).name))
    if request.POST.get("from") == "list":
        return redirect("servers:list")
    return redirect("servers:show", server_id=server_id)


def ask(
    request: SignedInRequest, server_id: int, verb: Verb, service: Service, said: str
) -> HttpResponse:
    """The question on GET, the deed on POST."""
    if request.method == "POST":
        return _do(request, server_id, service, said)
    server = get_server(request.actor, server_id, verb)
    return render_dialog(request, f"servers/{verb}.html", {"server": server})


@customer_page
@require_POST
def power_on(request: SignedInRequest, server_id: int) -> HttpResponse:
    """Start it."""
    return _do(request, server_id, services.power_on, "{name} is being started.")


@customer_page
@require_POST
def shutdown(request: SignedInRequest, server_id: int) -> HttpResponse:
    """Ask its system to power off."""
    return _do(request, server_id, services.shutdown, "{name} was asked to shut down.")


@customer_page
@require_POST
def reboot(request: SignedInRequest, server_id: int) -> HttpResponse:
    """Ask its system to reboot."""
    return _do(request, server_id, services.reboot, "{name} was asked to reboot.")


@customer_page
@require_http_methods(["GET", "HEAD", "POST"])
def power_off(request: SignedInRequest, server_id: int) -> HttpResponse:
    """Pull the plug."""
    said = "{name} is being powered off."
    return ask(request, server_id, Verb.POWER_OFF, services.power_off, said)


@customer_page
@require_http_methods(["GET", "HEAD", "POST"])
def reset(request: SignedInRequest, server_id: int) -> HttpResponse:
    """Press the reset button."""
    return ask(request, server_id, Verb.RESET, services.reset, "{name} is being reset.")


@customer_page
@require_http_methods(["GET", "HEAD", "POST"])
def reset_password(request: SignedInRequest, server_id: int) -> HttpResponse:
    """Give root a new password."""
    said = "{name} gets a new root password; it can be shown in a moment."
    return ask(request, server_id, Verb.RESET_PASSWORD, services.reset_password, said)


@customer_page
@require_POST
def cancel(request: SignedInRequest, server_id: int) -> HttpResponse:
    """Do without what has not begun."""
    action = services.cancel_open_action(request.actor, server_id)
    messages.success(request, f"Cancelled: {action.command.replace('_', ' ')}.")
    return redirect("servers:show", server_id=server_id)
