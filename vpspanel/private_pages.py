"""What depends on who asks is not kept: by nobody between, and not shown again without asking."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.cache import has_vary_header, patch_cache_control


class PrivatePagesMiddleware:
    """Says so for every page that read the session and says nothing about caching itself.

    That is the pages of a person's account and each error page: they carry the
    person's address. Stands outside the session's middleware, which notes in
    the answer that the session was read.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]):
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if has_vary_header(response, "Cookie") and not response.has_header("Cache-Control"):
            patch_cache_control(response, private=True, no_cache=True)
        return response
