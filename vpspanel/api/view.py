"""What every view of the API has in common."""

from __future__ import annotations

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from vpspanel.accounts.models import Account, ApiToken, Project
from vpspanel.api import budget
from vpspanel.api.auth import Whose
from vpspanel.api.errors import RateLimited
from vpspanel.api.once import answer_once
from vpspanel.errors import Refused
from vpspanel.events.actor import Actor


class ApiView(APIView):
    """A view that knows its token, which must speak for `whose` things it is about.

    Each request costs one of the token's budget if `counted`.
    """

    counted = True
    whose = Whose.PROJECT
    _budget: budget.Budget | None = None

    @property
    def token(self) -> ApiToken:
        """The token that was shown."""
        token = self.request.auth
        if not isinstance(token, ApiToken):
            raise TypeError("a view was reached without a token")
        return token

    @property
    def project(self) -> Project:
        """The project that the token acts in. A reseller's token may act in none."""
        project = self.token.project
        if project is None:
            raise TypeError("a view of a project was reached without one")
        return project

    @property
    def reseller(self) -> Account:
        """The account that a reseller's token acts for."""
        account = self.token.account
        if account is None:
            raise TypeError("a view of resellers was reached with another token")
        return account

    @property
    def actor(self) -> Actor:
        """Who acts, for the services."""
        ip = self.request.META.get("REMOTE_ADDR") or None
        return Actor(user=None, via="api", ip=ip, token=self.token)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Refuse what is not allowed, too much, or cannot be text in a database."""
        super().initial(request, *args, **kwargs)
        self._budget = budget.spend(self.token) if self.counted else budget.look(self.token)
        if self._budget.wait:
            raise RateLimited(self._budget.wait)
        for name, values in request.query_params.lists():
            if any("\0" in value for value in (name, *values)):
                raise Refused("invalid_input", "A parameter holds a NUL character.")

    def finalize_response(
        self, request: Request, response: Response, *args: Any, **kwargs: Any
    ) -> Response:
        """Say what is left of the budget, and that nobody between may keep the answer."""
        answer = super().finalize_response(request, response, *args, **kwargs)
        answer["Cache-Control"] = "no-store"
        if self._budget is not None:
            answer["RateLimit-Limit"] = str(self._budget.limit)
            answer["RateLimit-Remaining"] = str(self._budget.remaining)
            answer["RateLimit-Reset"] = str(self._budget.reset)
        return answer


class PostView(ApiView):
    """A view that makes or does something: `create` is called once per idempotency key."""

    def create(self, request: Request, **ids: int) -> Response:
        """Do it and answer."""
        raise NotImplementedError

    def post(self, request: Request, **ids: int) -> Response:
        """The answer, or that of the same request before."""
        return answer_once(request, self.token, lambda: self.create(request, **ids))


class NotThere(ApiView):
    """Every address that is not there, whatever is done to it."""

    whose = Whose.ANYBODY

    def handle(self, request: Request, **_: Any) -> Response:
        """A JSON error."""
        raise Refused("not_found", "There is nothing at this address.")

    get = post = put = patch = delete = handle
