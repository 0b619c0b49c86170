"""What holds for everything under `/api/`, also where no view is reached."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from django.http import HttpRequest, JsonResponse
from django.http.response import HttpResponseBase
from rest_framework.exceptions import ParseError
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser, JSONParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from vpspanel.api.errors import BROKEN, CODE_OF, error_body

PREFIX = "/api/"
CORRELATION = "X-Correlation-Id"


class JsonErrorsMiddleware:
    """Names every answer for the client's error message, and turns an error page into JSON.

    Views answer their own errors; this is for what Django refuses before one is reached.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]):
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if not request.path.startswith(PREFIX):
            return response
        if response.status_code >= 400 and not _is_json(response):
            response = _as_json(response.status_code)
        response[CORRELATION] = request.META["REQUEST_ID"]
        return response


def _is_json(response: HttpResponseBase) -> bool:
    return response.get("Content-Type", "").startswith("application/json")


def _as_json(status: int) -> JsonResponse:
    if status >= 500:
        return JsonResponse(error_body("server_error", BROKEN), status=status)
    body = error_body(CODE_OF.get(status, "invalid_input"), "This request was not understood.")
    return JsonResponse(body, status=status)


class Json(JSONParser):
    """JSON that is not nested deeper than Python can follow."""

    def parse(self, *args: Any, **kwargs: Any) -> Any:
        """The value. Raises `ParseError`."""
        try:
            return super().parse(*args, **kwargs)
        except RecursionError:
            raise ParseError("JSON parse error - nested too deeply") from None


class AlwaysJson(BaseContentNegotiation):
    """JSON in, JSON out, whatever the `Accept` header dreams of."""

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> Any:
        """The parser, for a body that says it is JSON or says nothing; None is a 415."""
        kind = (request.content_type or "").partition(";")[0].strip().lower()
        return next(iter(parsers)) if kind in ("", "application/json") else None

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: Any = None
    ) -> Any:
        """The renderer and its media type."""
        renderer = next(iter(renderers))
        return renderer, renderer.media_type
