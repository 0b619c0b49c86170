"""What bounds a reseller's program: suspensions, its token, and the webhooks of all below."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from tests.api.asking import (
    Api,
    program,
    reseller_program,
)
from tests.api.selling import ORDER, WHY, acting, customer, rival, seller, shop
from tests.world import World, work
from vpspanel.accounts.models import Account, ApiToken, Project
from vpspanel.accounts.token_services import create_reseller_token, create_token
from vpspanel.accounts.tokens import is_secret
from vpspanel.errors import Refused
from vpspanel.events.actor import SYSTEM, Actor
from vpspanel.servers.suspending import suspend_account, suspend_server, unsuspend_account

__all__ = ["customer", "rival", "seller", "shop"]

pytestmark = pytest.mark.both_databases


# --- suspension -------------------------------------------------------------------------


def test_it_suspends_its_customers(world: World, seller: Api, customer: Project) -> None:
    server = acting(seller, customer).post("/servers", ORDER)["server"]["id"]
    work()
    path = f"/accounts/{customer.account_id}/actions"
    assert seller.refused("POST", f"{path}/suspend") == (422, "invalid_input")
    suspended = seller.post(f"{path}/suspend", WHY)["account"]["suspension"]
    assert suspended == {**suspended, "reason": WHY["reason"], "by": "reseller"}
    shown = acting(seller, customer).get(f"/servers/{server}")["server"]
    assert (shown["suspended"], shown["suspended_reason"]) == (True, WHY["reason"])
    customers = program_of_suspended(customer)
    assert customers.refused("POST", f"/servers/{server}/actions/reboot") == (403, "forbidden")
    assert seller.refused("POST", f"{path}/suspend", WHY) == (409, "conflict")
    assert seller.post(f"{path}/unsuspend")["account"]["suspension"] is None
    assert seller.refused("POST", f"{path}/unsuspend") == (409, "conflict")


def program_of_suspended(project: Project) -> Api:
    """A program whose token was made before."""
    Account.objects.filter(pk=project.account_id).update(suspended_at=None)
    api = program(project, name="before")
    Account.objects.filter(pk=project.account_id).update(suspended_at=timezone.now())
    return api


def test_it_suspends_single_servers_and_their_own_tokens_do_not(
    world: World, seller: Api, customer: Project
) -> None:
    inside, own = acting(seller, customer), program(customer)
    server = inside.post("/servers", ORDER)["server"]["id"]
    work()
    path = f"/servers/{server}/actions"
    for verb, body in (("suspend", WHY), ("unsuspend", None)):
        assert own.refused("POST", f"{path}/{verb}", body) == (403, "forbidden")
        assert seller.refused("POST", f"{path}/{verb}", body) == (403, "forbidden")  # no header
    action = inside.post(f"{path}/suspend", WHY)["action"]
    assert (action["command"], action["status"]) == ("suspend_server", "running")
    assert inside.get(f"/servers/{server}")["server"]["suspended_reason"] == WHY["reason"]
    assert own.refused("POST", f"{path}/unsuspend") == (403, "forbidden")
    done = inside.post(f"{path}/unsuspend")["action"]
    assert (done["command"], done["status"]) == ("unsuspend_server", "success")
    assert inside.get(f"/servers/{server}")["server"]["suspended"] is False


def test_what_staff_suspended_no_reseller_lifts(
    world: World, seller: Api, customer: Project
) -> None:
    inside = acting(seller, customer)
    server = inside.post("/servers", ORDER)["server"]["id"]
    work()
    suspend_server(SYSTEM, server, reason="Spam")
    suspend_account(SYSTEM, customer.account_id, reason="Spam")
    assert inside.refused("POST", f"/servers/{server}/actions/unsuspend") == (403, "forbidden")
    path = f"/accounts/{customer.account_id}/actions"
    assert seller.refused("POST", f"{path}/unsuspend") == (403, "forbidden")
    assert seller.refused("POST", f"{path}/suspend", WHY) == (409, "conflict")


def test_a_suspended_reseller_changes_nothing(
    world: World, seller: Api, shop: Account, customer: Project
) -> None:
    suspend_account(SYSTEM, shop.pk, reason="Unpaid")
    assert seller.get("/accounts")["accounts"][0]["suspension"]["by"] == "above"
    for path, body in (
        ("/accounts", {"name": "a"}),
        ("/projects", {"name": "a", "account": shop.pk}),
        ("/tokens", {"name": "a", "project": customer.pk}),
    ):
        assert seller.refused("POST", path, body) == (403, "forbidden")
    path = f"/accounts/{customer.account_id}"
    assert seller.refused("PUT", path, {"name": "b"}) == (403, "forbidden")
    assert seller.refused("DELETE", path) == (403, "forbidden")
    assert acting(seller, customer).refused("POST", "/servers", ORDER) == (403, "forbidden")
    unsuspend_account(SYSTEM, shop.pk)
    seller.post("/accounts", {"name": "a"})


# --- the token itself ---------------------------------------------------------------------


def test_its_form_and_its_end(world: World, shop: Account) -> None:
    made = create_reseller_token(SYSTEM, account=shop, name="shop", may_write=True)
    assert made.secret.startswith("vpsr_")
    assert is_secret(made.secret)
    assert len(made.secret) == 64
    assert made.secret not in str(ApiToken.objects.filter(pk=made.token.pk).values())
    api = Api(made.secret)
    api.get("/accounts")
    ApiToken.objects.filter(pk=made.token.pk).update(networks=["192.0.2.0/24"])
    assert api.refused("GET", "/accounts") == (403, "forbidden")
    ApiToken.objects.filter(pk=made.token.pk).update(networks=[], expires=timezone.now())
    assert api.refused("GET", "/accounts") == (401, "unauthorized")
    ApiToken.objects.filter(pk=made.token.pk).update(expires=None)
    Account.objects.filter(pk=shop.pk).update(is_reseller=False)
    assert api.refused("GET", "/accounts") == (401, "unauthorized")
    Account.objects.filter(pk=shop.pk).update(is_reseller=True)
    ApiToken.objects.all().delete()
    assert api.refused("GET", "/accounts") == (401, "unauthorized")


def test_only_staff_make_one(world: World, shop: Account) -> None:
    token = create_reseller_token(SYSTEM, account=shop, name="shop", may_write=True).token
    for actor in (world.alice, Actor(None, "api", token=token)):
        with pytest.raises(Refused, match="Only the staff"):
            create_reseller_token(actor, account=shop, name="x", may_write=True)
    with pytest.raises(Refused, match="no reseller"):
        create_reseller_token(SYSTEM, account=world.project.account, name="x", may_write=True)
    with pytest.raises(Refused, match="called"):
        create_reseller_token(SYSTEM, account=shop, name="shop", may_write=True)
    past = timezone.now() - timedelta(days=1)
    with pytest.raises(Refused, match="past"):
        create_reseller_token(SYSTEM, account=shop, name="y", may_write=True, expires=past)


def test_a_project_token_makes_no_tokens(world: World, customer: Project) -> None:
    made = create_token(SYSTEM, project=customer, name="a", may_write=True)
    with pytest.raises(Refused, match="API tokens"):
        create_token(
            Actor(None, "api", token=made.token), project=customer, name="b", may_write=True
        )


def test_the_command_makes_one(shop: Account, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("token_create", account=shop.pk, write=True, days=3)
    assert Api(capsys.readouterr().out.strip()).get("/accounts")["accounts"] == []
    with pytest.raises(CommandError, match="either"):
        call_command("token_create")
    with pytest.raises(CommandError, match="either"):
        call_command("token_create", "1", account=shop.pk)
    with pytest.raises(CommandError, match="no scopes"):
        call_command("token_create", account=shop.pk, scopes=["images"])
    with pytest.raises(CommandError, match="no account"):
        call_command("token_create", account=999_999)


# --- webhooks of the whole reseller ----------------------------------------------------------


def test_its_webhooks_are_told_of_all_below(
    world: World, seller: Api, rival: Api, shop: Account, customer: Project
) -> None:
    body = {"name": "billing", "url": "https://shop.example.com/hook"}
    made = seller.post("/webhooks", body)
    assert made["secret"].startswith("whsec_")
    hook = shop.webhooks.get()
    assert (hook.account, hook.project) == (shop, None)
    inside = acting(seller, customer)
    assert inside.get("/webhooks")["webhooks"] == []
    inside.post("/webhooks", body)
    assert [one["id"] for one in seller.get("/webhooks")["webhooks"]] == [hook.pk]
    path = f"/webhooks/{hook.pk}"
    assert seller.put(path, {"kinds": ["server.*"]})["webhook"]["kinds"] == ["server.*"]
    assert seller.post(f"{path}/actions/test")["delivery"]["status"] == "queued"
    assert seller.post(f"{path}/actions/rotate_secret")["secret"] != made["secret"]
    assert len(seller.get(f"{path}/deliveries")["deliveries"]) == 1
    for other in (rival, inside, program(customer)):
        assert other.refused("GET", path) == (404, "not_found")
    reader = reseller_program(shop, may_write=False)
    assert reader.get(path)["webhook"]["id"] == hook.pk
    assert reader.refused("DELETE", path) == (403, "token_readonly")
    seller.delete(path)
