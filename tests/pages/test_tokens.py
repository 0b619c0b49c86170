"""The pages of API tokens."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from tests.world import World
from vpspanel.accounts.models import Account, ApiToken
from vpspanel.accounts.token_services import create_token, find_token
from vpspanel.events.models import Event
from vpspanel.servers.models import Lifecycle, Server

LIST, ADD = reverse("tokens:list"), reverse("tokens:add")
FORM = {"name": "ci", "may_write": "on", "days": "30", "networks": "192.0.2.0/24\n2001:db8::/32"}


def test_making_and_revoking(world: World, alice: Client) -> None:
    assert b"No tokens yet" in alice.get(LIST).content
    made = alice.post(ADD, FORM)
    assert made.status_code == 200
    assert "no-store" in made["Cache-Control"]
    secret = re.search(r'id="token-secret"[^>]*>(\w+)<', made.content.decode())
    assert secret is not None
    token = find_token(secret[1])
    assert token is not None
    assert token.networks == ["192.0.2.0/24", "2001:db8::/32"]
    page = alice.get(LIST).content.decode()
    assert secret[1] not in page
    assert f"…{secret[1][-4:]}" in page
    assert "Revoke ci?" in alice.get(reverse("tokens:revoke", args=[token.pk])).content.decode()
    alice.post(reverse("tokens:revoke", args=[token.pk]))
    assert not ApiToken.objects.exists()


def test_a_token_for_some_changes_of_some_servers(world: World, alice: Client) -> None:
    web = world.running("web")
    world.running("db")
    form = {**FORM, "may_write": "", "scopes": ["servers:power", "servers:console"]}
    for wrong, told in (
        ({"may_write": "on"}, "Choose either everything"),
        ({"servers": "web\nnowhere"}, "no server “nowhere”"),
        ({"scopes": ["images"], "servers": "web"}, "about the whole project"),
    ):
        answer = alice.post(ADD, {**form, **wrong})
        assert (answer.status_code, told in answer.content.decode()) == (422, True), told
    assert alice.post(ADD, {**form, "servers": "web"}).status_code == 200
    token = ApiToken.objects.get()
    assert (token.scopes, token.server_ids) == (["servers:power", "servers:console"], [web.pk])
    page = alice.get(LIST).content.decode()
    assert "servers:power" in page
    assert "only web" in page
    assert "only db" not in page


def test_what_is_wrong_is_told_beside_the_field(world: World, alice: Client) -> None:
    response = alice.post(ADD, {**FORM, "networks": "everywhere"})
    assert response.status_code == 422
    page = response.content.decode()
    assert "is not an address or network" in page
    assert 'value="ci"' in page
    assert not ApiToken.objects.exists()


def test_a_reader_sees_them_and_is_told_why_not_more(
    world: World, alice: Client, bob: Client
) -> None:
    alice.post(ADD, FORM)
    token = ApiToken.objects.get()
    assert b"<strong" in bob.get(LIST).content
    assert bob.get(reverse("tokens:revoke", args=[token.pk])).status_code == 403
    assert bob.post(ADD, FORM).status_code == 403
    assert ApiToken.objects.count() == 1


def limited(world: World, **wanted: Any) -> ApiToken:
    """A token of Alice's for one server, with an end."""
    wanted = {"scopes": ["servers:power"], "server_ids": [world.running("web").pk], **wanted}
    end = datetime(2099, 12, 31, 12, tzinfo=timezone.get_default_timezone())
    wanted = {"name": "ci", "may_write": False, "expires": end, **wanted}
    return create_token(world.alice, project=world.project, **wanted).token


def as_shown(client: Client, token: ApiToken) -> dict[str, Any]:
    """What a browser sends when nothing was changed in the form."""
    page = client.get(reverse("tokens:change", args=[token.pk]))
    assert page.status_code == 200
    form = page.context["form"]
    sent = {field.html_name: field.initial for field in form if field.initial not in (None, False)}
    return sent | {"servers": sent["servers"].replace("\n", "\r\n")}


