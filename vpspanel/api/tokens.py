"""The tokens of the projects of a reseller and of its customers."""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from vpspanel.accounts.models import ApiToken
from vpspanel.accounts.resellers import get_project_of
from vpspanel.accounts.token_fields import NETWORKS_PER_TOKEN, SERVERS_PER_TOKEN
from vpspanel.accounts.token_services import revoke_token
from vpspanel.accounts.tree import tokens_in
from vpspanel.api.auth import Whose
from vpspanel.api.bodies import Body, IdOrName, Strict, Text, body_of
from vpspanel.api.describing import answers, lists
from vpspanel.api.listing import LARGEST_ID, ids, named, ordered, page_of
from vpspanel.api.shapes.accounts import TokenShape, token_shape
from vpspanel.api.view import ApiView, PostView
from vpspanel.errors import NotFound
from vpspanel.servers.limited_tokens import change_limited_token, create_limited_token

COLUMNS = {"id": "id", "name": "name", "created": "created"}


class NewToken(Body):
    """What a token may: everything, only reading, or what its scopes and servers are."""

    project = serializers.IntegerField(min_value=1, max_value=LARGEST_ID)
    name = Text(max_length=200)
    may_write = Strict(required=False, default=False)
    scopes = serializers.ListField(child=Text(max_length=80), required=False, max_length=50)
    servers = serializers.ListField(
        child=IdOrName(), required=False, max_length=SERVERS_PER_TOKEN + 1
    )
    networks = serializers.ListField(
        child=Text(max_length=80), required=False, max_length=NETWORKS_PER_TOKEN + 1
    )
    expires = serializers.DateTimeField(required=False, allow_null=True)


class ChangedToken(Body):
    """What is to change. An empty list of scopes needs `may_write` beside it."""

    name = Text(max_length=200, required=False)
    may_write = Strict(required=False)
    scopes = serializers.ListField(child=Text(max_length=80), required=False, max_length=50)
    servers = serializers.ListField(
        child=IdOrName(), required=False, max_length=SERVERS_PER_TOKEN + 1
    )
    networks = serializers.ListField(
        child=Text(max_length=80), required=False, max_length=NETWORKS_PER_TOKEN + 1
    )
    expires = serializers.DateTimeField(required=False, allow_null=True)


class ResellersTokens(ApiView):
    """Finds the tokens of all projects of the token's account and of those below."""

    whose = Whose.RESELLER

    @property
    def tokens(self) -> QuerySet[ApiToken]:
        """All of them."""
        return tokens_in(self.reseller.pk).select_related("project__account")

    def one_token(self, pk: int) -> ApiToken:
        """One of them. Raises `NotFound`."""
        found = self.tokens.filter(pk=pk).first()
        if found is None:
            raise NotFound("API token")
        return found


class Tokens(ResellersTokens, PostView):
    """All tokens of projects."""

    @lists("List tokens", "tokens", TokenShape, sort=COLUMNS, filters={"name": (), "project": ()})
    def get(self, request: Request) -> Response:
        """A page of them."""
        rows = named(request, self.tokens)
        if projects := ids(request, "project"):
            rows = rows.filter(project__in=projects)
        return page_of(request, "tokens", ordered(request, rows, COLUMNS), _shapes)

    @answers("Make a token", status=201, body=NewToken, token=TokenShape, secret=str)
    def create(self, request: Request, **ids: int) -> Response:
        """Make one; the secret is in this answer and in no other."""
        asked = body_of(request, NewToken)
        project = get_project_of(self.actor, asked.pop("project"))
        servers = asked.pop("servers", ())
        made = create_limited_token(self.actor, project=project, servers=servers, **asked)
        return Response({"token": token_shape(made.token), "secret": made.secret}, 201)


class OneToken(ResellersTokens):
    """A token of a project."""

    @answers("Get a token", token=TokenShape)
    def get(self, request: Request, pk: int) -> Response:
        """It."""
        return Response({"token": token_shape(self.one_token(pk))})

    @answers(
        "Change a token: its name, what it may, from where and until when",
        body=ChangedToken,
        token=TokenShape,
    )
    def put(self, request: Request, pk: int) -> Response:
        """Change it; the secret stays."""
        token = self.one_token(pk)
        changed = change_limited_token(self.actor, token, **body_of(request, ChangedToken))
        return Response({"token": token_shape(changed)})

    @answers("Revoke a token")
    def delete(self, request: Request, pk: int) -> Response:
        """Forget it: its next request is refused."""
        token = self.one_token(pk)
        if token.project is not None:
            revoke_token(self.actor, project=token.project, token_id=pk)
        return Response(status=204)


def _shapes(page: Iterable[ApiToken]) -> list[TokenShape]:
    return [token_shape(token) for token in page]
