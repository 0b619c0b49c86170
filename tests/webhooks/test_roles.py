"""Who may change whose webhooks."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.asking import make_reseller, reseller_program
from tests.world import World
from vpspanel.accounts.models import Account, ApiToken, Member, Role
from vpspanel.accounts.services import open_account
from vpspanel.errors import NotFound, Refused
from vpspanel.events.actor import SYSTEM, Actor
from vpspanel.webhooks.models import Webhook
from vpspanel.webhooks.services import (
    create_webhook,
    delete_webhook,
    redeliver,
    require_webhook_role,
    rotate_secret,
    send_test,
    update_webhook,
)

ADDRESS: dict[str, Any] = {"name": "whole", "url": "https://example.com/"}


def token_of(account: Account, *, may_write: bool = True) -> Actor:
    """A program of the reseller."""
    reseller_program(account, may_write=may_write)
    token = ApiToken.objects.filter(account=account).latest("pk")
    return Actor(user=None, via="api", token=token)


def test_those_of_a_project_are_for_its_administrators(world: World) -> None:
    require_webhook_role(world.alice, world.project)
    with pytest.raises(NotFound):
        require_webhook_role(world.charlie, world.project)
    Member.objects.filter(project=world.project).update(role=Role.OPERATOR)
    with pytest.raises(Refused, match="may not change its webhooks"):
        require_webhook_role(world.alice, world.project)


def test_those_of_an_account_are_for_nobody_who_works_in_its_projects(world: World) -> None:
    """They would tell him of the projects in which he has no part, and of customers."""
    assert world.alice.user is not None
    project = open_account(user=world.alice.user, name="Shop", actor=SYSTEM)
    Account.objects.filter(pk=project.account_id).update(is_reseller=True)
    shop = Account.objects.get(pk=project.account_id)
    made = create_webhook(SYSTEM, owner=shop, **ADDRESS).webhook
    delivery = send_test(SYSTEM, made)
    for role in Role.values:
        Member.objects.filter(project=project).update(role=role)
        for change in (
            lambda: create_webhook(world.alice, owner=shop, **{**ADDRESS, "name": "mine"}),
            lambda: update_webhook(world.alice, made, url="https://example.org/"),
            lambda: rotate_secret(world.alice, made),
            lambda: send_test(world.alice, made),
            lambda: redeliver(world.alice, delivery),
            lambda: delete_webhook(world.alice, made),
        ):
            with pytest.raises(NotFound):
                change()
    assert Webhook.objects.get().url == ADDRESS["url"]


def test_those_of_a_reseller_are_for_its_own_token(world: World) -> None:
    shop = make_reseller("Shop")
    require_webhook_role(token_of(shop), shop)
    with pytest.raises(Refused, match="a token that may write"):
        require_webhook_role(token_of(shop, may_write=False), shop)
    with pytest.raises(NotFound):
        require_webhook_role(token_of(make_reseller("Rival")), shop)
    with pytest.raises(NotFound):
        require_webhook_role(token_of(shop), world.project)
