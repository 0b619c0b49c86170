"""The events of a reseller's whole tree: of its accounts and of what is in their projects.

Asked for in one go, PostgreSQL reads everybody's events back until a page is full, and if the tree
was quiet lately, that is all of them. So each project and each account is first asked for its own
next event, which an index has: whatever comes after a whole page of these is not on the page.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import F, OuterRef, Q, QuerySet, Subquery

from vpspanel.accounts.models import Account, Project
from vpspanel.accounts.telling import ACCOUNT
from vpspanel.accounts.tree import tree_of
from vpspanel.events.models import Event

Heads = list[tuple[int, int]]  # its next event, and which account or project


def page_of_tree(
    account_id: int, events: QuerySet[Event], size: int, *, oldest_first: bool
) -> list[Event]:
    """The first `size` of these events that are of the tree as it is now, deleted parts included.

    Three queries, however large the tree is.
    """
    accounts = Account.objects.filter(tree_of(account_id))
    projects = Project.objects.filter(account__in=accounts)
    of_projects = events.filter(project_id=OuterRef("pk"))
    of_accounts = events.filter(resource_type=ACCOUNT, resource_id=OuterRef("pk"))
    in_projects = _heads(projects, of_projects, size, oldest_first=oldest_first)
    in_accounts = _heads(accounts, of_accounts, size, oldest_first=oldest_first)
    # One event may be the next of a project and of an account.
    firsts = {event for event, _ in (*in_projects, *in_accounts)}
    nearest = sorted(firsts, reverse=not oldest_first)[:size]
    if not nearest:
        return []
    found = events.filter(
        Q(project_id__in=_owners(in_projects, nearest))
        | Q(resource_type=ACCOUNT, resource_id__in=_owners(in_accounts, nearest)),
        _reach(nearest, full=len(nearest) == size, oldest_first=oldest_first),
    )
    return list(found.order_by("pk" if oldest_first else "-pk")[:size])


def _heads(rows: QuerySet[Any], events: QuerySet[Event], size: int, *, oldest_first: bool) -> Heads:
    """The rows whose next event comes first."""
    next_one = events.order_by("pk" if oldest_first else "-pk").values("pk")[:1]
    head = F("head").asc(nulls_last=True) if oldest_first else F("head").desc(nulls_last=True)
    found = rows.annotate(head=Subquery(next_one)).order_by(head).values_list("head", "pk")
    return [(event, pk) for event, pk in found[:size] if event is not None]


def _owners(heads: Heads, nearest: Iterable[int]) -> list[int]:
    """Those that can have an event on the page."""
    return [pk for event, pk in heads if event in set(nearest)]


def _reach(nearest: list[int], *, full: bool, oldest_first: bool) -> Q:
    """From where to where the page can reach: the heads alone may fill it."""
    first, last = nearest[0], nearest[-1]
    if oldest_first:
        return Q(pk__gte=first, pk__lte=last) if full else Q(pk__gte=first)
    return Q(pk__lte=first, pk__gte=last) if full else Q(pk__lte=first)
