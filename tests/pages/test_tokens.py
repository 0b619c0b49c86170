"""The pages of API tokens."""

from __future__ import annotations

import re

from django.test import Client
from django.urls import reverse

from tests.world import World
from vpspanel.accounts.models import ApiToken
from vpspanel.accounts.token_services import find_token

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
