"""Staff make resellers, move accounts in the tree, and make and revoke resellers' tokens."""

from __future__ import annotations

import importlib
import re
from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from tests.api.asking import Api, make_customer, make_reseller, program, reseller_program
from tests.world import World, make_user, make_world
from vpspanel.accounts.hierarchy import problems
from vpspanel.accounts.models import Account, ApiToken, Suspender, User
from vpspanel.events.models import Event


@pytest.fixture
def world(db: None) -> World:
    return make_world()


@pytest.fixture
def shop(world: World) -> Account:
    """A reseller."""
    return make_reseller("Shop")


def sign_in(client: Client, *permissions: str) -> User:
    """A member of staff with these permissions."""
    user = make_user("staff@example.com")
    User.objects.filter(pk=user.pk).update(is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client.force_login(user)
    return user


def new_token(account: Account) -> str:
    return reverse("admin:accounts_account_new_token", args=[account.pk])


def test_a_token_is_shown_once_and_works(world: World, client: Client, shop: Account) -> None:
    user = sign_in(client, "view_account", "change_account", "add_apitoken", "view_apitoken")
    page = client.get(reverse("admin:accounts_account_change", args=[shop.pk])).content.decode()
    assert new_token(shop) in page
    assert b"acts for Shop" in client.get(new_token(shop)).content
    form = {"name": "billing", "may_write": "on", "days": "30", "networks": "127.0.0.0/8"}
    answer = client.post(new_token(shop), form)
    assert "no-store" in answer["Cache-Control"]
    found = re.search(r'<code id="secret">(vpsr_\w+)</code>', answer.content.decode())
    assert found is not None
    assert Api(found[1]).get("/accounts")["accounts"] == []
    token = shop.api_tokens.get()
    assert (token.networks, token.created_by) == (["127.0.0.0/8"], user)
    assert Event.objects.get(kind="api_token.created").actor_id == user.pk
    again = client.post(new_token(shop), {"name": "billing"})
    assert "Another token is called" in again.content.decode()
    wrong = client.post(new_token(shop), {"name": "other", "networks": "nowhere"})
    assert "is not an address or network" in wrong.content.decode()
    assert shop.api_tokens.count() == 1


def test_who_makes_none(world: World, client: Client, shop: Account) -> None:
    sign_in(client, "view_account", "change_account")
    assert client.get(new_token(shop)).status_code == 403
    assert client.post(new_token(shop), {"name": "x"}).status_code == 403
    client.force_login(User.objects.create_superuser("root@example.com"))
    assert client.get(new_token(world.project.account)).status_code == 404
    assert not ApiToken.objects.exists()


def changing(token: ApiToken) -> str:
    return reverse("admin:accounts_account_token", args=[token.account_id, token.pk])


def test_staff_change_what_a_token_may(world: World, client: Client, shop: Account) -> None:
    api = reseller_program(shop, name="shop", expires=timezone.now() + timedelta(days=3))
    token = shop.api_tokens.get()
    user = sign_in(client, "view_account", "change_account", "add_apitoken")
    page = client.get(reverse("admin:accounts_account_change", args=[shop.pk])).content.decode()
    assert changing(token) in page
    before = ApiToken.objects.values().get()
    end = f"{timezone.localtime(token.expires):%Y-%m-%d %H:%M:%S}"
    assert end in client.get(changing(token)).content.decode()
    sent = {"name": "shop", "may_write": "on", "networks": "", "expires": end}
    assert client.post(changing(token), sent).status_code == 302
    assert ApiToken.objects.values().get() == before
    assert not Event.objects.filter(kind="api_token.changed").exists()  # nothing did change
    for wrong, told in (
        ({"name": ""}, "This field is required"),
        ({"networks": "nowhere"}, "is not an address or network"),
        ({"expires": "2020-01-01 00:00"}, "lies in the past"),
        ({"expires": "soon"}, "Enter a valid date/time"),
    ):
        assert told in client.post(changing(token), {**sent, **wrong}).content.decode(), wrong
    answer = client.post(changing(token), {"name": "reader", "networks": "", "expires": ""})
    assert answer["Location"] == reverse("admin:accounts_account_change", args=[shop.pk])
    assert api.refused("POST", "/accounts", {"name": "Ada"}) == (403, "token_readonly")
    changed = shop.api_tokens.get()
    assert (changed.name, changed.may_write, changed.expires) == ("reader", False, None)
    assert Event.objects.get(kind="api_token.changed").actor_id == user.pk
    shop.api_tokens.update(expires=timezone.now())
    assert b"make a new one" in client.post(changing(token), sent).content


def test_who_changes_no_token(world: World, client: Client, shop: Account) -> None:
    reseller_program(shop)
    token, of_project = shop.api_tokens.get(), program(world.project)
    sign_in(client, "view_account", "change_account", "view_apitoken", "change_apitoken")
    assert client.get(changing(token)).status_code == 403
    assert client.post(changing(token), {"name": "x"}).status_code == 403
    client.force_login(User.objects.create_superuser("root@example.com"))
    rival = make_reseller("Rival")
    for account, pk in ((shop, world.project.api_tokens.get().pk), (rival, token.pk)):
        address = reverse("admin:accounts_account_token", args=[account.pk, pk])
        assert client.get(address).status_code == 404
        assert client.post(address, {"name": "x"}).status_code == 404
    assert not ApiToken.objects.filter(name="x").exists()
    assert of_project.get("/servers")["servers"] == []


def test_staff_revoke_any_token_after_asking(world: World, client: Client, shop: Account) -> None:
    api, of_project = reseller_program(shop), program(world.project)
    sign_in(client, "view_apitoken", "delete_apitoken")
    pks = list(ApiToken.objects.values_list("pk", flat=True))
    form: dict[str, Any] = {"action": "revoke", "_selected_action": pks}
    address = reverse("admin:accounts_apitoken_changelist")
    assert 'name="confirmed"' in client.post(address, form).content.decode()
    api.get("/accounts")
    client.post(address, {**form, "confirmed": "yes"})
    assert api.refused("GET", "/accounts") == (401, "unauthorized")
    assert of_project.refused("GET", "/servers") == (401, "unauthorized")
    assert Event.objects.filter(kind="api_token.revoked").count() == 2


def test_who_only_looks_revokes_nothing(world: World, client: Client, shop: Account) -> None:
    api = reseller_program(shop)
    sign_in(client, "view_apitoken", "change_apitoken")
    form = {"action": "revoke", "_selected_action": [shop.api_tokens.get().pk], "confirmed": "yes"}
    client.post(reverse("admin:accounts_apitoken_changelist"), form)
    api.get("/accounts")


def test_the_form_says_what_speaks_against_a_move(
    world: World, client: Client, shop: Account
) -> None:
    sign_in(client, "view_account", "change_account")
    plain = Account.objects.create(name="Plain")
    address = reverse("admin:accounts_account_change", args=[plain.pk])
    form = {
        "name": "Plain",
        "server_limit": "10",
        "address_limit": "10",
        "parent": str(world.project.account_id),
    }
    assert "is no reseller" in client.post(address, form).content.decode()
    assert client.post(address, {**form, "parent": str(shop.pk)}).status_code == 302
    assert Account.objects.get(pk=plain.pk).parent == shop
    told = Event.objects.get(kind="account.changed", resource_id=plain.pk)
    assert (told.public, told.data) == (True, {"parent": shop.pk})
    client.post(address, {**form, "parent": str(shop.pk), "server_limit": "7"})
    told = Event.objects.filter(kind="account.changed", resource_id=plain.pk).latest("pk")
    assert told.data == {"server_limit": 7}


def test_where_an_account_may_stand(world: World, shop: Account) -> None:
    middle = make_customer(shop, "middle").account
    Account.objects.filter(pk=middle.pk).update(is_reseller=True)
    far = make_customer(Account.objects.get(pk=middle.pk), "far").account
    alone = Account.objects.create(name="alone")
    suspended = make_reseller("Suspended")
    Account.objects.filter(pk=suspended.pk).update(suspended_at=timezone.now())
    busy = Account.objects.create(name="busy", servers_used=1)
    follows = make_customer(shop, "follows").account
    Account.objects.filter(pk=follows.pk).update(suspender=Suspender.ABOVE)

    def moved(account: Account, parent: Account | None) -> str:
        found = Account.objects.get(pk=account.pk)
        found.parent = parent and Account.objects.get(pk=parent.pk)
        return problems(found).get("parent", "")

    assert moved(alone, shop) == moved(alone, middle) == moved(far, shop) == moved(far, None) == ""
    assert "below itself" in moved(shop, middle)
    assert "no reseller" in moved(alone, busy)
    assert "is suspended" in moved(alone, suspended)
    assert "without servers" in moved(busy, shop)
    assert "with its reseller" in moved(follows, None)
    Account.objects.filter(pk=far.pk).update(is_reseller=True)
    assert "At most 2" in moved(alone, far)
    assert "At most 2" in moved(shop, make_reseller("Top"))  # two levels hang on it
    assert moved(middle, make_reseller("Other")) == ""


def test_a_reseller_with_customers_or_tokens_stays_one(world: World, shop: Account) -> None:
    shop.is_reseller = False
    assert problems(shop) == {}
    reseller_program(Account.objects.get(pk=shop.pk))
    assert "is_reseller" in problems(shop)
    ApiToken.objects.all().delete()
    make_customer(Account.objects.get(pk=shop.pk), "customer")
    assert "is_reseller" in problems(shop)


def test_who_had_customers_before_is_a_reseller_now(world: World, shop: Account) -> None:
    middle = make_customer(shop, "middle").account
    far = make_customer(middle, "far").account
    counted = {shop.pk: 1, middle.pk: 2, far.pk: 4}
    for pk, used in counted.items():
        Account.objects.filter(pk=pk).update(servers_used=used, is_reseller=False)
    module = importlib.import_module("vpspanel.accounts.migrations.0006_count_up_the_tree")
    module.count_up_the_tree(apps, None)
    found = Account.objects.filter(pk__in=counted).values_list("pk", "servers_used", "is_reseller")
    assert set(found) == {(shop.pk, 7, True), (middle.pk, 6, True), (far.pk, 4, False)}
