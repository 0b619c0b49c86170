"""Consoles in a process of their own, and the whole panel under a path."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus

from tests.consoles.conftest import World
from tests.consoles.panel import Browser, Panel, Terminal, running
from tests.consoles.screens import Screen


def get(browser: Browser, path: str) -> tuple[int, str]:
    """Status and text of a page."""
    request = urllib.request.Request(  # noqa: S310 - our own server
        browser.panel.origin + path, headers={"Cookie": browser.cookie_header}
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""


def terminal_at(browser: Browser, path: str, ticket: str) -> Terminal:
    """A serial console at another address than usual."""
    terminal = Terminal(browser.connect(path))
    terminal.send_json({"type": "hello", "ticket": ticket, "acks": True})
    return terminal


# --- the process of the consoles ---------------------------------------------------------


@pytest.fixture(scope="module")
def consoles(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Panel]:
    with running(tmp_path_factory.mktemp("consoles"), "consoles") as started:
        yield started


def test_consoles_are_served_beside_the_pages(panel: Panel, consoles: Panel, world: World) -> None:
    """The ticket comes from the one process and opens a console in the other, once."""
    pages = Browser(panel, world.alice)
    sockets = pages.at(consoles)
    ticket = pages.ticket(world.server.pk)
    terminal = sockets.console(world.server.pk, ticket=ticket)
    terminal.login()
    for used in (pages, sockets):
        assert used.console(world.server.pk, ticket=ticket).until_closed()[0] == 4410
    screen = Screen(sockets, world.server.pk, ticket=pages.ticket(world.server.pk, "vnc"))
    assert "simulated" in screen.begin()
    screen.close()
    terminal.close()


def test_consoles_live_on_when_the_web_process_ends(
    consoles: Panel, world: World, tmp_path: Path
) -> None:
    with running(tmp_path) as web:
        pages = Browser(web, world.alice)
        ticket = pages.ticket(world.server.pk)
        terminal = pages.at(consoles).console(world.server.pk, ticket=ticket)
        terminal.login()
    assert web.process.poll() is not None
    terminal.type("echo alive\r")
    terminal.until_output(b"alive\r\n")
    terminal.close()


def test_the_process_of_the_consoles_serves_nothing_else(consoles: Panel, world: World) -> None:
    browser = Browser(consoles, world.alice)
    assert get(browser, "/healthz") == (200, "ok\n")
    for page in ("/servers/", "/accounts/login/", f"/servers/{world.server.pk}/console/"):
        assert get(browser, page)[0] == 404
    with pytest.raises(InvalidStatus):
        browser.connect("/ws/events/")
    with pytest.raises(InvalidStatus):
        browser.connect(f"/ws/console/serial/{world.server.pk}/", origin="https://evil.example")


# --- under a path ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def panel_under_path(
    django_db_setup: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Panel]:
    with running(tmp_path_factory.mktemp("shop"), SITE_PATH="/shop/panel/") as started:
        yield started


@pytest.fixture
def shop(panel_under_path: Panel, world: World) -> Browser:
    """Alice's browser at a panel that a proxy shows under `/shop/panel/`."""
    return Browser(panel_under_path, world.alice)


def test_pages_and_static_files_work_under_a_path(shop: Browser, world: World) -> None:
    status, page = get(shop, "/shop/panel/servers/")
    assert status == 200
    addresses = re.findall(r'(?:href|src|action|hx-get|data-url|data-site)="(/[^"]*)"', page)
    assert len(addresses) > 10
    assert [address for address in addresses if not address.startswith("/shop/panel/")] == []
    static = [address for address in addresses if "/static/" in address]
    assert static
    assert {get(shop, address)[0] for address in static} == {200}


def test_sockets_work_under_a_path(shop: Browser, world: World) -> None:
    """Also where the proxy cuts the path off before it passes the request on."""
    status, page = get(shop, f"/shop/panel/servers/{world.server.pk}/console/")
    assert status == 200
    assert 'data-site="/shop/panel/"' in page
    assert 'data-consoles="/shop/panel/ws/console/"' in page
    for prefix in ("/shop/panel", ""):
        ticket = shop.ticket(world.server.pk)
        path = f"{prefix}/ws/console/serial/{world.server.pk}/"
        terminal = terminal_at(shop, path, ticket)
        terminal.until_state("connected")
        terminal.close()
        shop.connect(f"{prefix}/ws/events/?watch={world.server.pk}").close()
    with pytest.raises(InvalidStatus):
        shop.connect("/shop/panelws/events/")


def test_a_page_may_look_for_its_consoles_elsewhere(world: World, tmp_path: Path) -> None:
    address = "wss://panel.example.com:8443/ws/console/"
    with running(tmp_path, CONSOLE_URL=address) as started:
        browser = Browser(started, world.alice)
        request = urllib.request.Request(  # noqa: S310 - our own server
            f"{started.origin}/servers/{world.server.pk}/console/",
            headers={"Cookie": browser.cookie_header},
        )
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
            policy = answer.headers["Content-Security-Policy"]
            assert f'data-consoles="{address}"' in answer.read().decode()
        assert "connect-src 'self' wss://panel.example.com:8443;" in policy + ";"
