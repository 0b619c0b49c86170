"""Console tickets: a console on somebody else's page, for a browser without account and cookies."""

from __future__ import annotations

import http.server
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import FrameLocator, expect
from websockets.sync.client import ClientConnection

from tests.api.asking import Api, program
from tests.consoles.conftest import World
from tests.consoles.panel import Browser, Panel, Terminal, free_port, running
from tests.consoles.screens import Screen
from tests.hosts.rfb import Picture
from vpspanel.accounts.models import Account, ApiToken
from vpspanel.accounts.token_services import revoke_token
from vpspanel.consoles.models import Grant, Ticket
from vpspanel.events.actor import SYSTEM
from vpspanel.events.models import Event
from vpspanel.servers.models import Server


@pytest.fixture
def api(world: World) -> Api:
    """A program of the server's project."""
    return program(world.server.project)


def path_of(world: World) -> str:
    return f"/servers/{world.server.pk}/console_tickets"


def ask(api: Api, world: World, **body: Any) -> dict[str, Any]:
    """A console ticket; a serial console to type at unless `body` says otherwise."""
    asked = {"type": "serial", "may_type": True, **body}
    answer: dict[str, Any] = api.post(path_of(world), asked)["console_ticket"]
    return answer


class Guest:
    """A browser without cookies that has opened the address, and made up its key."""

    def __init__(self, panel: Panel, url: str):
        self.panel = panel
        self.secret = urlsplit(url).fragment
        self.key = secrets.token_urlsafe(32)
        self._browser = Browser(panel, None)
        self._browser.cookies = {}

    def ticket(self, kind: str = "serial", **changes: str) -> tuple[int, str]:
        """HTTP status, and the ticket if there is one."""
        fields = {"secret": self.secret, "key": self.key, "kind": kind, **changes}
        data = "&".join(f"{name}={value}" for name, value in fields.items())
        status, body = self._browser.post("/embed/ticket/", csrf="", data=data)
        return status, str(body.get("ticket", ""))

    def connect(self, kind: str) -> ClientConnection:
        """A websocket."""
        return self._browser.connect(f"/ws/console/{kind}/embed/")

    def console(self, ticket: str = "") -> Terminal:
        """The open console."""
        terminal = Terminal(self.connect("serial"))
        shown = ticket or self.ticket()[1]
        terminal.send_json({"type": "hello", "ticket": shown, "acks": True})
        return terminal


class EmbeddedScreen(Screen):
    """The screen of a guest."""

    def __init__(self, guest: Guest, ticket: str):
        self.socket = guest.connect("vnc")
        self.send_json({"type": "hello", "ticket": ticket, "acks": True})
        self.states: list[dict[str, Any]] = []
        self.received = bytearray()
        self.picture = Picture(0, 0)
        self._acks = True


def test_a_guest_types_without_account_and_cookie(panel: Panel, world: World, api: Api) -> None:
    made = ask(api, world)
    assert made["url"].startswith("http://testserver/embed/serial/#")
    assert (made["type"], made["may_type"]) == ("serial", True)
    guest = Guest(panel, made["url"])
    terminal = guest.console()
    terminal.login()
    terminal.send_json({"type": "record", "on": True})
    terminal.type("echo seen\r")
    terminal.until_output(b"seen")
    again = guest.console().until_state("connected")
    assert again["types"], "it comes back as often as it likes"
    asked = Browser(panel, world.alice).console(world.server.pk).until_state("busy")
    assert asked["recording"] == "", "it makes no recordings"
    opened = Event.objects.filter(kind="console.opened").earliest("pk")
    assert (opened.actor_name, opened.via) == ("ci (API token)", "api")
    created = Event.objects.get(kind="console.ticket_created")
    assert created.message == "ci (API token) made a page to use the serial console"
    rows = str(list(Grant.objects.values()) + list(Ticket.objects.values()))
    assert guest.secret not in rows
    assert guest.key not in rows


