"""Questions before something is done: a page of its own, or the same thing in a dialog.

A script asks with the header `X-Dialog` and gets only what goes into the
dialog. Its answer to a finished form is 204 with `X-Location`, because a
redirect that a script follows would use up the message meant for the next page.
"""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.cache import patch_vary_headers


def in_dialog(request: HttpRequest) -> bool:
    """True if a script wants it for a dialog."""
    return request.headers.get("X-Dialog") == "1"


def render_dialog(
    request: HttpRequest, template: str, context: dict[str, Any], *, status: int = 200
) -> HttpResponse:
    """The question, in the frame that was asked for."""
    frame = "parts/dialog_fragment.html" if in_dialog(request) else "parts/dialog_page.html"
    response = render(request, template, {**context, "frame": frame}, status=status)
    patch_vary_headers(response, ["X-Dialog"])
    return response


def unfollowed(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    """The response, with a redirect turned into what the dialog's script can follow itself."""
    if in_dialog(request) and response.status_code in (301, 302, 303):
        return HttpResponse(status=204, headers={"X-Location": response["Location"]})
    return response
