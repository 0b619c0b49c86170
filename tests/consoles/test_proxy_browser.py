"""The screen in a real browser, through `consoleproxy`."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.consoles.browsing import open_console
from tests.consoles.conftest import World
from tests.consoles.panel import free_port, running
from tests.consoles.test_vnc_browser import CANVAS, open_screen, shown, still
from vpspanel.accounts.models import Member, Role

pytestmark = [pytest.mark.browser]


def test_a_screen_comes_through_the_proxy_and_comes_back(
    page: Page, world: World, tmp_path: Path
) -> None:
    """Keys reach it; it survives the server's being off, a change of role, and the proxy's end."""
    port = free_port()
    used: list[str] = []
    page.on("websocket", lambda socket: used.append(socket.url))
    pages = f"http://127.0.0.1:{port}"
    with running(tmp_path, "consoleproxy", CSRF_TRUSTED_ORIGINS=pages) as proxy:
        address = f"ws://127.0.0.1:{proxy.port}/ws/vnc/"
        with running(tmp_path, port=port, CONSOLE_PROXY_URL=address) as web:
            open_console(page, web, world.olga, world.server.pk)
            open_screen(page)
            assert f"{address}{world.server.pk}/" in used
            before = still(page)
            page.locator(CANVAS).click()
            page.keyboard.type("root\n")
            assert still(page) != before

            world.driver.destroy(world.server.uuid)
            state = page.locator("#screen-connection")
            expect(state).to_have_text("Server is off", timeout=20_000)
            world.driver.start(world.server.uuid)
            shown(page)

            Member.objects.filter(user=world.olga).update(role=Role.READER)
            expect(page.locator("#type")).to_be_disabled(timeout=20_000)
            shown(page)

            assert not any("/ws/console/vnc/" in url for url in used)
            proxy.process.kill()
            expect(state).not_to_have_text("Connected", timeout=20_000)
            expect(state).to_have_text("Connected", timeout=30_000)
            assert any("/ws/console/vnc/" in url for url in used)
