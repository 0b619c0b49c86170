"""Rules that every template keeps, and pages for when something is wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.conf import settings
from django.db import OperationalError
from django.template.loader import get_template
from django.test import Client, RequestFactory, override_settings
from django.urls import reverse
from django.views.defaults import bad_request, permission_denied, server_error

from hosts.models import Host
from tests.world import World
from vpspanel.accounts.models import User
from vpspanel.servers.states import Status

TEMPLATES = sorted(Path(settings.BASE_DIR / "templates").rglob("*.html"))
SPRITE = Path(settings.BASE_DIR / "static/vendor/icons.svg")


def drawings() -> set[str]:
    return set(re.findall(r'<symbol id="([^"]+)"', SPRITE.read_text()))


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: str(path.relative_to(path.parents[2])))
def test_a_template_parses_and_its_drawings_exist(path: Path) -> None:
    get_template(str(path.relative_to(settings.BASE_DIR / "templates")))
    text = path.read_text()
    used = re.findall(r'{% icon "([^"]+)"', text) + re.findall(r'icon_name="([^"]+)"', text)
    assert set(used) <= drawings()


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: str(path.relative_to(path.parents[2])))
def test_a_template_has_no_script_and_no_style_of_its_own(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"<script(?![^>]*\bsrc=)", text)
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", text, re.IGNORECASE)
    assert "|safe" not in text
    assert "autoescape off" not in text


def test_every_status_has_a_drawing() -> None:
    assert {status.icon for status in Status} <= drawings()


def test_what_is_not_there(world: World, alice: Client, client: Client) -> None:
    for browser in (alice, client):
        response = browser.get("/nothing/here/")
        assert response.status_code == 404
        assert b"There is nothing here" in response.content
        assert b'class="skip-link"' in response.content


@pytest.mark.django_db
def test_refused_requests() -> None:
    request = RequestFactory().get("/")
    for view, said in ((bad_request, b"not understood"), (permission_denied, b"may not do this")):
        response = view(request, Exception())
        assert said in response.content


def test_a_broken_panel_needs_nothing_to_say_so() -> None:
    """No database is allowed here, and no context is given."""
    response = server_error(RequestFactory().get("/"))
    assert response.status_code == 500
    assert b"Something broke on our side" in response.content


def test_an_error_page_survives_a_broken_database(
    world: World, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise OperationalError("unable to open database file")

    monkeypatch.setattr("vpspanel.pages.shell.Host.objects.filter", broken)
    assert client.get("/nothing/").status_code == 404


def test_every_page_says_that_the_host_is_simulated(
    world: World, alice: Client, client: Client
) -> None:
    server = world.running()
    of_it = ("servers:show", "servers:delete", "servers:rebuild", "consoles:page")
    pages = [
        *(reverse(name) for name in ("servers:list", "servers:order", "keys:list", "keys:add")),
        *(reverse(name, args=[server.pk]) for name in of_it),
        "/nothing/here/",
    ]
    charlie = world.charlie.user
    assert charlie is not None
    User.objects.filter(pk=charlie.pk).update(is_staff=True, is_superuser=True)
    client.force_login(User.objects.get(pk=charlie.pk))
    theirs = ["/admin/", reverse("admin:servers_server_changelist")]
    assert b"Simulated host." in Client().get(reverse("account_login")).content
    for page in theirs:
        assert b"imulated" in client.get(page).content, page
    for said in (True, False):
        for page in pages:
            assert (b"imulated" in alice.get(page).content) == said, page
        Host.objects.update(uri="qemu:///system")


@override_settings(SITE_NAME="Nimbus")
def test_the_shop_has_a_name(world: World, alice: Client) -> None:
    assert b"<title>Servers \xc2\xb7 Nimbus</title>" in alice.get(reverse("servers:list")).content


def test_the_policy_of_the_pages_allows_no_inline_script(world: World, alice: Client) -> None:
    policy = alice.get(reverse("servers:list"))["Content-Security-Policy"]
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
