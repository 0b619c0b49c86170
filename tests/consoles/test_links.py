"""Links to watch a console: secret, for a while, revocable, and nothing but watching."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.conf import settings
from django.core.cache import cache
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Page, expect

from tests.consoles.browsing import ROWS, login, open_console
from tests.consoles.conftest import World
from tests.consoles.panel import Browser, Panel, Terminal
from tests.consoles.screens import Screen
from tests.hosts.contract import wait_until
from vpspanel.accounts.models import User
from vpspanel.consoles.links import MOST, TRIES, create_link, enter_link, links_of, revoke_link
from vpspanel.consoles.models import ShareLink
from vpspanel.consoles.rights import LINK_IN_SESSION
from vpspanel.errors import NotFound, Refused
from vpspanel.events.actor import Actor
from vpspanel.events.models import Event
from vpspanel.servers.models import Lifecycle, Server


def as_(user: User) -> Actor:
    return Actor(user, "page")


def make(world: World, kind: str = "serial", life: str = "1h") -> str:
    """Olga's link; its secret."""
    return create_link(as_(world.olga), world.server.pk, kind, life)


def guest(panel: Panel, secret: str) -> Browser:
    """A browser without an account that has opened the link."""
    browser = Browser(panel, None)
    client = Client()
    answer = client.post("/shared/enter/", {"secret": secret})
    assert answer.status_code == 200, answer.content
    browser.cookies[settings.SESSION_COOKIE_NAME] = client.cookies[
        settings.SESSION_COOKIE_NAME
    ].value
    return browser


def watch(panel: Panel, world: World, secret: str) -> Terminal:
    """The serial console through the link."""
    browser = guest(panel, secret)
    status, body = browser.post("/shared/ticket/", data="kind=serial")
    assert status == 200, body
    return browser.console(world.server.pk, ticket=body["ticket"])


# --- watching -----------------------------------------------------------------------


def test_a_guest_watches_and_types_nothing(panel: Panel, world: World) -> None:
    owner = Browser(panel, world.alice).console(world.server.pk)
    owner.login()
    visitor = watch(panel, world, make(world))
    state = visitor.until_state("watching")
    assert state["types"] is False
    assert "@" not in str(state)  # no names of those who work there
    while not any(
        {"name": "Guest by link", "types": False} in message.get("others", [])
        for message in owner.messages
    ):
        owner.step(5)
    for message in ("take", "watch", "record"):
        visitor.send_json({"type": message, "on": True})
    visitor.type("touched")
    owner.type("echo for-both\r")
    visitor.until_output(b"for-both\r\n")
    seen = owner.until_output(b"for-both\r\n")
    assert b"touched" not in seen
    visitor.close()
    events = Event.objects.filter(resource_id=world.server.pk, via="link", public=True)
    wait_until(lambda: events.filter(kind="console.closed").exists(), 5, "the end is recorded")
    assert list(events.order_by("id").values_list("message", flat=True)) == [
        "Guest by link watches the serial console",
        "Guest by link left the serial console",
    ]
    owner.close()


def test_a_guest_alone_sees_the_server(panel: Panel, world: World) -> None:
    visitor = watch(panel, world, make(world))
    visitor.until_state("connected")
    visitor.until_output(b"login: ")
    visitor.close()


def test_a_guest_looks_at_the_screen_and_no_key_passes(panel: Panel, world: World) -> None:
    browser = guest(panel, make(world, "vnc"))
    ticket = browser.post("/shared/ticket/", data="kind=vnc")[1]["ticket"]
    visitor = Screen(browser, world.server.pk, ticket=ticket)
    owner = Screen(Browser(panel, world.alice), world.server.pk)
    owner.begin()
    state = visitor.until_state("connected")
    assert (state["types"], state["others"]) == (False, [])
    visitor.send_json({"type": "begin", "line": 1})
    visitor.shake()
    before = owner.still()
    assert visitor.still() == before
    visitor.type("typed by a guest\n")
    assert owner.still() == before
    visitor.close()
    owner.close()


