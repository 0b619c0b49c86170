"""Making, revoking and recognising API tokens: who may, and what is kept."""

from __future__ import annotations

import io
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from tests.world import World, make_world
from vpspanel.accounts.models import ApiToken
from vpspanel.accounts.token_services import (
    TOKENS_PER_PROJECT,
    MadeToken,
    allows_address,
    create_token,
    find_token,
    note_use,
    revoke_token,
)
from vpspanel.accounts.tokens import digest, is_secret, new_secret
from vpspanel.errors import NotFound, Refused
from vpspanel.events.actor import Actor
from vpspanel.events.models import Event


@pytest.fixture
def world(db: None) -> World:
    return make_world()


def made(world: World, **changes: object) -> MadeToken:
    """Alice's token."""
    wanted: dict[str, object] = {"project": world.project, "name": "ci", "may_write": True}
    return create_token(world.alice, **{**wanted, **changes})  # type: ignore[arg-type]


def test_a_secret_has_the_form_that_clients_and_scanners_know() -> None:
    secrets = {new_secret() for _ in range(100)}
    assert len(secrets) == 100
    for secret in secrets:
        assert len(secret) == 64
        assert secret.startswith("vpsp_")
        assert is_secret(secret)


@given(st.integers(5, 63), st.characters(codec="ascii"))
def test_a_mistyped_secret_is_noticed(at: int, wrong: str) -> None:
    secret = new_secret()
    typed = secret[:at] + wrong + secret[at + 1 :]
    assert is_secret(typed) == (typed == secret)


def test_the_database_holds_nothing_to_sign_in_with(world: World) -> None:
    token, secret = made(world).token, made(world, name="second").secret
    stored = str(list(ApiToken.objects.values()))
    assert secret not in stored
    assert find_token(digest(secret)) is None
    assert find_token(token.digest) is None
    found = find_token(secret)
    assert found is not None
    assert found.name == "second"


def test_events_tell_and_hold_no_secret(world: World) -> None:
    token = made(world)
    revoke_token(world.alice, project=world.project, token_id=token.token.pk)
    events = Event.objects.filter(kind__startswith="api_token.").order_by("pk")
    assert [event.kind for event in events] == ["api_token.created", "api_token.revoked"]
    assert {event.actor_name for event in events} == {"alice@example.com"}
    assert token.secret not in str(list(events.values()))
    assert token.token.digest not in str(list(events.values()))


def test_a_revoked_token_is_unknown_at_once(world: World) -> None:
    token = made(world)
    assert find_token(token.secret) is not None
    revoke_token(world.alice, project=world.project, token_id=token.token.pk)
    assert find_token(token.secret) is None


def test_an_expired_token_is_unknown(world: World) -> None:
    token = made(world, expires=timezone.now() + timedelta(days=1))
    assert find_token(token.secret) is not None
    ApiToken.objects.update(expires=timezone.now())
    assert find_token(token.secret) is None


def test_who_may_make_and_revoke(world: World) -> None:
    token = made(world).token
    program = Actor(None, "api", token=token)
    for actor in (world.bob, world.olga, program):
        with pytest.raises(Refused) as refusal:
            create_token(actor, project=world.project, name="mine", may_write=False)
        assert refusal.value.code == "forbidden"
        with pytest.raises(Refused):
            revoke_token(actor, project=world.project, token_id=token.pk)
    for stranger in (world.charlie, Actor(None, "page")):
        with pytest.raises(NotFound):
            create_token(stranger, project=world.project, name="mine", may_write=False)
    assert ApiToken.objects.count() == 1


def test_the_token_of_another_project_does_not_exist(world: World) -> None:
    token = made(world).token
    theirs = world.charlie.user.memberships.get().project  # type: ignore[union-attr]
    with pytest.raises(NotFound):
        revoke_token(world.charlie, project=theirs, token_id=token.pk)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"name": "  "}, "invalid_input"),
        ({"name": "x" * 81}, "invalid_input"),
        ({"name": "a\x1bb"}, "invalid_input"),
        ({"name": "first"}, "uniqueness_error"),
        ({"networks": ["10.0.0.0/33"]}, "invalid_input"),
        ({"networks": [f"10.0.0.{n}" for n in range(21)]}, "invalid_input"),
        ({"expires": timezone.now() - timedelta(seconds=1)}, "invalid_input"),
    ],
)
def test_what_is_refused(world: World, changes: dict[str, object], code: str) -> None:
    made(world, name="first")
    with pytest.raises(Refused) as refusal:
        made(world, **changes)
    assert refusal.value.code == code
    assert ApiToken.objects.count() == 1


def test_a_project_has_so_many(world: World) -> None:
    for number in range(TOKENS_PER_PROJECT):
        made(world, name=f"t{number}")
    with pytest.raises(Refused) as refusal:
        made(world, name="one more")
    assert refusal.value.code == "resource_limit_exceeded"


@pytest.mark.parametrize(
    ("networks", "ip", "allowed"),
    [
        ([], None, True),
        (["192.0.2.7/24"], "192.0.2.250", True),
        (["192.0.2.0/24"], "192.0.3.1", False),
        (["192.0.2.0/24"], "::ffff:192.0.2.9", True),
        (["2001:db8::/32"], "2001:db8:1::1", True),
        (["2001:db8::/32"], "192.0.2.1", False),
        (["192.0.2.0/24"], None, False),
        (["192.0.2.0/24"], "no address", False),
    ],
)
def test_from_where(world: World, networks: list[str], ip: str | None, allowed: bool) -> None:
    assert allows_address(made(world, networks=networks).token, ip) is allowed


def test_its_use_is_noted_once_a_minute(world: World) -> None:
    token = made(world).token
    note_use(token, "192.0.2.1")
    note_use(token, "192.0.2.2")  # read before the first was noted
    token.refresh_from_db()
    assert token.last_ip == "192.0.2.1"
    ApiToken.objects.update(last_used=timezone.now() - timedelta(seconds=61))
    token.refresh_from_db()
    note_use(token, "192.0.2.3")
    token.refresh_from_db()
    assert token.last_ip == "192.0.2.3"


def test_the_command_prints_the_secret_and_nothing_else(world: World) -> None:
    output = io.StringIO()
    call_command("token_create", "alice@example.com", "--write", "--days=3", stdout=output)
    found = find_token(output.getvalue().strip())
    assert found is not None
    assert found.may_write
    assert found.project == world.project
    assert found.expires is not None
    for nobody in ("999", "nobody@example.com", "x"):
        with pytest.raises(CommandError, match="no project"):
            call_command("token_create", nobody)
