"""The page of a console ticket: one console and nothing else, to be shown in a frame.

It needs no cookie: the page itself says nothing about any server, and what it
posts for a ticket is a secret, so that no other page can post in its name.
"""

from __future__ import annotations

from csp.constants import NONE
from csp.decorators import csp_replace
from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import get_script_prefix, reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST, require_safe

from vpspanel.consoles.grants import enter_grant
from vpspanel.consoles.models import Kind
from vpspanel.consoles.services import TICKET_LIFE, issue_grant_ticket
from vpspanel.consoles.views import error, refused
from vpspanel.errors import NotFound, Refused

NAMES = {"serial": Kind.SERIAL, "screen": Kind.VNC}
OVER = "This console is not open any more."


def embed_path(kind: Kind, *, may_type: bool) -> str:
    """The path of the page for such a console."""
    name = next(name for name, one in NAMES.items() if one is kind)
    return reverse(f"consoles:embed_{name}" if may_type else f"consoles:watch_{name}")


@never_cache
@require_safe
def page(request: HttpRequest, name: str) -> HttpResponseBase:
    """The page with the console of that name, for those who may type."""
    return _page(request, name, types=True)


@never_cache
@require_safe
def watch_page(request: HttpRequest, name: str) -> HttpResponseBase:
    """The same without what only those need who type."""
    return _page(request, name, types=False)


def _page(request: HttpRequest, name: str, *, types: bool) -> HttpResponseBase:
    context = {
        "name": settings.CONSOLE_EMBED_NAME,
        "types": types,
        "mode": "embed",
        "kinds": (NAMES[name].value,),
        "ticket_url": reverse("consoles:embed_ticket"),
        "sockets": settings.CONSOLE_URL or f"{get_script_prefix()}ws/console/",
    }
    # Other sites' pages may show it in a frame if the settings name them.
    others = list(settings.CONSOLE_FRAME_ANCESTORS)

    @csp_replace({"frame-ancestors": others or [NONE]})
    def draw(request: HttpRequest) -> HttpResponse:
        return render(request, "console/page.html", context)

    answer = draw(request)
    answer.xframe_options_exempt = bool(others)  # type: ignore[attr-defined]
    answer["Referrer-Policy"] = "no-referrer"
    return answer


@never_cache
@csrf_exempt
@require_POST
def ticket(request: HttpRequest) -> HttpResponse:
    """A ticket for `secret`, `key` and `kind` of the form, or an error as JSON: 404, 429."""
    asked = request.POST
    try:
        grant = enter_grant(asked.get("secret", ""), asked.get("key", ""))
        if asked.get("kind", "") != grant.kind:
            raise NotFound("console")
        secret = issue_grant_ticket(grant, asked.get("key", ""))
    except NotFound:
        return error(404, "not_found", OVER)
    except Refused as refusal:
        return refused(refusal)
    return JsonResponse({"ticket": secret, "expires_in": int(TICKET_LIFE.total_seconds())})