@pytest.mark.both_databases
def test_changing_one_keeps_the_secret(world: World, alice: Client) -> None:
    token = limited(world)
    world.running("db")
    address = reverse("tokens:change", args=[token.pk])
    assert address in alice.get(LIST).content.decode()
    page = alice.get(address).content.decode()
    assert "2099-12-31 12:00, as before" in page
    assert f"<code>{token.hint}</code>" in page
    wanted = {
        "name": "cd",
        "scopes": ["servers:power", "servers:delete"],
        "servers": "web\r\ndb",
        "days": "30",
        "networks": "192.0.2.0/24",
    }
    answer = alice.post(address, wanted, follow=True)
    assert "API token cd was changed." in answer.content.decode()
    changed = ApiToken.objects.get()
    assert (changed.name, changed.scopes) == ("cd", wanted["scopes"])
    assert (changed.digest, len(changed.server_ids)) == (token.digest, 2)
    assert changed.networks == ["192.0.2.0/24"]
    assert changed.expires is not None
    assert timedelta(days=29) < changed.expires - timezone.now() < timedelta(days=30)
    alice.post(address, {"name": "cd", "may_write": "on", "days": "ever"})
    changed.refresh_from_db()
    assert (changed.may_write, changed.scopes, changed.server_ids) == (True, [], [])
    assert changed.networks == []
    assert changed.expires is None


def test_saving_it_unchanged_changes_nothing(world: World, alice: Client) -> None:
    token = limited(world, networks=["192.0.2.0/24"])
    Server.objects.update(lifecycle=Lifecycle.DELETED)  # its only one: it must not get all now
    before = ApiToken.objects.values().get()
    sent = as_shown(alice, token)
    assert sent["servers"] == str(token.server_ids[0])
    answer = alice.post(reverse("tokens:change", args=[token.pk]), sent)
    assert answer.status_code == 302
    assert ApiToken.objects.values().get() == before
    assert not Event.objects.filter(kind="api_token.changed").exists()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"name": ""}, "This field is required"),
        ({"name": "taken"}, "Another token is called “taken”"),
        ({"may_write": "on"}, "Choose either everything"),
        ({"scopes": ["images"]}, "about the whole project"),
        ({"servers": "web\nnowhere"}, "no server “nowhere”"),
        ({"networks": "everywhere"}, "is not an address or network"),
        ({"days": "7"}, "Select a valid choice"),
    ],
)
def test_what_cannot_be_changed_so_is_told(
    world: World, alice: Client, wrong: dict[str, Any], told: str
) -> None:
    create_token(world.alice, project=world.project, name="taken", may_write=False)
    token = limited(world)
    before = list(ApiToken.objects.values())
    sent = {**as_shown(alice, token), **wrong}
    answer = alice.post(reverse("tokens:change", args=[token.pk]), sent)
    assert answer.status_code == 422
    page = answer.content.decode()
    assert told in page
    assert "Change ci" in page
    assert list(ApiToken.objects.values()) == before


def test_an_expired_one_has_no_way_to_be_changed(world: World, alice: Client) -> None:
    token = limited(world)
    address, sent = reverse("tokens:change", args=[token.pk]), as_shown(alice, token)
    ApiToken.objects.update(expires=timezone.now())
    assert address not in alice.get(LIST).content.decode()
    for answer in (alice.get(address), alice.post(address, {**sent, "days": "30"})):
        assert answer.status_code in (403, 422)
        assert "Revoke it, and make a new one." in answer.content.decode()
    assert not find_expiring()
    ApiToken.objects.update(expires=None)
    Account.objects.update(suspended_at=timezone.now())
    assert alice.get(address).status_code == 403
    assert "contact support" in alice.post(address, {**sent, "name": "cd"}).content.decode()
    assert ApiToken.objects.get().name == "ci"


def find_expiring() -> bool:
    """Whether a token is good until later."""
    return ApiToken.objects.filter(expires__gt=timezone.now()).exists()


def test_only_administrators_change_them(
    world: World, alice: Client, bob: Client, charlie: Client
) -> None:
    token = limited(world)
    address, sent = reverse("tokens:change", args=[token.pk]), as_shown(alice, token)
    for client, status in ((bob, 403), (charlie, 404)):
        assert client.get(address).status_code == status
        assert client.post(address, {**sent, "name": "mine"}).status_code == status
    assert ApiToken.objects.get().name == "ci"


def test_pages_ask_no_more_for_more(world: World, alice: Client) -> None:
    def queries(address: str) -> int:
        with CaptureQueriesContext(connection) as captured:
            assert alice.get(address).status_code == 200
        return len(captured)

    token = limited(world)
    addresses = [LIST, reverse("tokens:change", args=[token.pk])]
    before = [queries(address) for address in addresses]
    servers = [token.server_ids[0], *(world.running(f"w{number}").pk for number in range(5))]
    for number in range(5):
        create_token(
            world.alice,
            project=world.project,
            name=f"t{number}",
            may_write=True,
            server_ids=servers,
        )
    ApiToken.objects.update(server_ids=servers)
    assert [queries(address) for address in addresses] == before
    assert before[1] <= before[0] + 1
