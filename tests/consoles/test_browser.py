"""The console in a real browser."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.conf import settings
from django.contrib.sessions.models import Session
from playwright.sync_api import Page, expect

from tests.consoles.browsing import ROWS, connected, login, open_console
from tests.consoles.conftest import World
from tests.consoles.panel import Browser, Panel
from vpspanel.accounts.models import Member
from vpspanel.servers.models import Lifecycle, Server

pytestmark = [pytest.mark.browser]


def test_typing_uname_shows_the_answer(page: Page, panel: Panel, world: World) -> None:
    open_console(page, panel, world.alice, world.server.pk)
    login(page)
    page.keyboard.type("uname -a\n")
    expect(page.locator(ROWS)).to_contain_text("x86_64 GNU/Linux (simulated)")
    expect(page.locator("#status")).to_have_text("Running")


def test_two_people_see_who_has_the_console(page: Page, panel: Panel, world: World) -> None:
    holder = Browser(panel, world.olga).console(world.server.pk)
    holder.until_state("connected")
    open_console(page, panel, world.alice, world.server.pk)
    expect(page.locator("#notice")).to_contain_text("olga@example.com has this console open.")
    page.get_by_role("button", name="Take over").click()
    connected(page)
    holder.until_state("taken")
    holder.send_json({"type": "take"})
    expect(page.locator("#notice")).to_contain_text("taken over by olga@example.com")
    page.get_by_role("button", name="Take it back").click()
    connected(page)


def test_a_lost_right_is_said_and_not_retried(page: Page, panel: Panel, world: World) -> None:
    open_console(page, panel, world.olga, world.server.pk)
    connected(page)
    Member.objects.filter(user=world.olga).delete()
    expect(page.locator("#connection")).to_have_text("Closed", timeout=6_000)
    expect(page.locator("#notice")).to_contain_text("no longer have access")


def test_signed_out_person_is_sent_to_sign_in(page: Page, panel: Panel, world: World) -> None:
    open_console(page, panel, world.alice, world.server.pk)
    connected(page)
    page.context.clear_cookies(name=settings.SESSION_COOKIE_NAME)
    page.get_by_role("button", name="Reconnect").first.click()
    expect(page.get_by_role("link", name="Sign in")).to_be_visible()


@pytest.mark.parametrize(
    ("lose", "sentence", "help_"),
    [
        (lambda world: Session.objects.all().delete(), "You were signed out.", "Sign in"),
        (
            lambda world: Server.objects.update(lifecycle=Lifecycle.DELETING),
            "The server was deleted.",
            "",
        ),
    ],
)
def test_the_page_says_why_it_ended(
    page: Page,
    panel: Panel,
    world: World,
    lose: Callable[[World], object],
    sentence: str,
    help_: str,
) -> None:
    open_console(page, panel, world.alice, world.server.pk)
    connected(page)
    lose(world)
    expect(page.locator("#connection")).to_have_text("Closed", timeout=6_000)
    expect(page.locator("#notice-text")).to_have_text(sentence)
    offers = page.locator("#notice").locator("a:visible, button:visible").all_inner_texts()
    assert offers == ([help_] if help_ else [])


def test_a_second_window_says_that_it_took_the_first_over(
    page: Page, panel: Panel, world: World
) -> None:
    open_console(page, panel, world.alice, world.server.pk)
    login(page)
    second = page.context.new_page()
    second.goto(page.url)
    connected(second)
    expect(page.locator("#notice")).to_contain_text("taken over by you, in another window")


def test_a_stop_and_a_start_are_shown(page: Page, panel: Panel, world: World) -> None:
    open_console(page, panel, world.alice, world.server.pk)
    login(page)
    world.driver.destroy(world.server.uuid)
    expect(page.locator("#connection")).to_have_text("Server is off", timeout=5_000)
    world.driver.start(world.server.uuid)
    connected(page)


def test_text_size_is_remembered(page: Page, panel: Panel, world: World) -> None:
    open_console(page, panel, world.alice, world.server.pk)
    connected(page)
    size = "parseFloat(getComputedStyle(document.querySelector('#terminal .xterm-rows')).fontSize)"
    before = page.evaluate(size)
    page.get_by_role("button", name="Larger text").click()
    page.get_by_role("button", name="Larger text").click()
    assert page.evaluate(size) == before + 2
    page.reload()
    connected(page)
    assert page.evaluate(size) == before + 2


@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing(page: Page, panel: Panel, world: World, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    open_console(page, panel, world.alice, world.server.pk)
    login(page)
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    page.get_by_role("button", name="Help").click()
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
