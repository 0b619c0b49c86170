"""Other methods, the addresses of one's own account, and what a suspension leaves."""

from __future__ import annotations

import pytest
from django.db import transaction
from django.urls import reverse
from django.utils import timezone

from tests.access.addresses import all_addresses
from tests.access.test_matrix import (
    PEOPLE,
    PLAN,
    PUBLIC,
    ROWS,
    SIGNED_IN,
    address,
    browser,
    world,
)
from tests.world import World
from vpspanel.accounts.models import Account

__all__ = ["world"]

# name -> (who may GET, who may POST). An empty form changes nothing, so a 200 shows it again.
OWN_ACCOUNT: dict[str, tuple[str | None, str | None]] = {
    "account_login": (PUBLIC, PUBLIC),
    "account_signup": (PUBLIC, PUBLIC),
    "account_logout": (SIGNED_IN, None),
    "account_inactive": (PUBLIC, None),
    "account_reauthenticate": (SIGNED_IN, SIGNED_IN),
    "account_email": (SIGNED_IN, None),
    "account_email_verification_sent": (PUBLIC, None),
    "account_confirm_email": (PUBLIC, None),
    "account_change_password": (SIGNED_IN, SIGNED_IN),
    "account_set_password": (None, None),
    "account_reset_password": (PUBLIC, PUBLIC),
    "account_reset_password_done": (PUBLIC, None),
    "account_reset_password_from_key": (PUBLIC, PUBLIC),  # says that the link is no good
    "account_reset_password_from_key_done": (PUBLIC, None),
    "account_confirm_login_code": (None, None),
}
FORGED = {
    "account_confirm_email": {"key": "forged"},
    "account_reset_password_from_key": {"uidb36": "1", "key": "abc-forged"},
}
# Signed in already: these lead home.
ONLY_FOR_VISITORS = ("account_login", "account_signup")
# What a suspended customer may still do: end things, see what is shown once, put away what it was
# told, and look after keys, tokens, addresses, snapshots and recordings. Nothing that is sold or
# runs is among it.
WHILE_SUSPENDED = {
    "servers:power_off",
    "servers:cancel",
    "servers:delete",
    "announcements:dismiss",
    "servers:disable_rescue",
    "servers:reveal_password",
    "servers:reveal_rescue_password",
    "consoles:power",
    "consoles:link_revoke",
    "consoles:recording_delete",
    "keys:delete",
    "snapshots:change_protection",
    "snapshots:delete",
    "tokens:revoke",
    "addresses:change",
    "addresses:change_protection",
    "groups:rename",
    "groups:delete",
    "webhooks:switch",
    "webhooks:test",
    "webhooks:rotate",
    "webhooks:delete",
    "webhooks:redeliver",
}


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_nobody_gets_anywhere_with_other_methods(world: World, method: str) -> None:
    before = ROWS.read()
    for person in PEOPLE:
        client = browser(person)
        for name in PLAN:
            response = client.generic(method, address(name))
            allowed = (302, 401, 405) if person == "nobody" else (405,)
            assert response.status_code in allowed, (person, name)
    assert ROWS.read() == before


def test_head_tells_what_get_tells_and_changes_nothing(world: World) -> None:
    before = ROWS.read()
    for person in PEOPLE:
        client = browser(person)
        for name in PLAN:
            head, get = client.head(address(name)), client.get(address(name))
            assert head.status_code == get.status_code, (person, name)
            assert head.content == b"", (person, name)
    assert ROWS.read() == before


def test_the_plan_names_every_address_of_ones_own_account() -> None:
    names = [name for name, _ in all_addresses() if name.startswith("account_")]
    assert sorted(names) == sorted(OWN_ACCOUNT)


@pytest.mark.parametrize("person", ["nobody", "stranger", "staff"])
def test_ones_own_account(world: World, person: str) -> None:
    before = ROWS.read()
    for name, plan in OWN_ACCOUNT.items():
        for method, who in zip(("GET", "POST"), plan, strict=True):
            client = browser(person)
            response = client.generic(method, reverse(name, kwargs=FORGED.get(name)))
            shown = who == PUBLIC or (who == SIGNED_IN and person != "nobody")
            if name in ONLY_FOR_VISITORS and person != "nobody":
                shown = False
            assert (response.status_code == 200) == shown, (method, name, response.status_code)
            assert response.status_code in (200, 302, 404, 405), (method, name)
    assert ROWS.read() == before


def test_a_suspended_account_only_ends_things(world: World) -> None:
    Account.objects.update(suspended_at=timezone.now())
    client = browser("alice")
    form = {
        "name": "web",
        "image": world.images[1].pk,
        "understood": "on",
        "protect_delete": "on",
        "public_key": "ssh-ed25519 AAAA",
        "verb": "power_off",
        "kind": "serial",
    }
    let_through = set()
    for name, (_, post) in PLAN.items():
        if post is None or name == "projects:choose":  # which only the session remembers
            continue
        before = ROWS.read()
        with transaction.atomic():
            response = client.post(address(name), form)
            if response.status_code in (403, 422):
                assert ROWS.read() == before, name
            else:
                let_through.add(name)
            transaction.set_rollback(True)
    assert let_through == WHILE_SUSPENDED, let_through ^ WHILE_SUSPENDED
