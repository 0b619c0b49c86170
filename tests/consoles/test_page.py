"""The console's page as HTTP: who sees it, and what it may load."""

from __future__ import annotations

import re

import pytest
from django.test import Client

from tests.consoles.conftest import World
from vpspanel.servers.models import Server


@pytest.fixture
def alice(world: World, client: Client) -> Client:
    client.force_login(world.alice)
    return client


def address(server: Server) -> str:
    return f"/servers/{server.pk}/console/"


def test_page_names_the_server_and_its_power(alice: Client, world: World) -> None:
    page = alice.get(address(world.server)).content.decode()
    assert "<title>Console of web</title>" in page
    assert "Running" in page
    assert 'data-types="yes"' in page


def test_page_says_that_the_host_is_simulated(alice: Client, world: World) -> None:
    assert "Simulated" in alice.get(address(world.server)).content.decode()


def test_reader_is_told_that_he_watches_only(world: World, client: Client) -> None:
    client.force_login(world.rita)
    page = client.get(address(world.server)).content.decode()
    assert "Watching only" in page
    assert 'data-types="no"' in page
    assert 'id="paste"' not in page


def test_stranger_and_visitor_see_nothing(world: World, client: Client) -> None:
    for path in ("", "status/"):
        answer = client.get(address(world.server) + path)
        assert answer.status_code == 302
        assert "/login/" in answer["Location"]
    client.force_login(world.mallory)
    for path in ("", "status/"):
        assert client.get(address(world.server) + path).status_code == 404


def test_page_allows_styles_by_its_nonce_only(alice: Client, world: World) -> None:
    """The nonce is new each time, and the script that hands it on comes before xterm.js."""
    nonces = set()
    for _ in range(2):
        answer = alice.get(address(world.server))
        policy, page = answer["Content-Security-Policy"], answer.content.decode()
        found = re.search(r'<script src="[^"]*console-nonce[^"]*" nonce="([^"]+)">', page)
        assert found
        nonces.add(found[1])
        assert f"style-src 'self' 'nonce-{found[1]}'" in policy
        assert "unsafe" not in policy
        assert page.index("console-nonce") < page.index("vendor/xterm.js")
        assert not re.search(r"<script(?![^>]*\bsrc=)", page)
    assert len(nonces) == 2


def test_tickets_are_not_given_by_get(alice: Client, world: World) -> None:
    assert alice.get(address(world.server) + "ticket/").status_code == 405


def test_names_are_text(alice: Client, world: World) -> None:
    Server.objects.filter(pk=world.server.pk).update(name="<script>alert(1)</script>")
    page = alice.get(address(world.server)).content.decode()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
