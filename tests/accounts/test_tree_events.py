"""The page of a whole tree's events is the one that reading all of them gives, and soon there."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from django.db import connection
from django.db.models import Q
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.api.asking import make_customer, make_reseller
from vpspanel.accounts.models import Account, Project
from vpspanel.accounts.tree import tree_of
from vpspanel.accounts.tree_events import page_of_tree
from vpspanel.events.models import Event

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

KINDS = ("server.started", "server.stopped", "account.changed")


def make_tree(customers: int) -> tuple[Account, list[Account]]:
    """A reseller with customers, and every account that there is, another reseller's included."""
    shop, rival = make_reseller("Shop"), make_reseller("Rival")
    for number in range(customers):
        make_customer(shop, f"customer {number}")
    middle = Account.objects.filter(parent=shop).order_by("pk")[0]
    make_customer(middle, "far")
    make_customer(rival, "theirs")
    ended = make_customer(shop, "ended").account_id
    Project.objects.filter(account=ended).update(deleted_at=timezone.now())
    Account.objects.filter(pk=ended).update(deleted_at=timezone.now())
    return shop, list(Account.objects.order_by("pk"))


def happen(accounts: list[Account], count: int, seed: int) -> None:
    """Events of accounts and of projects, some of both, some nobody's, some hidden."""
    dice = random.Random(seed)
    projects: dict[int, int] = dict(Project.objects.values_list("account_id", "pk"))
    made = []
    for _ in range(count):
        account = dice.choice(accounts).pk
        about_account = dice.random() < 0.3
        made.append(
            Event(
                kind=dice.choice(KINDS),
                resource_type="account" if about_account else "server",
                resource_id=account if about_account else 7,
                project_id=projects.get(account) if dice.random() < 0.7 else None,
                public=dice.random() < 0.8,
            )
        )
    Event.objects.bulk_create(made)


def all_of(shop: Account, chosen: Q) -> list[int]:
    """Read the plain way."""
    accounts = list(Account.objects.filter(tree_of(shop.pk)).values_list("pk", flat=True))

    projects = Project.objects.filter(account__in=accounts).values("pk")
    of_tree = Q(project_id__in=projects) | Q(resource_type="account", resource_id__in=accounts)
    events = Event.objects.filter(of_tree, chosen, public=True)
    return sorted(events.values_list("pk", flat=True))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("chosen", [Q(), Q(kind="account.changed"), Q(resource_type="account")])
def test_page_by_page_nothing_is_missing_or_foreign(seed: int, chosen: Q) -> None:
    shop, accounts = make_tree(6)
    happen(accounts, 150, seed)
    expected = all_of(shop, chosen)
    assert 10 < len(expected) < 120
    for size in (1, 4, 50):
        for oldest_first in (True, False):
            pages = list(_pages(shop, chosen, size, oldest_first=oldest_first))
            read = [number for page in pages for number in page]
            assert read == sorted(expected, reverse=not oldest_first)
            assert {len(page) for page in pages[:-1]} <= {size}  # a short page is the last one


def _pages(shop: Account, chosen: Q, size: int, *, oldest_first: bool) -> Iterator[list[int]]:
    """The numbers of one page after the other, up to an empty one."""
    events = Event.objects.filter(chosen, public=True)
    while page := page_of_tree(shop.pk, events, size, oldest_first=oldest_first):
        yield [event.pk for event in page]
        last = page[-1].pk
        events = events.filter(pk__gt=last) if oldest_first else events.filter(pk__lt=last)


def test_it_asks_three_times_however_large_the_tree_is() -> None:
    counts = []
    for customers in (2, 40):
        shop, accounts = make_tree(customers)
        happen(accounts, 100, 1)
        with CaptureQueriesContext(connection) as queries:
            assert page_of_tree(shop.pk, Event.objects.all(), 20, oldest_first=False)
        counts.append(len(queries))
    assert counts == [3, 3]
