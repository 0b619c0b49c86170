"""Who asks: a token in the `Authorization` header, looked up anew for each request."""

from __future__ import annotations

from typing import Any

from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed, NotAuthenticated
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from vpspanel.accounts.models import ApiToken
from vpspanel.accounts.token_services import allows_address, find_token, note_use
from vpspanel.errors import Refused

SCHEME = "bearer"


class BearerToken(BaseAuthentication):
    """`Authorization: Bearer vpsp_…`."""

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
    """A token is there, comes from where it may, and writes only if it may."""

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
        note_use(token, ip)
        return True
