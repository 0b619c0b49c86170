"""Resellers are told of the accounts and projects below them, and nobody else is."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.api.asking import Api, make_customer, make_reseller, project_of_charlie, reseller_program
from tests.world import World
from vpspanel.accounts.models import Account, Project
from vpspanel.accounts.telling import say_of_account
from vpspanel.events.actor import SYSTEM
from vpspanel.events.models import Event
from vpspanel.events.services import record_event
from vpspanel.servers.suspending import suspend_account, unsuspend_account
from vpspanel.webhooks.handout import hand_out
from vpspanel.webhooks.models import Delivery
from vpspanel.webhooks.services import Owner, create_webhook

pytestmark = pytest.mark.both_databases


@pytest.fixture
def shop(world: World) -> Account:
    """A reseller."""
    return make_reseller("Shop")


@pytest.fixture
def seller(shop: Account) -> Api:
    """Its program."""
    return reseller_program(shop)


def listen(owner: Owner, **more: Any) -> int:
    """A webhook of theirs, told of what happens from now on."""
    return create_webhook(
        SYSTEM, owner=owner, name="hook", url="https://example.com/", **more
    ).webhook.pk


def told(webhook: int) -> list[tuple[str, int]]:
    """What it was told since the last time: kinds, and of what."""
    hand_out()
    rows = Delivery.objects.filter(webhook=webhook).order_by("event_id")
    found = list(rows.values_list("event__kind", "event__resource_id"))
    rows.delete()
    return [one for one in found if not one[0].startswith("webhook.")]


def middle_of(shop: Account) -> Account:
    """A customer that is a reseller itself."""
    account = make_customer(shop, "middle").account
    Account.objects.filter(pk=account.pk).update(is_reseller=True)
    return Account.objects.get(pk=account.pk)


def test_a_customer_from_its_opening_to_its_end(world: World, shop: Account, seller: Api) -> None:
    hook = listen(shop)
    rival, stranger = listen(make_reseller("Rival")), listen(project_of_charlie(world))
    customer = seller.post("/accounts", {"name": "Ada", "server_limit": 5})["account"]["id"]
    project = seller.post("/projects", {"name": "main", "account": customer})["project"]["id"]
    inside = listen(Project.objects.get(pk=project))
    seller.put(f"/accounts/{customer}", {"server_limit": 7})
    seller.post(f"/accounts/{customer}/actions/suspend", {"reason": "An invoice is overdue."})
    seller.post(f"/accounts/{customer}/actions/unsuspend")
    seller.put(f"/projects/{project}", {"name": "prod"})
    assert told(inside) == [("project.renamed", project)]
    seller.delete(f"/projects/{project}")
    seller.delete(f"/accounts/{customer}")
    assert told(hook) == [
        ("account.opened", customer),
        ("project.created", project),
        ("account.changed", customer),
        ("account.suspended", customer),
        ("account.unsuspended", customer),
        ("project.renamed", project),
        ("project.deleted", project),
        ("account.deleted", customer),
    ]
    assert told(rival) == told(stranger) == []


def test_who_stands_above_is_told_and_who_stands_beside_or_below_is_not(shop: Account) -> None:
    middle = middle_of(shop)
    far, beside = make_customer(middle, "far"), make_customer(shop, "beside")
    above, between = listen(shop), listen(middle)
    own, inside, others = listen(far.account), listen(far), listen(beside.account)
    say_of_account(SYSTEM, far.account, "account.changed", "was changed", server_limit=3)
    expected = [("account.changed", far.account_id)]
    assert [told(hook) for hook in (above, between, own)] == [expected] * 3
    assert [told(hook) for hook in (inside, others)] == [[], []]
    say_of_account(SYSTEM, shop, "account.changed", "was changed", server_limit=300)
    assert told(above) == [("account.changed", shop.pk)]
    assert [told(hook) for hook in (between, own, inside, others)] == [[]] * 4


def test_what_staff_keep_to_themselves_is_not_told(shop: Account) -> None:
    customer = make_customer(shop, "customer").account
    hook = listen(shop)
    about = ("account", customer.pk)
    record_event("staff.account_changed", "Owes us money", resource=about, public=False)
    record_event("host.alarm", "A host is silent", resource=("host", customer.pk))
    assert told(hook) == []


def test_each_account_that_a_suspension_reaches_says_so(shop: Account) -> None:
    middle = middle_of(shop)
    far, near = make_customer(middle, "far").account, make_customer(shop, "near").account
    suspend_account(SYSTEM, near.pk, reason="Spam")
    hooks = {account: listen(account) for account in (shop, middle, far, near)}
    suspend_account(SYSTEM, shop.pk, reason="Overdue")
    suspended = {account: ("account.suspended", account.pk) for account in hooks}
    assert told(hooks[shop]) == [suspended[one] for one in (shop, middle, far)]
    assert told(hooks[middle]) == [suspended[middle], suspended[far]]
    assert told(hooks[far]) == [suspended[far]]
    assert told(hooks[near]) == []  # it was suspended for itself before
    words = Event.objects.get(kind="account.suspended", resource_id=middle.pk).message
    assert words == "Account middle was suspended with the one above it"  # not why
    unsuspend_account(SYSTEM, shop.pk)
    kinds = [("account.unsuspended", account.pk) for account in (shop, middle, far)]
    assert told(hooks[shop]) == kinds
    assert told(hooks[near]) == []


def test_an_account_that_moved_is_told_of_where_it_stands_now(shop: Account) -> None:
    rival = make_reseller("Rival")
    customer = make_customer(shop, "customer").account
    before, after = listen(shop), listen(rival)
    say_of_account(SYSTEM, customer, "account.changed", "was changed")
    Account.objects.filter(pk=customer.pk).update(parent=rival)
    assert told(after) == [("account.changed", customer.pk)]
    assert told(before) == []


def test_kinds_are_chosen_as_always_and_nothing_comes_twice(shop: Account) -> None:
    project = make_customer(shop, "customer")
    some, both = listen(shop, kinds=["project.*"]), listen(project.account)
    resource = ("account", project.account_id)
    record_event("account.opened", "Opened", resource=resource, project_id=project.pk)
    assert told(both) == [("account.opened", project.account_id)]
    assert told(some) == []


def test_handing_out_asks_the_same_however_many_accounts(shop: Account) -> None:
    listen(shop)
    hand_out()
    counts = []
    for many in (2, 30):
        for number in range(many):
            project = make_customer(shop, f"customer {many} {number}")
            say_of_account(SYSTEM, project.account, "account.opened", "was opened")
            record_event("x.y", "It", resource=("server", 1), project_id=project.pk)
        with CaptureQueriesContext(connection) as queries:
            assert hand_out() == 2 * many
        counts.append(len(queries))
    assert counts[0] == counts[1]
