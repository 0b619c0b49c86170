"""Who asks: a token in the `Authorization` header, looked up anew for each request."""

from __future__ import annotations

import enum
from typing import Any

from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed, NotAuthenticated
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from vpspanel.accounts.models import ApiToken
from vpspanel.accounts.token_services import act_in, allows_address, find_token, note_use
from vpspanel.errors import NotFound, Refused

SCHEME = "bearer"
PROJECT_HEADER = "X-Project"
MOST_DIGITS = 16


class Whose(enum.Enum):
    """For whom a token must speak to use a view."""

    ANYBODY = "anybody"
    PROJECT = "one project"
    RESELLER = "a reseller"


class BearerToken(BaseAuthentication):
    """`Authorization: Bearer vpsp_…`, or `vpsr_…` of a reseller."""

    def authenticate(self, request: Request) -> tuple[None, ApiToken] | None:
        """No user, and the token. Unknown, expired and revoked ones are told apart by nobody."""
        scheme, _, secret = request.headers.get("Authorization", "").strip().partition(" ")
        if scheme.lower() != SCHEME:
            return None
        token = find_token(secret.strip())
        if token is None:
            raise AuthenticationFailed("The token is unknown, was revoked or has expired.")
        return None, token

    def authenticate_header(self, request: Request) -> str:
        """What a refused client is asked for."""
        return "Bearer"


class TokenMay(BasePermission):
    """A token is there, comes from where it may, writes only if it may, and speaks for whom."""

    def has_permission(self, request: Request, view: Any) -> bool:
        """True, or an exception that says why not."""
        token = request.auth
        if not isinstance(token, ApiToken):
            raise NotAuthenticated("Send a token: Authorization: Bearer …")
        ip = request.META.get("REMOTE_ADDR")
        if not allows_address(token, ip):
            raise Refused("forbidden", "This token may not be used from your address.")
        if request.method not in SAFE_METHODS and not token.may_write:
            raise Refused("token_readonly", "This token only reads.")
        _act_in_named_project(request, token)
        _need(token, view.whose)
        note_use(token, ip)
        return True


def _act_in_named_project(request: Request, token: ApiToken) -> None:
    """A reseller's token acts in the project that the header names. Raises `NotFound`."""
    if PROJECT_HEADER not in request.headers:
        return
    named = request.headers[PROJECT_HEADER].strip()
    if not (named.isascii() and named.isdecimal()) or len(named) > MOST_DIGITS:
        raise NotFound("project")
    act_in(token, int(named))


def _need(token: ApiToken, whose: Whose) -> None:
    """Raises `Refused` unless the token speaks for what a view is about."""
    if whose is Whose.PROJECT and token.project_id is None:
        message = f"This is about one project. Name it in the header {PROJECT_HEADER}: <id>."
        raise Refused("forbidden", message)
    if whose is Whose.RESELLER and token.account_id is None:
        raise Refused("forbidden", "This needs the token of a reseller.")
