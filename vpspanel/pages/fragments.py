"""Parts of pages that scripts fetch again: the same HTML, known by its hash.

A part holds no token and no clock, so that it changes only when something did.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils.cache import get_conditional_response
from django.utils.http import quote_etag
from django.utils.safestring import SafeString


@dataclass(frozen=True, slots=True)
class Fragment:
    """A rendered part and its entity tag."""

    html: SafeString
    etag: str


def make_fragment(request: HttpRequest, template: str, context: dict[str, Any]) -> Fragment:
    """The part, rendered without the request's context processors."""
    html = render_to_string(template, context)
    digest = hashlib.blake2b(html.encode(), digest_size=16).hexdigest()
    return Fragment(html, quote_etag(digest))


def send_fragment(request: HttpRequest, fragment: Fragment) -> HttpResponse:
    """The part, or 304 if the browser has it."""
    response = HttpResponse(fragment.html)
    response["ETag"] = fragment.etag
    conditional = get_conditional_response(request, etag=fragment.etag, response=response)
    return response if conditional is None else conditional
