"""What the page's tools do with the terminal: find, copy, tell the size."""

from __future__ import annotations

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.consoles.browsing import ROWS, login, open_console
from tests.consoles.conftest import World
from tests.consoles.panel import Panel

pytestmark = [pytest.mark.browser]


def say(page: Page, line: str) -> None:
    """The simulated shell prints it."""
    page.keyboard.type(f"echo {line}\n")
    expect(page.locator(ROWS)).to_contain_text(line)


def double_click(page: Page, word: str) -> None:
    """Where it stands: the terminal takes the mouse in a layer of its own."""
    box = page.locator(ROWS).get_by_text(word, exact=True).last.bounding_box()
    assert box is not None
    page.mouse.dblclick(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)


@pytest.mark.parametrize("width", [1280, 390])
def test_words_are_found_upwards_and_counted(
    page: Page, panel: Panel, world: World, width: int
) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    open_console(page, panel, world.alice, world.server.pk)
    login(page)
    say(page, "needle-one")
    say(page, "needle-two")
    page.keyboard.press("Control+Shift+F")
    page.keyboard.type("needle")
    count = page.locator("#search-count")
    expect(count).to_have_text("4 of 4")  # each was typed, and printed
    page.keyboard.press("Enter")
    expect(count).to_have_text("3 of 4")
    page.keyboard.press("Shift+Enter")
    expect(count).to_have_text("4 of 4")
    page.get_by_role("button", name="Previous").click()
    expect(count).to_have_text("3 of 4")
    page.locator("#search-what").fill("nowhere")
    expect(count).to_have_text("Nothing found")
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    page.keyboard.press("Escape")
    expect(page.locator("#search")).to_be_hidden()
    page.keyboard.type("back\n")  # the keys go to the server again
    expect(page.locator(ROWS)).to_contain_text("back: not found")


def test_marks_of_what_was_found_need_no_unsafe_style(
    page: Page, panel: Panel, world: World
) -> None:
    open_console(page, panel, world.alice, world.server.pk)
    login(page)
    say(page, "needle")
    page.get_by_role("button", name="Find").click()
    page.keyboard.type("needle")
    mark = page.locator(".xterm-decoration-container > div").first
    expect(mark).to_be_attached()


def test_size_follows_the_window_and_its_line_is_copied(
    page: Page, panel: Panel, world: World
) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.set_viewport_size({"width": 1280, "height": 800})
    open_console(page, panel, world.alice, world.server.pk)
    login(page)
    large = page.locator("#size").inner_text()
    page.set_viewport_size({"width": 1000, "height": 500})
    expect(page.locator("#size")).not_to_have_text(large)
    columns, rows = re.findall(r"\d+", page.locator("#size").inner_text())
    page.locator("#size").click()
    page.locator("#stty-copy").click()
    expect(page.locator("#stty-said")).to_contain_text("Copied")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == f"stty rows {rows} cols {columns}"


def test_what_is_selected_is_copied(page: Page, panel: Panel, world: World) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    open_console(page, panel, world.alice, world.server.pk)
    login(page)
    page.get_by_role("button", name="Copy").first.click()
    expect(page.locator("#notice")).to_contain_text("Select something first")
    say(page, "worthkeeping")
    double_click(page, "worthkeeping")
    page.get_by_role("button", name="Copy").first.click()
    page.wait_for_function("navigator.clipboard.readText().then(t => t === 'worthkeeping')")
    double_click(page, "worthkeeping")
    page.evaluate("navigator.clipboard.writeText('')")
    page.keyboard.press("Control+Shift+C")
    page.wait_for_function("navigator.clipboard.readText().then(t => t === 'worthkeeping')")


def test_five_thousand_lines_are_kept(page: Page, panel: Panel, world: World) -> None:
    open_console(page, panel, world.alice, world.server.pk)
    login(page)
    say(page, "first-line")
    page.keyboard.type("yes line\n")
    expect(page.locator(ROWS)).not_to_contain_text("first-line")
    page.keyboard.press("Control+c")
    page.keyboard.press("Control+Shift+F")
    page.keyboard.type("nothing-like-it")
    expect(page.locator("#search-count")).to_have_text("Nothing found")
