"""The screen in a real browser, on a simulated host."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.consoles.browsing import connected, open_console
from tests.consoles.conftest import World
from tests.consoles.panel import Browser, Panel
from tests.consoles.screens import Screen
from vpspanel.accounts.models import Member

pytestmark = [pytest.mark.browser]

CANVAS = "#screen canvas"
PIXELS = """() => {
  const canvas = document.querySelector("#screen canvas");
  const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  let sum = 0;
  for (let at = 0; at < data.length; at += 4) {
    sum = (sum * 31 + data[at] * 7 + data[at + 1] * 5 + data[at + 2]) >>> 0;
  }
  return sum;
}"""


def open_screen(page: Page) -> None:
    """The second tab, once it shows something."""
    page.get_by_role("tab", name="Screen").click()
    shown(page)


def shown(page: Page) -> None:
    expect(page.locator("#screen-connection")).to_have_text("Connected")
    expect(page.locator(CANVAS)).to_have_attribute("role", "application")


def still(page: Page) -> int:
    """A checksum of the picture, once it does not change any more."""
    before = -1
    for _ in range(40):
        now = int(page.evaluate(PIXELS))
        if now == before:
            return now
        before = now
        page.wait_for_timeout(400)
    raise AssertionError("the screen does not come to rest")


def test_keys_reach_the_screen_and_both_tabs_live_on(
    page: Page, panel: Panel, world: World
) -> None:
    open_console(page, panel, world.alice, world.server.pk)
    connected(page)
    open_screen(page)
    before = still(page)
    page.locator(CANVAS).click()
    page.keyboard.type("root\n")
    after = still(page)
    assert after != before
    page.get_by_role("tab", name="Serial").click()
    expect(page.locator("#panel-serial")).to_be_visible()
    expect(page.locator("#connection")).to_have_text("Connected")
    expect(page.locator("#screen-connection")).to_have_text("Connected")
    page.get_by_role("tab", name="Screen").click()
    assert still(page) == after
    page.reload()  # the address remembers the tab
    shown(page)
    expect(page.get_by_role("tab", name="Screen")).to_have_attribute("aria-selected", "true")


def test_the_keyboard_alone_is_enough(page: Page, panel: Panel, world: World) -> None:
    open_console(page, panel, world.alice, world.server.pk)
    connected(page)
    page.keyboard.press("Shift+F6")
    expect(page.locator("#help")).to_be_focused()
    page.get_by_role("tab", name="Serial").focus()
    page.keyboard.press("ArrowRight")
    shown(page)
    expect(page.get_by_role("tab", name="Screen")).to_be_focused()
    page.locator(CANVAS).focus()
    before = still(page)
    page.keyboard.type("a")
    page.keyboard.press("Tab")  # belongs to the server
    assert still(page) != before
    expect(page.locator(CANVAS)).to_be_focused()
    page.keyboard.press("Shift+F6")
    expect(page.locator("#help")).to_be_focused()
    # Ctrl+Alt+Del is not two keystrokes away from anything.
    page.locator("#keys summary").focus()
    page.keyboard.press("Space")
    page.keyboard.press("Tab")
    expect(page.locator(":focus")).to_have_text("Ctrl+Alt+F1")
    page.keyboard.press("Escape")
    expect(page.locator("#keys summary")).to_be_focused()
    expect(page.locator("#keys")).not_to_have_attribute("open", "")


def test_a_combination_reboots_the_guest(page: Page, panel: Panel, world: World) -> None:
    open_console(page, panel, world.alice, world.server.pk)
    open_screen(page)
    before = still(page)
    page.locator(CANVAS).click()
    page.keyboard.type("typed before")
    assert still(page) != before
    page.locator("#keys summary").click()
    page.get_by_role("button", name="Ctrl+Alt+Del").click()
    expect(page.locator("#said")).to_contain_text("Control+Alt+Delete was sent")
    page.wait_for_timeout(1500)
    assert still(page) == before  # it has booted again


def test_text_is_typed_and_what_cannot_be_is_said(page: Page, panel: Panel, world: World) -> None:
    open_console(page, panel, world.alice, world.server.pk)
    open_screen(page)
    before = still(page)
    page.get_by_role("button", name="Type text").click()
    page.get_by_label("Text", exact=True).fill("naïve ☃")
    page.get_by_role("button", name="Type", exact=True).click()
    expect(page.locator("#type-said")).to_contain_text("has no ï ☃")
    assert still(page) == before
    page.get_by_label("Keyboard of the server").select_option("German")
    page.get_by_label("Text", exact=True).fill("wörld^")
    page.get_by_label("Press Enter at the end").check()
    page.get_by_role("button", name="Type", exact=True).click()
    expect(page.locator("#type-text")).to_be_hidden()
    expect(page.locator("#type-what")).to_have_value("")
    assert still(page) != before
    page.get_by_role("button", name="Type text").click()
    expect(page.get_by_label("Keyboard of the server")).to_have_value("de")


def test_watching_only(page: Page, panel: Panel, world: World) -> None:
    """By one's own choice, and by one's role."""
    open_console(page, panel, world.alice, world.server.pk)
    open_screen(page)
    page.get_by_role("button", name="Only watch").click()
    before = still(page)
    page.locator(CANVAS).click()
    page.keyboard.type("nothing")
    assert still(page) == before
    expect(page.get_by_role("button", name="Type text")).to_be_disabled()
    page.get_by_role("button", name="Only watch").click()
    page.keyboard.type("x")
    assert still(page) != before
    page.context.clear_cookies()
    open_console(page, panel, world.rita, world.server.pk)
    open_screen(page)
    before = still(page)
    page.locator(CANVAS).click()
    page.keyboard.type("nothing")
    assert still(page) == before
    for gone in ("#type", "#keys", "#power", "#view-only"):
        expect(page.locator(gone)).to_have_count(0)


def test_who_else_looks_is_shown(page: Page, panel: Panel, world: World) -> None:
    open_console(page, panel, world.alice, world.server.pk)
    open_screen(page)
    expect(page.locator("#screen-others")).to_be_hidden()
    other = Screen(Browser(panel, world.olga), world.server.pk)
    other.until_state("connected")
    expect(page.locator("#screen-others")).to_have_text("Also here: olga@example.com")
    other.close()
    expect(page.locator("#screen-others")).to_be_hidden()


def test_a_picture_is_saved(page: Page, panel: Panel, world: World, tmp_path: Path) -> None:
    open_console(page, panel, world.alice, world.server.pk)
    open_screen(page)
    with page.expect_download() as download:
        page.get_by_role("button", name="Save a picture").click()
    assert re.fullmatch(r"web-[\dT-]+\.png", download.value.suggested_filename)
    download.value.save_as(tmp_path / "screen.png")
    data = (tmp_path / "screen.png").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert int.from_bytes(data[16:20], "big") == 640


def test_it_fits_the_window_or_shows_every_dot(page: Page, panel: Panel, world: World) -> None:
    page.set_viewport_size({"width": 1280, "height": 800})
    open_console(page, panel, world.alice, world.server.pk)
    open_screen(page)
    until_wide(page, 1000, 1280)
    page.get_by_role("button", name="Fit to window").click()
    until_wide(page, 640, 640)
    page.get_by_role("button", name="Fit to window").click()
    page.set_viewport_size({"width": 500, "height": 800})
    until_wide(page, 400, 500)


def until_wide(page: Page, least: int, most: int) -> None:
    """The picture is so many pixels of the window wide."""
    width = -1.0
    for _ in range(50):
        box = page.locator(CANVAS).bounding_box()
        width = box["width"] if box else -1.0
        if least <= width <= most:
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"it is {width} wide")


def test_power_from_the_console(page: Page, panel: Panel, world: World) -> None:
    """Asked for at once, or after a question; what is not allowed says why."""
    open_console(page, panel, world.alice, world.server.pk)
    open_screen(page)
    page.locator("#power summary").click()
    expect(page.get_by_role("button", name="Start")).to_be_disabled()
    page.get_by_role("button", name="Power off").click()
    expect(page.locator("#confirm")).to_contain_text("Power off web?")
    page.locator("#confirm").get_by_role("button", name="Cancel").click()
    page.locator("#power summary").click()
    page.get_by_role("button", name="Power off").click()
    page.locator("#confirm").get_by_role("button", name="Power off").click()
    expect(page.locator("#status")).to_have_text("Stopping")
    world.driver.destroy(world.server.uuid)
    expect(page.locator("#screen-connection")).to_have_text("Server is off", timeout=5_000)
    expect(page.locator(CANVAS)).to_have_count(0)  # no frozen picture
    world.driver.start(world.server.uuid)
    shown(page)


def test_a_lost_right_ends_both(page: Page, panel: Panel, world: World) -> None:
    open_console(page, panel, world.olga, world.server.pk)
    connected(page)
    open_screen(page)
    Member.objects.filter(user=world.olga).delete()
    expect(page.locator("#screen-connection")).to_have_text("Closed", timeout=6_000)
    expect(page.locator("#connection")).to_have_text("Closed", timeout=6_000)
    expect(page.locator("#screen-notice")).to_contain_text("no longer have access")
    expect(page.locator(CANVAS)).to_have_count(0)


@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing(page: Page, panel: Panel, world: World, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    open_console(page, panel, world.alice, world.server.pk)
    connected(page)
    open_screen(page)
    clean(page)
    for menu in ("#keys", "#power"):
        page.locator(f"{menu} summary").click()
        expect(page.locator(f"{menu} button").first).to_be_visible()
        clean(page)
        page.keyboard.press("Escape")
    page.get_by_role("button", name="Type text").click()
    clean(page)


def clean(page: Page) -> None:
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
