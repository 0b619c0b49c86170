"""A guest writes whatever it likes to its console; the page shows it and does nothing else."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import BrowserContext, Page, WebSocketRoute, expect

from tests.consoles.browsing import ROWS, connected, open_console
from tests.consoles.conftest import World
from tests.consoles.panel import Panel
from tests.hosts.contract import wait_until

pytestmark = [pytest.mark.browser]


@dataclass
class Guest:
    """Stands where the panel's socket would, and may say anything."""

    echoes: bool = False
    line: WebSocketRoute | None = None
    heard: list[bytes] = field(default_factory=list)

    def answer(self, line: WebSocketRoute) -> None:
        self.line = line
        line.on_message(self._hear)
        line.send(json.dumps({"type": "state", "state": "connected", "message": "", "types": True}))

    def _hear(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            self.heard.append(message)
            if self.echoes:
                self.write(message)

    def write(self, data: bytes) -> None:
        assert self.line is not None
        self.line.send(data)


@pytest.fixture
def guest(page: Page, panel: Panel, world: World) -> Guest:
    """A page that is connected to it."""
    made = Guest()
    page.route_web_socket(f"**/ws/console/serial/{world.server.pk}/", made.answer)
    open_console(page, panel, world.alice, world.server.pk)
    connected(page)
    return made


def colour_of(page: Page, text: str) -> tuple[int, ...]:
    """Red, green and blue of the text as it is shown."""
    colour: str = page.locator(f"{ROWS} span", has_text=text).first.evaluate(
        "element => getComputedStyle(element).color"
    )
    return tuple(int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(","))


def shown_after(page: Page, guest: Guest, data: bytes) -> None:
    """Write it; the terminal still works afterwards."""
    guest.write(data + b"\r\n\x1b[0mSTILL-ALIVE\r\n")
    expect(page.locator(ROWS)).to_contain_text("STILL-ALIVE")


def test_red_is_red(page: Page, guest: Guest) -> None:
    """xterm.js writes its colours into <style> elements, which count by the nonce only."""
    guest.write(b"\x1b[31mRED\x1b[0m \x1b[32mGREEN\x1b[0m PLAIN\r\n")
    expect(page.locator(ROWS)).to_contain_text("PLAIN")
    red, green = colour_of(page, "RED"), colour_of(page, "GREEN")
    assert red[0] > 200
    assert max(red[1:]) < 120
    assert green[1] > 200
    assert green[0] < 120


def test_colours_beyond_the_palette_are_shown(page: Page, guest: Guest) -> None:
    """xterm.js writes them as style attributes, which the policy forbids."""
    guest.write(b"\x1b[38;2;200;10;20mTRUE\x1b[0m PLAIN\r\n")
    expect(page.locator(ROWS)).to_contain_text("PLAIN")
    assert colour_of(page, "TRUE") == (200, 10, 20)


def test_it_reaches_no_clipboard(page: Page, guest: Guest, context: BrowserContext) -> None:
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.evaluate("navigator.clipboard.writeText('mine')")
    secret = base64.b64encode(b"theirs")
    for target in (b"c", b"p", b""):
        shown_after(page, guest, b"\x1b]52;" + target + b";" + secret + b"\x07")
        shown_after(page, guest, b"\x1b]52;" + target + b";?\x1b\\")
    assert page.evaluate("navigator.clipboard.readText()") == "mine"
    assert not any(b"52;" in data for data in guest.heard)


def test_it_sets_no_title_and_no_colours(page: Page, guest: Guest) -> None:
    title = page.title()
    before = page.locator("#terminal .xterm-viewport, #terminal .xterm-scrollable-element")
    background = before.first.evaluate("element => getComputedStyle(element).backgroundColor")
    shown_after(page, guest, b"\x1b]0;hacked\x07\x1b]2;hacked\x07\x1b]11;#ffffff\x07\x1b[21t")
    assert page.title() == title
    after = before.first.evaluate("element => getComputedStyle(element).backgroundColor")
    assert after == background
    assert not any(b"hacked" in data for data in guest.heard)


def test_what_it_asked_before_the_viewer_came_is_not_answered(page: Page, guest: Guest) -> None:
    """A terminal answers questions of now; what is only shown again asks nothing."""
    past = b"PAST \x1b[6n\x1b[5n\x1b[c\r\n"
    assert guest.line is not None
    guest.line.send(json.dumps({"type": "past", "bytes": len(past)}))
    guest.write(past)
    expect(page.locator(ROWS)).to_contain_text("PAST")
    shown_after(page, guest, b"\x1b[5n")
    wait_until(lambda: guest.heard, 5, "the question of now is answered")
    assert guest.heard == [b"\x1b[0n"]


def test_its_questions_are_answered_without_a_loop(page: Page, guest: Guest) -> None:
    """Even with a line that sends every answer back."""
    guest.echoes = True
    shown_after(
        page, guest, b"\x1b[c\x1b[>c\x1b[5n\x1b[6n\x1bP$qm\x1b\\\x1b]10;?\x07\x1b]4;1;?\x07"
    )
    page.wait_for_timeout(1000)
    count = len(guest.heard)
    page.wait_for_timeout(1000)
    assert len(guest.heard) == count
    assert count < 20


def test_links_are_asked_about_and_lead_to_the_web_only(page: Page, guest: Guest) -> None:
    shown_after(
        page,
        guest,
        b"\x1b]8;;javascript:document.title='hacked'\x1b\\CLICK-ME\x1b]8;;\x1b\\\r\n"
        b"\x1b]8;;https://evil.example/a?b\x1b\\WEB-LINK\x1b]8;;\x1b\\",
    )
    click_on(page, "CLICK-ME")
    page.wait_for_timeout(300)
    expect(page.locator("#link")).to_be_hidden()
    assert "hacked" not in page.title()
    click_on(page, "WEB-LINK")
    expect(page.locator("#link-address")).to_have_text("https://evil.example/a?b")
    opened = page.get_by_role("link", name="Open")
    assert opened.get_attribute("rel") == "noopener noreferrer"
    page.get_by_role("button", name="Cancel").click()
    assert len(page.context.pages) == 1


def click_on(page: Page, text: str) -> None:
    """Click where it is shown; a layer of xterm.js lies above the text and takes the click."""
    box = page.locator(ROWS).get_by_text(text).bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x - 3, y)
    page.mouse.move(x, y)
    page.mouse.click(x, y)


@pytest.mark.parametrize(
    "junk",
    [
        bytes(range(256)) * 40,
        b"\xff\xfe\xc0\xaf\xed\xa0\x80" * 500,
        b"\x9b31m\x9d0;x\x9c\x90q\x9c",
        b"\x1bP" + b"A" * 100_000 + b"\x1b\\",
        b"\x1b]" + b"9" * 100_000 + b"\x07",
        b"\x1b[999999999;999999999H\x1b[999999999b\x1b[2147483648C",
        b"<img src=x onerror=\"document.title='hacked'\">",
    ],
)
def test_junk_breaks_nothing(page: Page, guest: Guest, junk: bytes) -> None:
    guest.write(junk)
    shown_after(page, guest, b"\x18\x1b\\\x1bc")
    assert "hacked" not in page.title()
