"""Changing API tokens: who may, what follows from what, and what is told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from tests.api.asking import make_reseller
from tests.world import World, make_world
from vpspanel.accounts.models import Account, ApiToken
from vpspanel.accounts.token_changes import change_reseller_token, change_token
from vpspanel.accounts.token_services import (
    create_reseller_token,
    create_token,
    find_token,
    revoke_token,
)
from vpspanel.errors import NotFound, Refused
from vpspanel.events.actor import SYSTEM, Actor
from vpspanel.events.models import Event
from vpspanel.servers.limited_tokens import change_limited_token

LATER = datetime(2099, 1, 31, 12, tzinfo=UTC)


@pytest.fixture
def world(db: None) -> World:
    return make_world()


def made(world: World, **wanted: Any) -> ApiToken:
    """A token of Alice's project that may power its servers on and off."""
    wanted = {"name": "ci", "may_write": False, "scopes": ["servers:power"], **wanted}
    return create_token(world.alice, project=world.project, **wanted).token


def now(token: ApiToken) -> dict[str, Any]:
    """What the database says of it."""
    return dict(ApiToken.objects.values().get(pk=token.pk))


def refused(world: World, token: ApiToken, **changes: Any) -> tuple[str, str | None]:
    """Code and field of the refusal, which changed nothing."""
    before = now(token)
    with pytest.raises(Refused) as refusal:
        change_token(world.alice, token, **changes)
    assert now(token) == before
    assert not Event.objects.filter(kind="api_token.changed").exists()
    return refusal.value.code, refusal.value.field


@pytest.mark.both_databases
def test_everything_but_the_secret_changes(world: World) -> None:
    secret = create_token(world.alice, project=world.project, name="a", may_write=True).secret
    token, web = ApiToken.objects.get(), world.running("web")
    before = now(token)
    changed = change_limited_token(
        world.alice,
        token,
        name="  nightly   job ",
        scopes=["servers:console", "servers:power"],
        servers=["web"],
        networks=["192.0.2.7/24"],
        expires=LATER,
    )
    wanted = {
        "name": "nightly job",
        "may_write": True,
        "scopes": ["servers:power", "servers:console"],
        "server_ids": [web.pk],
        "networks": ["192.0.2.0/24"],
        "expires": LATER,
    }
    assert now(token) == {**before, **wanted}
    assert {field: getattr(changed, field) for field in wanted} == wanted
    found = find_token(secret)
    assert found is not None
    assert found.name == "nightly job"


@pytest.mark.both_databases
def test_the_event_tells_what_it_is_and_what_it_was(world: World) -> None:
    token = made(world)
    change_token(world.alice, token, name="cd", networks=[], expires=LATER)
    event = Event.objects.get(kind="api_token.changed")
    assert event.message == "API token cd was changed: name, end"
    assert (event.actor_name, event.project_id) == ("alice@example.com", world.project.pk)
    assert event.data == {
        "name": "cd",
        "expires": LATER.isoformat(),
        "before": {"name": "ci", "expires": None},
    }
    assert token.digest not in str(event.data)


def test_what_changes_nothing_is_no_event(world: World) -> None:
    token = made(world, expires=LATER)
    before = now(token)
    change_token(world.alice, token)
    change_token(
        world.alice, token, name="ci", may_write=True, scopes=["servers:power"], expires=LATER
    )
    assert now(token) == before
    assert not Event.objects.filter(kind="api_token.changed").exists()


@pytest.mark.parametrize(
    ("at_first", "changes", "may_write", "scopes"),
    [
        ({}, {"scopes": ["images"]}, True, ["images"]),
        ({}, {"may_write": False}, False, []),
        ({}, {"may_write": False, "scopes": ["images"]}, True, ["images"]),
        ({}, {"may_write": True}, True, ["servers:power"]),
        ({}, {"may_write": True, "scopes": []}, True, []),
        ({}, {"may_write": False, "scopes": []}, False, []),
        ({"scopes": []}, {"may_write": True}, True, []),
        ({"scopes": []}, {"scopes": ["images"]}, True, ["images"]),
        ({"scopes": []}, {"scopes": []}, False, []),
        ({"scopes": [], "may_write": True}, {"scopes": []}, True, []),
        ({"scopes": [], "may_write": True}, {"may_write": False}, False, []),
    ],
)
def test_writing_and_scopes_fit_together(
    world: World, at_first: Any, changes: Any, may_write: bool, scopes: list[str]
) -> None:
    token = made(world, **at_first)
    change_token(world.alice, token, **changes)
    assert (now(token)["may_write"], now(token)["scopes"]) == (may_write, scopes)


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"name": " "}, ("invalid_input", "name")),
        ({"name": "x" * 81}, ("invalid_input", "name")),
        ({"name": "taken"}, ("uniqueness_error", "name")),
        ({"scopes": []}, ("invalid_input", "scopes")),
        ({"scopes": ["servers:fly"]}, ("invalid_input", "scopes")),
        ({"scopes": ["webhooks"], "server_ids": [1]}, ("invalid_input", "scopes")),
        ({"networks": ["10.0.0.0/33"]}, ("invalid_input", "networks")),
        ({"networks": [f"10.0.0.{n}" for n in range(21)]}, ("invalid_input", "networks")),
        ({"expires": timezone.now() - timedelta(seconds=1)}, ("invalid_input", "expires")),
    ],
)
@pytest.mark.both_databases
def test_what_is_refused(world: World, changes: Any, refusal: tuple[str, str]) -> None:
    made(world, name="taken")
    token = made(world)
    assert refused(world, token, **changes) == refusal
    assert token.name == "ci"  # the page goes on showing it as it is


