"""The power menu of the console's page: what is allowed now, and doing it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from vpspanel.actions.models import Action
from vpspanel.actions.services import open_action
from vpspanel.consoles.views import actor_of, error, refused
from vpspanel.errors import NotFound, Refused
from vpspanel.events.actor import Actor
from vpspanel.servers import services
from vpspanel.servers.access import get_server
from vpspanel.servers.services import facts_of
from vpspanel.servers.states import Verb, allowed

SERVICES: dict[Verb, Callable[[Actor, int], Action]] = {
    Verb.POWER_ON: services.power_on,
    Verb.SHUTDOWN: services.shutdown,
    Verb.REBOOT: services.reboot,
    Verb.POWER_OFF: services.power_off,
    Verb.RESET: services.reset,
}
LOOKS = {
    Verb.POWER_ON: ("Start", "player-play", ""),
    Verb.SHUTDOWN: ("Shut down", "player-stop", ""),
    Verb.REBOOT: ("Reboot", "refresh", ""),
    Verb.POWER_OFF: (
        "Power off",
        "power",
        "This is like pulling the plug: what its system has not written to disk is lost.",
    ),
    Verb.RESET: (
        "Reset",
        "rotate-clockwise",
        "It starts again at once: what its system has not written to disk is lost.",
    ),
}


@dataclass(frozen=True, slots=True)
class Item:
    """One line of the menu; `ask` is what to confirm first, `why` what forbids it now."""

    verb: Verb
    label: str
    icon: str
    ask: str
    why: str


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def power(request: HttpRequest, server_id: int) -> HttpResponse:
    """The menu as HTML on GET. On POST the `verb` of the form is asked for: 202, or an error
    as JSON (400, 401, 403, 404, 409). 404 for strangers.
    """
    if not request.user.is_authenticated:
        return error(401, "unauthorized", "You are signed out.")
    actor = actor_of(request)
    try:
        if request.method != "POST":
            return render(request, "console/power.html", {"verbs": _menu(actor, server_id)})
        return _do(request, actor, server_id)
    except NotFound as missing:
        raise Http404(missing.message) from missing
    except Refused as refusal:
        return refused(refusal)


def _menu(actor: Actor, server_id: int) -> list[Item]:
    server = get_server(actor, server_id, Verb.POWER_ON)
    why = allowed(facts_of(server, open_action("server", server.pk)))
    return [Item(verb, *LOOKS[verb], why[verb]) for verb in SERVICES]


def _do(request: HttpRequest, actor: Actor, server_id: int) -> HttpResponse:
    get_server(actor, server_id, Verb.POWER_ON)
    verb = request.POST.get("verb", "")
    if verb not in SERVICES:
        return error(422, "invalid_input", "There is no such verb.")
    SERVICES[Verb(verb)](actor, server_id)
    return HttpResponse(b"{}", content_type="application/json", status=202)
