"""Staff watch a customer's serial console: by permission, in the customer's sight, recorded."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth.models import Permission
from django.test import Client
from playwright.sync_api import Page, expect

from tests.consoles.browsing import ROWS, login, open_console, sign_in
from tests.consoles.conftest import World
from tests.consoles.panel import Browser, Panel, Terminal
from tests.hosts.contract import wait_until
from vpspanel.accounts.models import User
from vpspanel.consoles.models import Recording
from vpspanel.events.models import Event
from vpspanel.servers.models import Server

BANNER = "Staff of vpspanel is watching: Sam Staff."


@pytest.fixture
def sam(world: World) -> User:
    """Staff who may watch consoles."""
    user = User.objects.create_user(
        "sam@example.com", "secret", is_staff=True, first_name="Sam", last_name="Staff"
    )
    user.user_permissions.add(Permission.objects.get(codename="watch_console"))
    return user


def watch(panel: Panel, user: User, server: Server) -> Terminal:
    """Over the staff's own way."""
    browser = Browser(panel, user)
    status, body = browser.post(f"/staff/servers/{server.pk}/console/ticket/")
    assert status == 200, body
    return browser.console(server.pk, ticket=body["ticket"])


def until_banner(terminal: Terminal, text: str) -> None:
    while not any(message.get("banner") == text for message in terminal.messages):
        terminal.step(5)
    terminal.messages.clear()


def test_the_customer_sees_it_and_it_is_recorded(panel: Panel, world: World, sam: User) -> None:
    customer = Browser(panel, world.alice).console(world.server.pk)
    customer.login()
    staff = watch(panel, sam, world.server)
    assert staff.until_state("watching")["types"] is False
    until_banner(customer, BANNER)
    staff.send_json({"type": "take"})
    staff.type("touched")
    customer.type("echo for-both\r")
    staff.until_output(b"for-both\r\n")
    customer.until_output(b"for-both\r\n")
    customer.send_json({"type": "record", "on": False})
    assert "recorded until they leave" in customer.until_notice()
    staff.close()
    until_banner(customer, "")
    wait_until(Recording.objects.exists, 5, "it is kept")
    kept = Recording.objects.get()
    assert (kept.by_staff, kept.started_by, kept.ended) == (True, sam, "Staff had left.")
    events = Event.objects.filter(resource_id=world.server.pk, actor=sam, public=True)
    wait_until(lambda: events.filter(kind="console.closed").exists(), 5, "the end is recorded")
    assert set(events.values_list("kind", "via")) >= {
        ("console.opened", "staff"),
        ("console.closed", "staff"),
    }
    first = events.get(kind="console.opened")
    assert first.message == "sam@example.com (staff) watches the serial console"
    customer.close()


def test_a_customer_who_comes_later_sees_it_as_well(panel: Panel, world: World, sam: User) -> None:
    staff = watch(panel, sam, world.server)
    staff.until_state("connected")
    staff.until_output(b"login: ")
    reader = Browser(panel, world.rita).console(world.server.pk)
    until_banner(reader, BANNER)
    customer = Browser(panel, world.alice).console(world.server.pk)
    # Nobody asks: staff hold no keyboard.
    assert customer.until_state("connected")["banner"] == BANNER
    for terminal in (staff, reader, customer):
        terminal.close()


def test_it_closes_with_the_permission(panel: Panel, world: World, sam: User) -> None:
    staff = watch(panel, sam, world.server)
    staff.until_state("connected")
    sam.user_permissions.clear()
    code, _, seconds = staff.until_closed()
    assert code == 4403
    assert seconds < 5


def test_without_the_permission_there_is_no_such_page(world: World, sam: User) -> None:
    sam.user_permissions.clear()
    boss = User.objects.create_superuser("boss@example.com", "secret")
    idle = User.objects.create_user("idle@example.com", "secret", is_superuser=True)
    page = f"/staff/servers/{world.server.pk}/console/"
    expected = {sam: 404, world.alice: 404, idle: 404, boss: 200}
    for user, status in expected.items():
        client = Client()
        client.force_login(user)
        assert client.get(page).status_code == status, user
        assert client.post(f"{page}ticket/").status_code == status, user
    client = Client()
    assert client.get(page).status_code == 302
    assert client.post(f"{page}ticket/").status_code == 401


def test_the_page_of_a_server_in_the_admin_has_the_link(world: World) -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("boss@example.com", "secret"))
    page = client.get(f"/admin/servers/server/{world.server.pk}/change/").content.decode()
    assert f"/staff/servers/{world.server.pk}/console/" in page


@pytest.mark.browser
def test_both_pages(page: Page, panel: Panel, world: World, sam: User) -> None:
    open_console(page, panel, world.alice, world.server.pk)
    login(page)
    staff = page.context.browser.new_context()  # type: ignore[union-attr]
    theirs = staff.new_page()
    sign_in(theirs, panel, sam)
    theirs.goto(f"{panel.origin}/staff/servers/{world.server.pk}/console/")
    expect(theirs.locator("#connection")).to_have_text("Watching")
    expect(page.locator("#banner")).to_have_text(f"{BANNER} It is recorded.")
    page.keyboard.type("echo for-both\n")
    expect(theirs.locator(ROWS)).to_contain_text("for-both")
    hidden = "#power, #record, #boot-log, #tab-screen, a[href^='/servers/']"
    assert theirs.locator(hidden).count() == 0
    for tab in (page, theirs):
        found = Axe().run(tab)
        assert found.violations_count == 0, found.generate_report()
    staff.close()
    expect(page.locator("#banner")).to_be_hidden()