def test_servers_and_scopes_of_the_project_do_not_meet(world: World) -> None:
    web = world.running("web")
    of_all = made(world, name="all", scopes=["images"])
    assert refused(world, of_all, server_ids=[web.pk]) == ("invalid_input", "scopes")
    of_one = made(world, name="one", server_ids=[web.pk])
    assert refused(world, of_one, scopes=["placement_groups"]) == ("invalid_input", "scopes")
    change_token(world.alice, of_one, scopes=["placement_groups"], server_ids=[])
    change_token(world.alice, of_all, scopes=["servers:power"], server_ids=[web.pk])


def test_its_servers_by_name_or_number_and_a_deleted_one_by_number(world: World) -> None:
    web, db = world.running("web"), world.running("db")
    token = made(world, server_ids=[web.pk])
    change_limited_token(world.alice, token, servers=["db", str(web.pk)])
    assert now(token)["server_ids"] == [web.pk, db.pk]
    type(web).objects.filter(pk=web.pk).update(lifecycle="deleted")
    change_limited_token(world.alice, token, servers=[web.pk])
    assert now(token)["server_ids"] == [web.pk]
    change_limited_token(world.alice, token, name="other")
    assert now(token)["server_ids"] == [web.pk]
    for servers in (["web"], ["of-charlie"], [str(db.pk + 99)], ["db"] * 101):
        with pytest.raises(Refused) as refusal:
            change_limited_token(world.alice, token, servers=servers)
        assert (refusal.value.code, refusal.value.field) == ("invalid_input", "servers")
    change_limited_token(world.alice, token, servers=[])
    assert now(token)["server_ids"] == []


def test_only_who_may_make_one_changes_one(world: World) -> None:
    token = made(world)
    everything = create_token(world.alice, project=world.project, name="all", may_write=True)
    before = now(token)
    for actor in (world.bob, world.olga, Actor(None, "api", token=everything.token)):
        with pytest.raises(Refused) as refusal:
            change_token(actor, token, name="mine")
        assert refusal.value.code == "forbidden"
    itself = Actor(None, "api", token=token)
    with pytest.raises(Refused):
        change_limited_token(itself, token, scopes=[], may_write=True)
    for stranger in (world.charlie, Actor(None, "page")):
        with pytest.raises(NotFound):
            change_limited_token(stranger, token, name="mine", servers=["guess"])
    assert now(token) == before


def test_an_expired_one_is_not_revived(world: World) -> None:
    token = made(world, expires=LATER)
    ended = timezone.now() - timedelta(seconds=1)
    ApiToken.objects.filter(pk=token.pk).update(expires=ended)  # since the page was opened
    with pytest.raises(Refused, match="Revoke it, and make a new one"):
        change_token(world.alice, token, expires=LATER)
    assert now(token)["expires"] == ended


def test_a_revoked_one_is_not_there(world: World) -> None:
    token = made(world)
    stale = ApiToken.objects.select_related("project__account").get(pk=token.pk)
    revoke_token(world.alice, project=world.project, token_id=token.pk)
    with pytest.raises(NotFound):
        change_token(world.alice, stale, name="back")
    assert not ApiToken.objects.exists()


def test_not_while_the_account_is_suspended(world: World) -> None:
    token = made(world)
    Account.objects.filter(pk=world.project.account_id).update(suspended_at=timezone.now())
    with pytest.raises(Refused, match="contact support"):
        change_token(world.alice, token, networks=[])


def test_staff_change_those_of_resellers_and_no_others(world: World) -> None:
    shop = make_reseller()
    token = create_reseller_token(SYSTEM, account=shop, name="shop", may_write=True).token
    change_reseller_token(
        SYSTEM, token, may_write=False, networks=["192.0.2.0/24"], expires=LATER, name="reader"
    )
    wanted = {"name": "reader", "may_write": False, "networks": ["192.0.2.0/24"], "expires": LATER}
    assert now(token) == {**now(token), **wanted}
    event = Event.objects.get(kind="api_token.changed")
    assert (
        event.message == "API token reader was changed: name, whether it may write, networks, end"
    )
    with pytest.raises(NotFound):
        change_reseller_token(SYSTEM, made(world), name="x")
    itself = Actor(None, "api", token=token)
    for actor in (world.alice, itself):
        with pytest.raises(Refused):
            change_reseller_token(actor, token, name="x")
        with pytest.raises(NotFound):
            change_token(actor, token, name="x")
