"""The boot log: kept by the host while nobody looks, shown as text, for those who may watch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect
from websockets.exceptions import ConnectionClosed

from hosts.models import Host
from tests.consoles.browsing import connected, open_console
from tests.consoles.conftest import World
from tests.consoles.panel import Browser, Panel, Terminal
from tests.hosts.contract import wait_until
from tests.hosts.contract_libvirt import QemuHost
from tests.kvm import KvmHost, kvm_host
from vpspanel.accounts.models import User
from vpspanel.events.models import Event
from vpspanel.servers.models import Server

__all__ = ["kvm_host"]  # a fixture

HOSTILE = (
    b"\x1b]0;title\x07\x1b]52;c;ZXZpbA==\x07\x1b[31m<script>document.title='evil'</script>\x1b[0m\r\n"
    b"<img src=x onerror=\"document.title='evil'\">\r\n\x1b[2J\x9b\x00\xff last line\r\n"
)


def read_log(panel: Panel, user: User, server: Server) -> tuple[bytes, int, str]:
    """What came, and how the socket was closed."""
    browser = Browser(panel, user)
    ticket = browser.ticket(server.pk, "log")
    socket = browser.connect(f"/ws/console/log/{server.pk}/")
    socket.send(json.dumps({"type": "hello", "ticket": ticket}))
    text = b""
    try:
        while True:
            frame = socket.recv(10)
            assert isinstance(frame, bytes)
            text += frame
    except ConnectionClosed as closed:
        end = closed.rcvd
    assert end is not None
    return text, end.code, end.reason


def test_a_reader_reads_what_was_written_with_nobody_attached(panel: Panel, world: World) -> None:
    world.driver.guest_says(world.server.uuid, b"kernel panic at noon\r\n")
    text, code, _ = read_log(panel, world.rita, world.server)
    assert code == 1000
    assert b"Linux version" in text
    assert text.endswith(b"kernel panic at noon\r\n")
    wait_until(lambda: Event.objects.filter(kind="console.read").exists(), 5, "it is recorded")
    event = Event.objects.get(kind="console.read")
    assert event.actor_name == "rita@example.com"
    assert event.public


def test_a_long_log_comes_whole(panel: Panel, world: World) -> None:
    world.driver.guest_says(world.server.uuid, b"x" * 300_000)
    text, code, _ = read_log(panel, world.alice, world.server)
    assert (len(text), code) == (256 * 1024, 1000)


def test_it_says_why_there_is_nothing(panel: Panel, world: World) -> None:
    world.driver.set_reachable(False)
    text, code, reason = read_log(panel, world.alice, world.server)
    assert (text, code) == (b"", 4404)
    assert "host does not answer" in reason


def test_a_ticket_for_the_console_opens_no_log_and_the_other_way_round(
    panel: Panel, world: World
) -> None:
    browser = Browser(panel, world.alice)
    for kind, path in (("serial", "log"), ("log", "serial")):
        terminal = Terminal(browser.connect(f"/ws/console/{path}/{world.server.pk}/"))
        terminal.send_json({"type": "hello", "ticket": browser.ticket(world.server.pk, kind)})
        assert terminal.until_closed()[0] == 4410


def test_strangers_get_no_ticket(panel: Panel, world: World) -> None:
    path = f"/servers/{world.server.pk}/console/ticket/"
    assert Browser(panel, world.mallory).post(path, data="kind=log")[0] == 404


@pytest.mark.kvm
def test_the_boot_of_a_real_guest(panel: Panel, world: World, kvm_host: KvmHost) -> None:
    qemu = QemuHost(kvm_host)
    uuid = qemu.booted()
    host = Host.objects.create(name="qemu1", location=world.host.location, uri=qemu.uri)
    Server.objects.filter(pk=world.server.pk).update(uuid=uuid, host=host)
    wait_until(
        lambda: b"ready" in read_log(panel, world.alice, world.server)[0], 20, "it can be read"
    )
    qemu.dispose()


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_shows_it_as_text(page: Page, panel: Panel, world: World, width: int) -> None:
    world.driver.guest_says(world.server.uuid, HOSTILE)
    page.set_viewport_size({"width": width, "height": 800})
    open_console(page, panel, world.rita, world.server.pk)
    connected(page)
    page.get_by_role("button", name="Boot log").click()
    shown = page.locator("#log-text")
    expect(shown).to_contain_text("<script>document.title='evil'</script>")
    expect(shown).to_contain_text("last line")
    text = shown.inner_text()
    assert not set(text) & set(map(chr, [*range(9), *range(11, 32), *range(127, 160)]))
    assert "52;c;" not in text
    assert page.title() == "Console of web"
    assert shown.evaluate("e => e.scrollTop + e.clientHeight >= e.scrollHeight - 2")
    assert shown.locator("*").count() == 0
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


@pytest.mark.browser
def test_it_is_downloaded_as_it_is_and_read_again(
    page: Page, panel: Panel, world: World, tmp_path: Path
) -> None:
    world.driver.guest_says(world.server.uuid, b"\x1b[31mred\x1b[0m\r\n")
    open_console(page, panel, world.alice, world.server.pk)
    page.get_by_role("button", name="Boot log").click()
    expect(page.locator("#log-text")).to_contain_text("red")
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download").click()
    assert waiting.value.suggested_filename == "web-boot.log"
    waiting.value.save_as(tmp_path / "log")
    assert (tmp_path / "log").read_bytes().endswith(b"\x1b[31mred\x1b[0m\r\n")
    world.driver.guest_says(world.server.uuid, b"and on\r\n")
    page.get_by_role("button", name="Refresh").click()
    expect(page.locator("#log-text")).to_contain_text("and on")