def test_a_link_opens_its_own_console_only(panel: Panel, world: World) -> None:
    browser = guest(panel, make(world))
    assert browser.post("/shared/ticket/", data="kind=vnc")[0] == 404
    assert browser.post("/shared/ticket/", data="kind=log")[0] == 404
    ticket = browser.post("/shared/ticket/")[1]["ticket"]
    other = world.add_server(world.project, "other")
    for path in (f"serial/{other.pk}", f"vnc/{world.server.pk}", f"log/{world.server.pk}"):
        terminal = Terminal(browser.connect(f"/ws/console/{path}/"))
        terminal.send_json({"type": "hello", "ticket": ticket})
        assert terminal.until_closed()[0] == 4410


def test_a_ticket_by_a_link_is_bound_to_its_session(panel: Panel, world: World) -> None:
    secret = make(world)
    ticket = guest(panel, secret).post("/shared/ticket/")[1]["ticket"]
    for other in (guest(panel, secret), Browser(panel, world.mallory)):
        terminal = other.console(world.server.pk, ticket=ticket)
        assert terminal.until_closed()[0] == 4410


def test_guests_keep_nobody_out(panel: Panel, world: World) -> None:
    secret = make(world)
    guests = [watch(panel, world, secret) for _ in range(4)]
    for one in guests:
        one.until_state("connected")
    late = Terminal(guest(panel, secret).connect(f"/ws/console/serial/{world.server.pk}/"))
    assert late.until_closed()[0] == 4429
    owner = Browser(panel, world.alice).console(world.server.pk)
    owner.until_state("connected")
    for terminal in (owner, *guests):
        terminal.close()


# --- its end ------------------------------------------------------------------------


def revoke(world: World) -> None:
    revoke_link(as_(world.alice), world.server.pk, ShareLink.objects.get().pk)


def expire(world: World) -> None:
    ShareLink.objects.update(expires=timezone.now())


def delete(world: World) -> None:
    Server.objects.filter(pk=world.server.pk).update(lifecycle=Lifecycle.DELETING)


def suspend(world: World) -> None:
    Server.objects.filter(pk=world.server.pk).update(suspended_at=timezone.now())


@pytest.mark.both_databases
@pytest.mark.parametrize("end", [revoke, expire, delete, suspend])
def test_open_viewers_are_put_out(panel: Panel, world: World, end: Callable[[World], None]) -> None:
    secret = make(world)
    browser = guest(panel, secret)
    visitor = watch(panel, world, secret)
    visitor.until_state("connected")
    end(world)
    code, reason, seconds = visitor.until_closed(timeout=8)
    assert (code, reason) == (4403, "This link was revoked or has expired.")
    assert seconds < 5
    assert browser.post("/shared/ticket/")[0] == 404
    with pytest.raises(NotFound):
        enter_link(secret, "192.0.2.1")


# --- making and guessing --------------------------------------------------------------


def test_who_may_make_list_and_revoke(world: World) -> None:
    for user in (world.rita, world.mallory):
        for act in (
            lambda actor: create_link(actor, world.server.pk, "serial", "1h"),
            lambda actor: links_of(actor, world.server.pk),
            lambda actor: revoke_link(actor, world.server.pk, 1),
        ):
            with pytest.raises(Refused) as refused:
                act(as_(user))
            assert refused.value.code == ("forbidden" if user == world.rita else "not_found")
    make(world)
    link = links_of(as_(world.alice), world.server.pk).get()
    assert link.created_by == world.olga
    with pytest.raises(NotFound):  # of another server
        revoke_link(as_(world.mallory), world.foreign.pk, link.pk)
    kinds = Event.objects.filter(resource_id=world.server.pk, public=True).values_list("kind")
    revoke_link(as_(world.olga), world.server.pk, link.pk)
    revoke_link(as_(world.olga), world.server.pk, link.pk)
    assert list(kinds.order_by("id")) == [("console.link_created",), ("console.link_revoked",)]


