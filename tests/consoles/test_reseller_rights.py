"""A reseller's program opens the screens of what is below it, and of nothing else."""

from __future__ import annotations

import pytest
from django.utils import timezone

from tests.api.asking import make_customer, make_reseller, reseller_program
from tests.world import World, make_world
from vpspanel.accounts.models import Account
from vpspanel.consoles.rights import may_use_by_token, program_id
from vpspanel.servers.models import Server


@pytest.fixture
def world(db: None) -> World:
    return make_world()


def opens(reseller: Account, server: Server) -> bool:
    """Whether the reseller's token opens its screen now."""
    pair = (program_id(reseller.api_tokens.get().pk), server.pk)
    return may_use_by_token({pair}).get(pair, False)


def test_it_opens_what_is_below_as_long_as_it_may(world: World) -> None:
    shop, rival = make_reseller("Shop"), make_reseller("Rival")
    middle = make_customer(shop, "middle")
    Account.objects.filter(pk=middle.account_id).update(is_reseller=True)
    far = make_customer(Account.objects.get(pk=middle.account_id), "far")
    for account in (shop, rival):
        reseller_program(account)
    api = reseller_program(Account.objects.get(pk=middle.account_id), project=far)
    api.post("/servers", {"name": "web", "server_type": "nano", "image": "tiny"})
    server = Server.objects.get()
    alices = world.order("web").server
    assert (opens(shop, server), opens(middle.account, server)) == (True, True)
    assert (opens(rival, server), opens(shop, alices)) == (False, False)
    Account.objects.filter(pk=far.account_id).update(suspended_at=timezone.now())
    assert not opens(shop, server)
    Account.objects.filter(pk=far.account_id).update(suspended_at=None)
    shop.api_tokens.update(may_write=False)
    assert not opens(shop, server)
