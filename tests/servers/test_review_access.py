"""Whoever is suspended, switched off or nobody at all may do no more than said."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.world import World, work
from vpspanel.accounts.models import Account, User
from vpspanel.accounts.services import require_key_role
from vpspanel.actions.models import Action, ActionState
from vpspanel.consoles.rights import may_watch
from vpspanel.consoles.services import refuse_unless_open
from vpspanel.errors import Refused
from vpspanel.events.actor import SYSTEM, Actor
from vpspanel.servers import services
from vpspanel.servers.access import get_server
from vpspanel.servers.models import Server
from vpspanel.servers.reading import list_servers, server_detail
from vpspanel.servers.states import Verb

pytestmark = pytest.mark.both_databases


def test_the_servers_of_a_suspended_account_can_only_be_stopped_and_deleted(world: World) -> None:
    server = world.running()
    Account.objects.update(suspended_at=timezone.now())
    for verb in (services.reboot, services.reset, services.reset_password):
        with pytest.raises(Refused, match="suspended"):
            verb(world.alice, server.pk)
    with pytest.raises(Refused, match="suspended"):
        services.rebuild(world.alice, server.pk, image=world.images[1])
    services.power_off(world.alice, server.pk)
    work()
    with pytest.raises(Refused, match="suspended"):
        services.power_on(world.alice, server.pk)
    assert "suspended" in list_servers(world.alice)[0].allowed[Verb.POWER_ON]
    services.delete(world.alice, server.pk)
    work()
    server.refresh_from_db()
    assert server.lifecycle == "deleted"


def test_the_consoles_of_a_suspended_account_are_closed(world: World) -> None:
    server, user = world.running(), world.alice.user
    assert user is not None
    pair = (user.pk, server.pk)
    assert may_watch({pair}) == {pair: True}
    Account.objects.update(suspended_at=timezone.now())
    assert may_watch({pair}) == {}
    with pytest.raises(Refused, match="suspended"):
        refuse_unless_open(get_server(world.alice, server.pk))


def test_a_list_takes_as_many_queries_for_one_server_as_for_many(world: World) -> None:
    counts = []
    for names in (["a"], ["b", "c", "d"]):
        for name in names:
            world.order(name)
        with CaptureQueriesContext(
            connection,
        ) as queries:
            list_servers(world.alice)
        counts.append(len(queries))
    assert counts == [4, 4]


@pytest.mark.parametrize("via", ["page", "api", "admin"])
def test_nobody_is_not_the_system(world: World, via: str) -> None:
    server = world.running()
    nobody = Actor(None, via)
    for attempt in (
        lambda: require_key_role(nobody, world.project),
        lambda: get_server(nobody, server.pk),
        lambda: services.cancel_action(nobody, 1),
    ):
        with pytest.raises(Refused):
            attempt()
    require_key_role(SYSTEM, world.project)


def test_who_is_switched_off_may_no_longer_change_keys(world: World) -> None:
    User.objects.filter(pk=world.alice.user.pk).update(is_active=False)  # type: ignore[union-attr]
    switched_off = Actor(User.objects.get(email="alice@example.com"), "api")
    with pytest.raises(Refused):
        require_key_role(switched_off, world.project)


def test_a_customer_who_calls_himself_admin_is_none(world: World) -> None:
    server = world.running()
    for user in (world.charlie.user, world.bob.user):
        with pytest.raises(Refused):
            services.power_off(Actor(user, "admin"), server.pk)


def test_housekeeping_that_failed_is_not_shown_to_the_customer(world: World) -> None:
    server = world.running()
    action = services.scrub_seed(server)
    detail = server_detail(world.alice, server.pk)
    assert detail.action is None
    Action.objects.filter(pk=action.pk).update(state=ActionState.ERROR)
    assert server_detail(world.alice, server.pk).action is None
    refusal = services.power_off(world.alice, server.pk)
    assert refusal.command == "power_off"
    assert Server.objects.get(pk=server.pk).lifecycle == "active"