@pytest.mark.both_databases
def test_the_first_browser_has_it_alone(panel: Panel, world: World, api: Api) -> None:
    url = ask(api, world)["url"]
    first, second = Guest(panel, url), Guest(panel, url)
    assert first.ticket()[0] == 200
    assert second.ticket()[0] == 404
    assert first.ticket()[0] == 200
    assert first.ticket(kind="vnc")[0] == 404
    assert first.ticket(secret="x" * 43)[0] == 404
    assert first.ticket(key="short")[0] == 404
    _, ticket = first.ticket()
    first.console(ticket).until_state("connected")
    code, _, _ = first.console(ticket).until_closed()
    assert code == 4410, "a ticket opens once"


def test_who_may_watch_types_nothing(panel: Panel, world: World, api: Api) -> None:
    made = ask(api, world, may_type=False)
    assert "/embed/serial/watch/#" in made["url"]
    terminal = Guest(panel, made["url"]).console()
    assert not terminal.until_state("connected")["types"]
    terminal.type("root\r")
    terminal.listen(0.5)
    assert b"root" not in terminal.output


def test_the_screen(panel: Panel, world: World, api: Api) -> None:
    guest = Guest(panel, ask(api, world, type="screen")["url"])
    status, ticket = guest.ticket(kind="vnc")
    assert status == 200
    screen = EmbeddedScreen(guest, ticket)
    assert screen.begin().endswith("(simulated)")
    before = screen.still()
    screen.type("root")
    assert screen.still() != before


def revoke(world: World) -> None:
    revoke_token(SYSTEM, project=world.server.project, token_id=ApiToken.objects.get().pk)


def withdraw_scope(world: World) -> None:
    ApiToken.objects.update(scopes=["servers:power"])


def suspend(world: World) -> None:
    Server.objects.filter(pk=world.server.pk).update(suspended_at=timezone.now())


def suspend_account(world: World) -> None:
    Account.objects.update(suspended_at=timezone.now())


def let_time_pass(world: World) -> None:
    Grant.objects.update(expires=timezone.now())


@pytest.mark.both_databases
@pytest.mark.parametrize("end", [revoke, withdraw_scope, suspend, suspend_account, let_time_pass])
def test_it_ends_with_the_right(
    panel: Panel, world: World, api: Api, end: Callable[[World], None]
) -> None:
    guest = Guest(panel, ask(api, world)["url"])
    unused = Guest(panel, ask(api, world)["url"])
    terminal = guest.console()
    terminal.until_state("connected")
    started = time.monotonic()
    end(world)
    assert terminal.until_closed()[0] == 4403
    assert time.monotonic() - started < 5
    assert guest.ticket()[0] == 404
    assert unused.ticket()[0] == 404


def test_it_is_redeemed_within_a_minute(panel: Panel, world: World, api: Api) -> None:
    late = Guest(panel, ask(api, world)["url"])
    Grant.objects.update(redeem_until=timezone.now())
    assert late.ticket()[0] == 404


def test_who_may_ask_for_what(world: World, api: Api) -> None:
    path, serial = path_of(world), {"type": "serial"}
    power = program(world.server.project, name="power", scopes=["servers:power"])
    assert power.refused("POST", path, serial) == (403, "forbidden")
    reader = program(world.server.project, may_write=False, name="reader")
    assert reader.refused("POST", path, serial)[1] == "token_readonly"
    other = program(world.foreign.project, name="other")
    assert other.refused("POST", path, serial) == (404, "not_found")
    for wrong in ({}, {"type": "log"}, {**serial, "expires_in": 59}, {**serial, "may_type": "yes"}):
        assert api.refused("POST", path, wrong)[1] == "invalid_input"
    assert api.refused("POST", path, {**serial, "expires_in": 14401})[1] == "invalid_input"
    assert ask(api, world, may_type=False)["may_type"] is False
    suspend(world)
    assert api.refused("POST", path, serial) == (403, "forbidden")


