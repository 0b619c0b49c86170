"""A reseller's customers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from vpspanel.accounts.models import Account
from vpspanel.accounts.resellers import (
    MOST_SERVERS,
    close_customer,
    open_customer,
    update_customer,
)
from vpspanel.accounts.tree import accounts_below
from vpspanel.api.auth import Whose
from vpspanel.api.bodies import Body, Nothing, Text, body_of
from vpspanel.api.describing import answers, lists
from vpspanel.api.listing import named, ordered, page_of
from vpspanel.api.shapes.accounts import AccountShape, account_shape
from vpspanel.api.view import ApiView, PostView
from vpspanel.errors import NotFound
from vpspanel.servers.suspending import suspend_account, unsuspend_account

COLUMNS = {"id": "id", "name": "name", "created": "created"}


class NewAccount(Body):
    """A customer. All servers of all its projects count towards its limit."""

    name = Text(max_length=200)
    server_limit = serializers.IntegerField(
        required=False, default=10, min_value=0, max_value=MOST_SERVERS
    )


class ChangedAccount(Body):
    """What is to change."""

    name = Text(max_length=200, required=False)
    server_limit = serializers.IntegerField(required=False, min_value=0, max_value=MOST_SERVERS)


class Reason(Body):
    """Why. The customer reads it."""

    reason = Text(max_length=1000)


class Customers(ApiView):
    """Finds the accounts below that of the token."""

    whose = Whose.RESELLER

    @property
    def accounts(self) -> QuerySet[Account]:
        """All of them."""
        return accounts_below(self.reseller.pk)

    def account(self, pk: int) -> Account:
        """One of them. Raises `NotFound`."""
        found = self.accounts.filter(pk=pk).first()
        if found is None:
            raise NotFound("account")
        return found


class Accounts(Customers, PostView):
    """The customers of a reseller."""

    @lists("List customers", "accounts", AccountShape, sort=COLUMNS, filters={"name": ()})
    def get(self, request: Request) -> Response:
        """A page of them."""
        rows = ordered(request, named(request, self.accounts), COLUMNS)
        return page_of(request, "accounts", rows, _shapes)

    @answers("Open a customer's account", status=201, body=NewAccount, account=AccountShape)
    def create(self, request: Request, **ids: int) -> Response:
        """Open one."""
        asked = body_of(request, NewAccount)
        return Response({"account": account_shape(open_customer(self.actor, **asked))}, 201)


class OneAccount(Customers):
    """A customer."""

    @answers("Get a customer", account=AccountShape)
    def get(self, request: Request, pk: int) -> Response:
        """It."""
        return Response({"account": account_shape(self.account(pk))})

    @answers("Rename a customer, or change its limit", body=ChangedAccount, account=AccountShape)
    def put(self, request: Request, pk: int) -> Response:
        """Change it."""
        self.account(pk)
        changed = update_customer(self.actor, pk, **body_of(request, ChangedAccount))
        return Response({"account": account_shape(changed)})

    @answers("Delete an empty account")
    def delete(self, request: Request, pk: int) -> Response:
        """End it."""
        close_customer(self.actor, pk)
        return Response(status=204)


class SuspendAccount(Customers, PostView):
    """Suspension."""

    @answers("Suspend a customer", status=201, body=Reason, account=AccountShape)
    def create(self, request: Request, **ids: Any) -> Response:
        """Stop all its servers, and let nothing be changed."""
        self.account(ids["pk"])
        account = suspend_account(self.actor, ids["pk"], **body_of(request, Reason))
        return Response({"account": account_shape(account)}, 201)


class UnsuspendAccount(Customers, PostView):
    """Its end."""

    @answers("Lift the suspension of a customer", status=201, account=AccountShape)
    def create(self, request: Request, **ids: Any) -> Response:
        """Start again what should be on."""
        self.account(ids["pk"])
        body_of(request, Nothing)
        account = unsuspend_account(self.actor, ids["pk"])
        return Response({"account": account_shape(account)}, 201)


def _shapes(page: Iterable[Account]) -> list[AccountShape]:
    return [account_shape(account) for account in page]
