"""`GET /events` with a reseller's token: all of its tree, and nothing else."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.api.asking import Api, make_customer, program, reseller_program
from tests.api.selling import WHY, acting, customer, rival, seller, shop
from tests.world import World
from vpspanel.accounts.models import Account, Project
from vpspanel.accounts.telling import say_of_account, say_of_project
from vpspanel.events.actor import SYSTEM
from vpspanel.events.models import Event
from vpspanel.events.services import record_event

__all__ = ["customer", "rival", "seller", "shop"]

pytestmark = pytest.mark.both_databases


def told(answer: Any) -> list[tuple[str, int]]:
    """Kinds, and of what, the oldest first; tokens are made by the tests themselves."""
    found = [(event["kind"], event["resource"]["id"]) for event in answer["events"]]
    return [one for one in reversed(found) if not one[0].startswith("api_token.")]


def test_it_reads_of_its_customers_and_of_itself(seller: Api, rival: Api, shop: Account) -> None:
    opened = seller.post("/accounts", {"name": "Ada"})["account"]["id"]
    project = seller.post("/projects", {"name": "main", "account": opened})["project"]["id"]
    mine = seller.post("/projects", {"name": "own", "account": shop.pk})["project"]["id"]
    seller.post(f"/accounts/{opened}/actions/suspend", WHY)
    seller.post(f"/accounts/{opened}/actions/unsuspend")
    say_of_account(SYSTEM, shop, "account.changed", "was changed", server_limit=50)
    seller.delete(f"/projects/{project}")
    seller.delete(f"/accounts/{opened}")
    everything = [
        ("account.opened", opened),
        ("project.created", project),
        ("project.created", mine),
        ("account.suspended", opened),
        ("account.unsuspended", opened),
        ("account.changed", shop.pk),
        ("project.deleted", project),
        ("account.deleted", opened),
    ]
    assert told(seller.get("/events")) == everything
    assert told(reseller_program(shop, may_write=False).get("/events")) == everything
    assert told(rival.get("/events")) == []
    assert told(seller.get("/events?kind=project.*")) == [everything[n] for n in (1, 2, 6)]
    assert told(seller.get(f"/events?resource_type=account&resource_id={shop.pk}")) == [
        everything[5]
    ]
    first = seller.get("/events?per_page=3&kind=account.*&kind=project.*")
    cursor = first["meta"]["cursor"]["before"]
    rest = seller.get(f"/events?before={cursor}&kind=account.*&kind=project.*")
    assert told(rest) + told(first) == everything
    assert (first["meta"]["cursor"]["more"], rest["meta"]["cursor"]["more"]) == (True, False)


def test_it_follows_its_tree(seller: Api, shop: Account, customer: Project) -> None:
    say_of_project(SYSTEM, customer, "project.renamed", "was renamed")
    say_of_account(SYSTEM, customer.account, "account.changed", "was changed")
    assert told(seller.get("/events?after=0")) == []  # they may not be the first yet
    Event._base_manager.update(at=timezone.now() - timedelta(minutes=1))
    seen: list[Any] = []
    cursor = 0
    while (page := seller.get(f"/events?after={cursor}&per_page=1"))["events"]:
        seen += page["events"]
        cursor = page["meta"]["cursor"]["after"]
    kinds = [event["kind"] for event in seen if not event["kind"].startswith("api_token.")]
    assert kinds == ["project.renamed", "account.changed"]
    assert seen[-1]["data"] == {}
    assert page["meta"]["cursor"] == {"after": cursor, "more": False}


def test_in_a_project_there_is_that_project_only(
    seller: Api, shop: Account, customer: Project
) -> None:
    other = make_customer(shop, "other")
    say_of_account(SYSTEM, customer.account, "account.changed", "was changed")
    for project in (customer, other):
        say_of_project(SYSTEM, project, "project.renamed", "was renamed")
    for api in (acting(seller, customer), program(customer)):
        assert told(api.get("/events")) == [("project.renamed", customer.pk)]


def test_what_is_not_public_or_not_of_the_tree_is_not_there(
    world: World, seller: Api, customer: Project
) -> None:
    about = ("account", customer.account_id)
    record_event("staff.account_changed", "Owes us money", resource=about, public=False)
    hidden = ("server", 1)
    record_event("x.y", "Hidden", resource=hidden, project_id=customer.pk, public=False)
    record_event("x.y", "Of a host", resource=("host", customer.account_id))
    record_event("x.y", "Alice's", resource=hidden, project_id=world.project.pk)
    say_of_account(SYSTEM, world.project.account, "account.changed", "was changed")
    assert told(seller.get("/events")) == []


def test_an_account_that_moves_takes_its_history_along(
    seller: Api, rival: Api, customer: Project
) -> None:
    say_of_account(SYSTEM, customer.account, "account.changed", "was changed")
    to = Account.objects.get(name="Rival")
    Account.objects.filter(pk=customer.account_id).update(parent=to)
    assert told(rival.get("/events")) == [("account.changed", customer.account_id)]
    assert told(seller.get("/events")) == []


def test_a_page_costs_the_same_however_large_the_tree(seller: Api, shop: Account) -> None:
    counts = []
    for many in (2, 20):
        for number in range(many):
            project = make_customer(shop, f"customer {many} {number}")
            say_of_project(SYSTEM, project, "project.created", "was made")
        with CaptureQueriesContext(connection) as queries:
            seller.get("/events?per_page=50")
        counts.append(len(queries))
    assert counts[0] >= counts[1]
    assert counts[1] <= 7