def test_the_page_says_nothing_and_is_framed_by_named_sites_only(
    client: Client, db: None, settings: Any
) -> None:
    answer = client.get("/embed/serial/")
    assert "frame-ancestors 'none'" in answer["Content-Security-Policy"]
    assert answer["X-Frame-Options"] == "DENY"
    settings.CONSOLE_FRAME_ANCESTORS = ["https://shop.example.com"]
    settings.CONSOLE_EMBED_NAME = "Shop console"
    answer = client.get("/embed/screen/watch/")
    assert "frame-ancestors https://shop.example.com;" in answer["Content-Security-Policy"] + ";"
    assert "X-Frame-Options" not in answer
    assert answer["Referrer-Policy"] == "no-referrer"
    assert not answer.cookies
    text = answer.content.decode()
    assert "<title>Shop console</title>" in text
    assert "Sign in" not in text
    assert settings.SITE_NAME not in text
    assert client.get("/embed/log/").status_code == 404
    assert client.get("/embed/ticket/").status_code == 405


# --- in a frame of another site -------------------------------------------------------------


class Shop:
    """A reseller's site: pages with one frame, on another site than the panel's."""

    def __init__(self) -> None:
        self.port = free_port()
        self.origin = f"http://localhost:{self.port}"
        shop = self

        class Pages(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                frame = f'<iframe src="{shop.shown}" style="border:0;width:100%;height:90vh">'
                self.wfile.write(f"<!doctype html><body>{frame}</iframe></body>".encode())

            def log_message(self, *_: object) -> None:
                """Nothing is logged."""

        self.shown = ""
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Pages)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    made = Shop()
    yield made
    made.server.shutdown()


@pytest.fixture(scope="module")
def open_panel(
    django_db_setup: None, shop: Shop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Panel]:
    """A panel that lets the shop frame its consoles."""
    directory = tmp_path_factory.mktemp("framed")
    with running(directory, CONSOLE_FRAME_ANCESTORS=shop.origin) as started:
        yield started


def show(chromium: Chromium, shop: Shop, panel: Panel, url: str, width: int) -> FrameLocator:
    """The frame on the shop's page."""
    shop.shown = url.replace("http://testserver", panel.origin)
    page = chromium.new_context(viewport={"width": width, "height": 700}).new_page()
    page.goto(shop.origin)
    return page.frame_locator("iframe")


@pytest.mark.browser
@pytest.mark.parametrize("width", [1200, 380])
def test_in_a_frame(
    browser: Chromium, open_panel: Panel, shop: Shop, world: World, api: Api, width: int,
) -> None:  # fmt: skip
    frame = show(browser, shop, open_panel, ask(api, world)["url"], width)
    expect(frame.locator("#connection")).to_have_text("Connected")
    rows = frame.locator("#terminal .xterm-rows")
    expect(rows).to_contain_text("login:")
    frame.locator("#terminal textarea").focus()
    page = frame.owner.page
    page.keyboard.type("root\n")
    expect(rows).to_contain_text("# ")
    assert page.context.cookies() == []
    inside = page.frames[1]
    assert "#" not in inside.url, "the secret left the address"
    assert inside.evaluate("document.documentElement.scrollWidth <= innerWidth")
    revoke(world)
    expect(frame.locator("#connection")).to_have_text("Closed", timeout=5000)
    page.context.close()


@pytest.mark.browser
def test_a_screen_in_a_frame_and_the_secret_opens_once(
    browser: Chromium, open_panel: Panel, shop: Shop, world: World, api: Api
) -> None:
    url = ask(api, world, type="screen", may_type=False)["url"]
    frame = show(browser, shop, open_panel, url, 1200)
    expect(frame.locator("#screen-connection")).to_have_text("Connected")
    second = show(browser, shop, open_panel, url, 1200)
    expect(second.locator("#screen-notice-text")).to_have_text("This console is not open any more.")
    for one in (frame, second):
        one.owner.page.context.close()


@pytest.mark.browser
def test_no_other_site_may_frame_it(
    browser: Chromium, panel: Panel, shop: Shop, world: World, api: Api
) -> None:
    frame = show(browser, shop, panel, ask(api, world)["url"], 1200)
    page = frame.owner.page
    page.wait_for_timeout(500)
    assert frame.locator("#terminal").count() == 0
    page.goto(ask(api, world)["url"].replace("http://testserver", panel.origin))
    expect(page.locator("#connection")).to_have_text("Connected")
    page.context.close()