def test_times_kinds_and_numbers_are_limited(world: World) -> None:
    for kind, life in (("serial", "1y"), ("log", "1h"), ("", "")):
        with pytest.raises(Refused, match="no such"):
            create_link(as_(world.olga), world.server.pk, kind, life)
    make(world, life="15m")
    left = ShareLink.objects.get().expires - timezone.now()
    assert timedelta(minutes=14) < left <= timedelta(minutes=15)
    for _ in range(MOST - 1):
        make(world)
    with pytest.raises(Refused, match="already"):
        make(world)


def test_the_secret_is_kept_nowhere(world: World) -> None:
    secret = make(world)
    assert len(secret) >= 43  # 256 bits
    rows = [*ShareLink.objects.values(), *Event.objects.values()]
    assert secret not in str(rows)


def test_guesses_are_limited_by_address(world: World) -> None:
    cache.clear()
    secret = make(world)
    for _ in range(TRIES):
        with pytest.raises(NotFound):
            enter_link("wrong", "192.0.2.7")
    with pytest.raises(Refused, match="Too many"):
        enter_link(secret, "192.0.2.7")
    enter_link(secret, "192.0.2.8")
    cache.clear()


def test_pages_without_a_link_show_nothing(world: World) -> None:
    client = Client()
    assert client.get("/shared/").status_code == 200
    assert client.get("/shared/console/").status_code == 404
    assert client.post("/shared/ticket/").status_code == 404
    client.post("/shared/enter/", {"secret": make(world)})
    page = client.get("/shared/console/")
    assert page.status_code == 200
    assert page["Referrer-Policy"] == "no-referrer"
    text = page.content.decode()
    for fact in (f">{world.server.name}<", "/servers/", "example.com", "console/power/"):
        assert fact not in text
    ShareLink.objects.update(revoked=timezone.now())
    assert client.get("/shared/console/").status_code == 404
    assert client.session[LINK_IN_SESSION]


# --- in the page --------------------------------------------------------------------


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
def test_make_open_and_revoke(page: Page, panel: Panel, world: World, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    open_console(page, panel, world.alice, world.server.pk)
    login(page)
    page.get_by_role("button", name="Share").click()
    page.get_by_role("button", name="Make a link").click()
    field = page.locator("#share-link")
    expect(field).to_have_value(re.compile(rf"^{re.escape(panel.origin)}/shared/#[\w-]{{43}}$"))
    link = field.input_value()
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    context = page.context.browser.new_context()  # type: ignore[union-attr]
    theirs = context.new_page()
    asked: list[str] = []
    theirs.on("request", lambda request: asked.append(request.url + str(request.headers)))
    theirs.goto(link)
    expect(theirs.locator("#connection")).to_have_text("Watching", timeout=10_000)
    expect(theirs.locator(ROWS)).to_contain_text("login:")
    assert theirs.url == f"{panel.origin}/shared/console/"
    assert not any(link[-43:] in one for one in asked)  # neither in an address nor a Referer
    found = Axe().run(theirs)
    assert found.violations_count == 0, found.generate_report()
    page.get_by_role("button", name="Revoke").click()
    expect(theirs.locator("#connection")).to_have_text("Closed", timeout=6_000)
    expect(theirs.locator("#notice-text")).to_contain_text("revoked or has expired")
    theirs.goto(link)
    expect(theirs.locator("#shared-said")).to_have_text("This link is not valid any more.")
    context.close()


@pytest.mark.browser
def test_a_link_to_the_screen(page: Page, panel: Panel, world: World) -> None:
    page.goto(f"{panel.origin}/shared/#{make(world, 'vnc')}")
    expect(page.locator("#screen-connection")).to_have_text("Connected", timeout=10_000)
    expect(page.locator("#screen canvas")).to_be_visible()
    assert page.locator("#tab-serial, #keys, #type").count() == 0
