"""The tree of accounts: a reseller, its customers and, if those are resellers, theirs."""

from __future__ import annotations

from django.db.models import Q, QuerySet

from vpspanel.accounts.models import Account, ApiToken, Project

CHAIN = ("pk", "parent_id", "parent__parent_id")  # from an account upwards


def below(account_id: int) -> Q:
    """The accounts below it, as a condition on accounts."""
    return Q(parent=account_id) | Q(parent__parent=account_id)


def tree_of(account_id: int) -> Q:
    """The account itself and all below it, as a condition on accounts."""
    return Q(pk=account_id) | below(account_id)


def accounts_below(account_id: int) -> QuerySet[Account]:
    """Those below it that are there."""
    return Account.objects.filter(below(account_id), deleted_at=None)


def projects_in(account_id: int) -> QuerySet[Project]:
    """The projects of the account and of all below it, without those that were deleted."""
    accounts = Account.objects.filter(tree_of(account_id))
    projects = Project.objects.filter(account__in=accounts, deleted_at=None)
    return projects.select_related("account")


def tokens_in(account_id: int) -> QuerySet[ApiToken]:
    """The tokens of those projects."""
    return ApiToken.objects.filter(project__in=projects_in(account_id))


def upwards(account_id: int) -> list[int]:
    """The account and those above it, from below."""
    found = Account.objects.filter(pk=account_id).values_list(*CHAIN).first()
    return [pk for pk in found or () if pk is not None]
