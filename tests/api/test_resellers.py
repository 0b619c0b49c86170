"""What a reseller's program may: its customers, their projects and tokens, and to act in them."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.api.asking import (
    Api,
    make_customer,
    program,
    reseller_program,
)
from tests.api.selling import ORDER, WHY, acting, customer, rival, seller, shop
from tests.world import World, work
from vpspanel.accounts.models import Account, Project
from vpspanel.accounts.resellers import CUSTOMERS_PER_RESELLER
from vpspanel.errors import Refused
from vpspanel.events.models import Event
from vpspanel.servers.audit_records import check_account_counters
from vpspanel.servers.models import Server

__all__ = ["customer", "rival", "seller", "shop"]

pytestmark = pytest.mark.both_databases


# --- customers ----------------------------------------------------------------------


def test_a_customer_from_its_opening_to_its_end(seller: Api, shop: Account) -> None:
    made = seller.post("/accounts", {"name": " Ada  Ltd ", "server_limit": 5})["account"]
    assert made == {
        "id": made["id"],
        "name": "Ada Ltd",
        "parent": shop.pk,
        "is_reseller": False,
        "server_limit": 5,
        "servers_used": 0,
        "suspension": None,
        "created": made["created"],
    }
    address = f"/accounts/{made['id']}"
    assert seller.get("/accounts")["accounts"] == [seller.get(address)["account"]] == [made]
    changed = seller.put(address, {"name": "Ada", "server_limit": 7})["account"]
    assert (changed["name"], changed["server_limit"]) == ("Ada", 7)
    assert seller.get("/accounts?name=Ada")["meta"]["pagination"]["total_entries"] == 1
    project = seller.post("/projects", {"name": "main", "account": made["id"]})["project"]
    assert seller.refused("DELETE", address) == (409, "conflict")
    seller.delete(f"/projects/{project['id']}")
    seller.delete(address)
    assert seller.get("/accounts")["accounts"] == []
    assert seller.refused("GET", address) == (404, "not_found")
    events = Event.objects.filter(resource_type="account", resource_id=made["id"])
    assert [event.kind for event in events] == [
        "account.deleted",
        "account.changed",
        "account.opened",
    ]
    assert seller.post("/accounts", {"name": "Ada"})["account"]["id"] != made["id"]


def test_a_name_is_unique_below_one_reseller(seller: Api, rival: Api) -> None:
    seller.post("/accounts", {"name": "Ada"})
    other = seller.post("/accounts", {"name": "Bob"})["account"]["id"]
    assert seller.refused("POST", "/accounts", {"name": "Ada"}) == (409, "uniqueness_error")
    assert seller.refused("PUT", f"/accounts/{other}", {"name": "Ada"}) == (409, "uniqueness_error")
    rival.post("/accounts", {"name": "Ada"})


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "invalid_input"),
        ({"name": ""}, "invalid_input"),
        ({"name": "x" * 121}, "invalid_input"),
        ({"name": "a", "server_limit": -1}, "invalid_input"),
        ({"name": "a", "server_limit": 101}, "resource_limit_exceeded"),
        ({"name": "a", "is_reseller": True}, "invalid_input"),
        ({"name": "a", "parent": 1}, "invalid_input"),
    ],
)
def test_what_no_customer_can_be(seller: Api, body: Any, code: str) -> None:
    assert seller.refused("POST", "/accounts", body)[1] == code
    assert not Account.objects.filter(parent__isnull=False).exists()


def test_there_are_so_many_customers(
    seller: Api, customer: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert CUSTOMERS_PER_RESELLER == 10_000
    monkeypatch.setattr("vpspanel.accounts.resellers.CUSTOMERS_PER_RESELLER", 1)
    monkeypatch.setattr("vpspanel.accounts.resellers.PROJECTS_PER_ACCOUNT", 1)
    limit = (403, "resource_limit_exceeded")
    assert seller.refused("POST", "/accounts", {"name": "a"}) == limit
    body = {"name": "more", "account": customer.account_id}
    assert seller.refused("POST", "/projects", body) == limit


def test_all_servers_below_count_on_the_reseller(
    world: World, seller: Api, shop: Account, customer: Project
) -> None:
    Account.objects.filter(pk=shop.pk).update(server_limit=2)
    other = make_customer(shop, "other")
    acting(seller, customer).post("/servers", ORDER)
    acting(seller, other).post("/servers", ORDER)
    more = {**ORDER, "name": "more"}
    refusal = acting(seller, other).ask("POST", "/servers", more)
    assert b"reseller of this account has no server left" in refusal.content
    used = {account.name: account.servers_used for account in Account.objects.all()}
    assert (used["Shop"], used["customer"], used["other"]) == (2, 1, 1)
    limits = {one["name"]: (one["limit"], one["used"]) for one in seller.get("/limits")["limits"]}
    assert limits == {"servers": (2, 2), "accounts": (10_000, 2), "api_tokens": (50, 1)}
    assert list(check_account_counters()) == []
    work()
    for server in Server.objects.filter(project=customer):
        acting(seller, customer).delete(f"/servers/{server.pk}")
    work()
    shop.refresh_from_db()
    assert shop.servers_used == 1
    acting(seller, other).post("/servers", more)


# --- projects and tokens ------------------------------------------------------------


def test_a_project_from_its_making_to_its_end(
    world: World, seller: Api, shop: Account, customer: Project
) -> None:
    made = seller.post("/projects", {"name": "main", "account": shop.pk})["project"]
    address = f"/projects/{made['id']}"
    assert made == {**made, "name": "main", "account": shop.pk}
    assert seller.put(address, {"name": "prod"})["project"]["name"] == "prod"
    names = [one["name"] for one in seller.get("/projects?sort=name")["projects"]]
    assert names == ["customer", "prod"]
    mine = seller.get(f"/projects?account={shop.pk}")["projects"]
    assert [one["id"] for one in mine] == [made["id"]]
    body = {"name": "prod", "account": shop.pk}
    assert seller.refused("POST", "/projects", body) == (409, "uniqueness_error")
    project = Project.objects.get(pk=made["id"])
    inside = acting(seller, project)
    server = inside.post("/servers", ORDER)["server"]["id"]
    token = program(project)
    assert seller.refused("DELETE", address) == (409, "conflict")
    work()
    inside.delete(f"/servers/{server}")
    work()
    seller.delete(address)
    assert seller.refused("GET", address) == (404, "not_found")
    assert inside.refused("GET", "/servers") == (404, "not_found")
    assert token.refused("GET", "/servers") == (401, "unauthorized")
    assert Server.objects.get(pk=server).project == project  # its history stays
    seller.post("/projects", body)


def test_a_deleted_project_sells_nothing_more(world: World) -> None:
    Project.objects.filter(pk=world.project.pk).update(deleted_at=timezone.now())
    with pytest.raises(Refused, match="not found"):
        world.order()
    assert Account.objects.get(pk=world.project.account_id).servers_used == 0


def test_a_projects_token_from_its_making_to_its_end(
    world: World, seller: Api, customer: Project
) -> None:
    body = {
        "project": customer.pk,
        "name": "ci",
        "scopes": ["servers:power"],
        "networks": ["127.0.0.0/8"],
        "expires": "2100-01-01T00:00:00Z",
    }
    answer = seller.post("/tokens", body, Idempotency_Key="t1")
    assert seller.post("/tokens", body, Idempotency_Key="t1") == answer
    token = answer["token"]
    assert token == {
        **token,
        "name": "ci",
        "project": customer.pk,
        "may_write": True,
        "scopes": ["servers:power"],
        "servers": [],
        "networks": ["127.0.0.0/8"],
        "hint": answer["secret"][-4:],
    }
    customers = Api(answer["secret"])
    assert customers.get("/servers")["servers"] == []
    assert customers.refused("POST", "/servers", ORDER) == (403, "forbidden")
    address = f"/tokens/{token['id']}"
    assert "secret" not in seller.get(address)
    used = seller.get(address)["token"]["last_used"]
    assert used is not None
    changed = seller.put(address, {"name": "cd", "networks": ["192.0.2.0/24"], "expires": None})
    assert (changed["token"]["name"], changed["token"]["expires"]) == ("cd", None)
    assert customers.refused("GET", "/servers") == (403, "forbidden")  # not from there any more
    assert [one["id"] for one in seller.get("/tokens")["tokens"]] == [token["id"]]
    seller.delete(address)
    assert customers.refused("GET", "/servers") == (401, "unauthorized")
    program(customer, name="taken")
    again = {"project": customer.pk, "name": "taken"}
    assert seller.refused("POST", "/tokens", again) == (409, "uniqueness_error")
    past = {"project": customer.pk, "name": "past", "expires": "2020-01-01T00:00:00Z"}
    assert seller.refused("POST", "/tokens", past) == (422, "invalid_input")


def test_no_list_asks_more_for_more(world: World, seller: Api, shop: Account) -> None:
    def queries(path: str) -> int:
        with CaptureQueriesContext(connection) as captured:
            seller.get(path)
        return len(captured)

    paths = ("/accounts", "/projects", "/tokens")
    program(make_customer(shop, "one"))
    seller.get("/accounts")  # notes that the token was used
    few = [queries(path) for path in paths]
    for name in ("two", "three", "four"):
        program(make_customer(shop, name))
    assert [queries(path) for path in paths] == few == [4, 4, 4]


# --- acting in a project --------------------------------------------------------------


def test_without_the_header_a_projects_address_names_it(seller: Api, customer: Project) -> None:
    answer = seller.ask("GET", "/servers")
    assert answer.status_code == 403
    assert b"X-Project: <id>" in answer.content
    assert acting(seller, customer).get("/servers")["servers"] == []
    for path in ("/locations", "/server_types", "/pricing", "/stock", "/limits"):
        seller.get(path)


@pytest.mark.parametrize("named", ["999999", "x", "-1", "1" * 40, "٣"])
def test_only_a_project_of_its_own_can_be_named(seller: Api, named: str) -> None:
    headers = {"X_Project": named.encode().decode("latin-1")}
    assert seller.refused("GET", "/servers", **headers) == (404, "not_found")


def test_in_a_project_it_is_an_administrator(
    world: World, seller: Api, customer: Project, rival: Api
) -> None:
    inside = acting(seller, customer)
    answer = inside.post("/servers", ORDER, Idempotency_Key="o1")
    work()
    assert inside.post("/servers", ORDER, Idempotency_Key="o1") == answer
    assert Server.objects.filter(project=customer).count() == 1
    other = make_customer(customer.account.parent or customer.account, "other")
    reused = acting(seller, other).refused("POST", "/servers", ORDER, Idempotency_Key="o1")
    assert reused == (422, "idempotency_key_reused")
    server = answer["server"]["id"]
    assert inside.get(f"/servers/{server}")["server"]["status"] == "running"
    ordered = inside.get("/events?kind=server.ordered")["events"][0]
    assert (ordered["actor"], ordered["project"]) == ("shop 0 (API token)", customer.pk)
    assert inside.post(f"/servers/{server}/actions/request_console")["wss_url"]
    assert acting(seller, other).refused("GET", f"/servers/{server}") == (404, "not_found")
    assert acting(rival, customer).refused("GET", "/servers") == (404, "not_found")
    reader = reseller_program(customer.account.parent or other.account, may_write=False)
    assert acting(reader, customer).get("/servers")["servers"]
    assert acting(reader, customer).refused("POST", "/servers", ORDER)[1] == "token_readonly"


def test_a_projects_token_acts_in_its_own_only(world: World, customer: Project) -> None:
    api = program(world.project)
    assert acting(api, world.project).get("/servers")["servers"] == []
    assert acting(api, customer).refused("GET", "/servers") == (404, "not_found")


def test_another_reseller_sees_nothing(seller: Api, rival: Api, customer: Project) -> None:
    program(customer)
    token = customer.api_tokens.get().pk
    for kind, pk in (
        ("accounts", customer.account_id),
        ("projects", customer.pk),
        ("tokens", token),
    ):
        assert rival.get(f"/{kind}")[kind] == []
        for method in ("GET", "PUT", "DELETE"):
            change = {"name": "x"} if method == "PUT" else None
            assert rival.refused(method, f"/{kind}/{pk}", change) == (404, "not_found"), kind
    new_project = {"name": "x", "account": customer.account_id}
    assert rival.refused("POST", "/projects", new_project) == (404, "not_found")
    new_token = {"name": "x", "project": customer.pk}
    assert rival.refused("POST", "/tokens", new_token) == (404, "not_found")
    for verb in ("suspend", "unsuspend"):
        path = f"/accounts/{customer.account_id}/actions/{verb}"
        assert rival.refused("POST", path, WHY if verb == "suspend" else {}) == (404, "not_found")


def test_the_tree_goes_two_levels_down(world: World, seller: Api, shop: Account) -> None:
    middle = make_customer(shop, "middle")
    Account.objects.filter(pk=middle.account_id).update(is_reseller=True, server_limit=3)
    far = make_customer(Account.objects.get(pk=middle.account_id), "far", server_limit=1)
    assert {one["name"] for one in seller.get("/accounts")["accounts"]} == {"middle", "far"}
    acting(seller, far).post("/servers", ORDER)
    shop.refresh_from_db()
    assert shop.servers_used == 1
    below = reseller_program(Account.objects.get(pk=middle.account_id))
    assert [one["name"] for one in below.get("/accounts")["accounts"]] == ["far"]
    path = f"/accounts/{far.account_id}"
    too_many = seller.refused("PUT", path, {"server_limit": 4})  # more than the one between has
    assert too_many == (403, "resource_limit_exceeded")
    assert below.refused("GET", f"/accounts/{middle.account_id}") == (404, "not_found")
