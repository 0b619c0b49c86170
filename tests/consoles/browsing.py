"""A console's page in Chromium."""

from __future__ import annotations

from django.conf import settings
from playwright.sync_api import Page, expect

from tests.consoles.panel import Browser, Panel
from vpspanel.accounts.models import User

ROWS = "#terminal .xterm-rows"


def open_console(page: Page, panel: Panel, user: User, server_id: int) -> None:
    """Signed in, at the console's address."""
    sign_in(page, panel, user)
    page.goto(f"{panel.origin}/servers/{server_id}/console/")


def sign_in(page: Page, panel: Panel, user: User) -> None:
    """The browser has a session from now on."""
    key = Browser(panel, user).session_key
    page.context.add_cookies(
        [{"name": settings.SESSION_COOKIE_NAME, "value": key, "url": panel.origin}]
    )


def connected(page: Page) -> None:
    """Wait until the page says so."""
    expect(page.locator("#connection")).to_have_text("Connected")


def login(page: Page) -> None:
    """Sit down at the simulated shell."""
    connected(page)
    expect(page.locator(ROWS)).to_contain_text("login:")
    page.keyboard.type("root\n")
    expect(page.locator(ROWS)).to_contain_text("# ")
