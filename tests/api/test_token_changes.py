"""A reseller's program changes its customers' tokens, which their next request feels."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.api.asking import Api, make_customer, make_reseller, program, reseller_program
from tests.world import World
from vpspanel.accounts.models import Account, ApiToken, Project
from vpspanel.events.models import Event

GROUP = {"name": "apart"}


@pytest.fixture
def shop(world: World) -> Account:
    return make_reseller()


@pytest.fixture
def customer(shop: Account) -> Project:
    return make_customer(shop, "Ada Ltd")


@pytest.fixture
def seller(shop: Account) -> Api:
    return reseller_program(shop)


def address_of(name: str) -> str:
    return f"/tokens/{ApiToken.objects.get(name=name).pk}"


@pytest.mark.both_databases
def test_the_next_request_of_the_token_feels_it(seller: Api, customer: Project) -> None:
    theirs = program(customer, may_write=False)
    at = address_of("ci")
    assert theirs.refused("POST", "/placement_groups", GROUP) == (403, "token_readonly")
    changed = seller.put(at, {"scopes": ["placement_groups"]})["token"]
    assert (changed["may_write"], changed["scopes"]) == (True, ["placement_groups"])
    theirs.post("/placement_groups", GROUP)
    seller.put(at, {"scopes": ["webhooks"]})
    assert theirs.refused("POST", "/placement_groups", {"name": "b"}) == (403, "forbidden")
    seller.put(at, {"scopes": [], "may_write": True})
    theirs.post("/placement_groups", {"name": "b"})
    seller.put(at, {"may_write": False})
    assert theirs.refused("POST", "/placement_groups", {"name": "c"}) == (403, "token_readonly")
    seller.put(at, {"networks": ["192.0.2.0/24"]})
    assert theirs.refused("GET", "/placement_groups") == (403, "forbidden")
    seller.put(at, {"networks": []})
    assert len(theirs.get("/placement_groups")["placement_groups"]) == 2
    assert seller.get(at)["token"] == {**changed, **seller.get(at)["token"], "scopes": []}


@pytest.mark.both_databases
def test_its_servers_change(world: World, shop: Account) -> None:
    Account.objects.filter(pk=world.project.account_id).update(parent=shop)
    web, db = world.running("web"), world.running("db")
    seller, theirs = reseller_program(shop), program(world.project, server_ids=[web.pk])
    at = address_of("ci")
    assert seller.put(at, {"servers": ["db"]})["token"]["servers"] == [db.pk]
    assert [one["name"] for one in theirs.get("/servers")["servers"]] == ["db"]
    assert theirs.refused("GET", f"/servers/{web.pk}") == (404, "not_found")
    seller.put(at, {"servers": []})
    assert len(theirs.get("/servers")["servers"]) == 2


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": ""}, "name"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["servers:fly"]}, "scopes"),
        ({"scopes": None}, "scopes"),
        ({"servers": ["nowhere"]}, "servers"),
        ({"servers": [0]}, "servers"),
        ({"networks": ["everywhere"]}, "networks"),
        ({"expires": "2020-01-01T00:00:00Z"}, "expires"),
        ({"expires": "soon"}, "expires"),
        ({"may_write": "yes"}, "may_write"),
        ({"project": 1}, "project"),
    ],
)
def test_what_is_wrong_is_named(seller: Api, customer: Project, body: Any, field: str) -> None:
    program(customer, scopes=["images"])
    before = list(ApiToken.objects.filter(name="ci").values())
    answer = seller.ask("PUT", address_of("ci"), body)
    error = json.loads(answer.content)["error"]
    assert (answer.status_code, error["code"]) == (422, "invalid_input")
    assert [one["name"] for one in error["details"]["fields"]] == [field]
    assert list(ApiToken.objects.filter(name="ci").values()) == before


def test_what_cannot_be_changed(seller: Api, shop: Account, customer: Project) -> None:
    theirs = program(customer)
    at = address_of("ci")
    program(customer, name="taken")
    assert seller.refused("PUT", at, {"name": "taken"}) == (409, "uniqueness_error")
    ApiToken.objects.filter(name="ci").update(expires=timezone.now())
    assert seller.refused("PUT", at, {"expires": None}) == (409, "conflict")
    assert theirs.refused("GET", "/servers") == (401, "unauthorized")
    ApiToken.objects.filter(name="ci").update(expires=None)
    own = f"/tokens/{shop.api_tokens.get().pk}"
    assert seller.refused("PUT", own, {"name": "x"}) == (404, "not_found")
    reader = reseller_program(shop, may_write=False)
    assert reader.refused("PUT", at, {"name": "x"}) == (403, "token_readonly")
    rival = reseller_program(make_reseller("Rival"))
    assert rival.refused("PUT", at, {"name": "x"}) == (404, "not_found")
    assert theirs.refused("PUT", at, {"name": "x"}) == (403, "forbidden")
    Account.objects.filter(pk=customer.account_id).update(suspended_at=timezone.now())
    assert seller.refused("PUT", at, {"name": "x"}) == (403, "forbidden")
    seller.delete(at)
    assert seller.refused("PUT", at, {"name": "x"}) == (404, "not_found")
    assert not Event.objects.filter(kind="api_token.changed").exists()


def test_a_change_asks_the_same_however_many_there_are(seller: Api, customer: Project) -> None:
    def queries() -> int:
        number = ApiToken.objects.count()
        with CaptureQueriesContext(connection) as captured:
            seller.put(address, {"name": f"n{number}", "scopes": ["images"]})
        return len(captured)

    program(customer)
    address = address_of("ci")
    seller.get("/tokens")  # notes that the token was used
    before = queries()
    for number in range(5):
        program(customer, name=f"t{number}")
    assert queries() == before
