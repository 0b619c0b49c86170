"""Errors as programs read them: `{"error": {"code", "message", "details"}}`, always."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import structlog
from django.core.exceptions import RequestDataTooBig
from django.http import Http404
from rest_framework import exceptions
from rest_framework.response import Response

from vpspanel.errors import NotFound, Refused

log = structlog.get_logger(__name__)

# Clients decide on the code; the number is for people, proxies and plain HTTP tools.
STATUS_OF = {
    "json_error": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "token_readonly": 403,
    "resource_limit_exceeded": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "conflict": 409,
    "uniqueness_error": 409,
    "deprecated_api_endpoint": 410,
    "resource_unavailable": 412,
    "placement_error": 412,
    "payload_too_large": 413,
    "unsupported_media_type": 415,
    "idempotency_key_reused": 422,
    "invalid_input": 422,
    "protected": 422,
    "server_not_running": 422,
    "server_not_stopped": 422,
    "unsupported_error": 422,
    "locked": 423,
    "rate_limit_exceeded": 429,
    "server_error": 500,
}
OTHERWISE = 409  # a refusal whose code this table does not know is about the state of things
# Outside of views.
CODE_OF = {
    400: "invalid_input",
    404: "not_found",
    405: "method_not_allowed",
    413: "payload_too_large",
}

BROKEN = "Something broke on our side. Nothing is known to have changed."


class RateLimited(Refused):
    """Too many requests; `wait` says for how many seconds."""

    def __init__(self, wait: int):
        super().__init__("rate_limit_exceeded", f"Too many requests. Try again in {wait} s.")
        self.wait = wait


class InvalidInput(Refused):
    """Several fields are wrong at once."""

    def __init__(self, fields: dict[str, list[str]]):
        first, messages = next(iter(fields.items()))
        super().__init__("invalid_input", f"invalid input in field '{first}': {messages[0]}")
        self.fields = fields


def unsupported(what: str) -> Refused:
    """The refusal of something that hcloud has and this panel does not."""
    return Refused("unsupported_error", f"This panel does not offer {what}.")


def error_body(code: str, message: str, details: dict[str, Any] | None = None) -> dict[str, Any]:
    """The body of every error."""
    return {"error": {"code": code, "message": message, "details": details or {}}}


def answer_to(error: Exception, context: dict[str, Any]) -> Response:
    """What a view's exception is answered with. Nothing gets past it, so nothing is HTML."""
    refusal = _refusal(error)
    if refusal is None:
        log.error("api_error", path=context["request"].path, exc_info=error)
        return Response(error_body("server_error", BROKEN), 500)
    status = STATUS_OF.get(refusal.code, OTHERWISE)
    headers = {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(refusal, RateLimited):
        headers["Retry-After"] = str(refusal.wait)
    return Response(
        error_body(refusal.code, refusal.message, _details(refusal)), status, headers=headers
    )


def _refusal(error: Exception) -> Refused | None:
    """The refusal that an exception stands for; None for a bug."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, Http404):
        return NotFound()
    if isinstance(error, RequestDataTooBig):
        return Refused("payload_too_large", "This is more than the panel takes.")
    if isinstance(error, exceptions.ValidationError):
        return InvalidInput(dict(_fields(error.detail)))
    if isinstance(error, exceptions.APIException):
        code = _DRF_CODES.get(type(error))
        return Refused(code, str(error.detail)) if code else None
    return None


_DRF_CODES: dict[type[exceptions.APIException], str] = {
    exceptions.NotAuthenticated: "unauthorized",
    exceptions.AuthenticationFailed: "unauthorized",
    exceptions.PermissionDenied: "forbidden",
    exceptions.NotFound: "not_found",
    exceptions.MethodNotAllowed: "method_not_allowed",
    exceptions.UnsupportedMediaType: "unsupported_media_type",
    exceptions.ParseError: "json_error",
}


def _fields(detail: Any, path: str = "") -> Iterator[tuple[str, list[str]]]:
    """(name, messages) of each wrong field; a field of a field is named with a dot."""
    if isinstance(detail, dict):
        for name, inner in detail.items():
            here = path if name == "non_field_errors" else f"{path}.{name}".strip(".")
            yield from _fields(inner, here)
    elif detail and isinstance(detail[0], dict):
        for inner in detail:
            yield from _fields(inner, path)
    elif detail:
        yield path or "body", [str(message) for message in detail]


def _details(refusal: Refused) -> dict[str, Any]:
    if isinstance(refusal, InvalidInput):
        fields = [{"name": name, "messages": found} for name, found in refusal.fields.items()]
        return {"fields": fields}
    if refusal.field is None:
        return {}
    if refusal.code == "uniqueness_error":
        return {"fields": [{"name": refusal.field}]}
    if refusal.code == "resource_limit_exceeded":
        return {"limits": [{"name": refusal.field}]}
    return {"fields": [{"name": refusal.field, "messages": [refusal.message]}]}
